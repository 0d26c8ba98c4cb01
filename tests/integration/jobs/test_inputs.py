"""Input images on their way to the generator, and what is refused before anything is queued."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace

import pytest
from PIL import Image

from core.config.loader import load_settings
from core.errors import InputCombinationError, InputImageError, NotFoundError, OptionError
from core.jobs.queue import JobQueue
from core.models.families import FAMILIES
from core.storage.input_images import InputImages
from core.studio import request_checks
from core.types import GenerationRequest, JobState, ModelInfo
from tests.integration.jobs.harness import JobHarness, make_request


def png(colour: tuple[int, int, int], size: tuple[int, int] = (32, 32)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def test_the_generator_gets_the_images_by_role_and_the_record_their_names(harness: JobHarness) -> None:
    inputs = InputImages(harness.directory)
    named = {"image": inputs.keep(png((200, 0, 0))), "mask_image": inputs.keep(png((255, 255, 255)))}
    parent = "0" * 31 + "1"
    harness.supervisor.start()
    job = harness.wait(harness.submit(inputs=named, parent=parent))
    assert (job.state, job.request.inputs, job.request.parent) == (JobState.DONE, named, parent)
    record = harness.history.get(job.image_ids[0])
    assert (record.request.inputs, record.request.parent) == (named, parent)
    with Image.open(harness.history.file(record.id)) as image:
        assert [image.getpixel((9, y)) for y in (9, 60)] == [(200, 0, 0), (255, 255, 255)]


def test_a_image_that_is_gone_fails_its_job_and_says_so(harness: JobHarness) -> None:
    inputs = InputImages(harness.directory)
    digest = inputs.keep(png((1, 2, 3)))
    inputs.file(digest).unlink()
    harness.supervisor.start()
    job = harness.wait(harness.submit(inputs={"image": digest}))
    assert job.state is JobState.FAILED and isinstance(job.error, InputImageError)
    assert digest in job.error.message("en")


def test_a_job_of_an_older_version_has_no_inputs(harness: JobHarness) -> None:
    job = JobQueue(harness.database).submit(make_request())
    assert (job.request.inputs, job.request.parent) == ({}, "")


SIZES: Mapping[str, tuple[int, int]] = {"a" * 64: (64, 64), "b" * 64: (64, 64), "c" * 64: (64, 32)}
A, B, C = SIZES
BOTH = ("image", "mask_image")


def size(digest: str) -> tuple[int, int]:
    if digest not in SIZES:
        raise NotFoundError(kind="input image", value=digest)
    return SIZES[digest]


@pytest.mark.parametrize(
    ("roles", "inputs", "words"),
    [
        (BOTH, {"mask_image": A}, "there is no image"),
        (BOTH, {"image": "d" * 64}, "d" * 64),
        (BOTH, {"image": "../../etc/passwd"}, "upload it again"),
        (BOTH, {"imagee": A}, "image, mask_image, control_image"),
        (("image",), {"image": A, "mask_image": B}, "another model"),
        ((), {"image": A}, "another model"),
        (("control_image", *BOTH), {"control_image": A, "image": A}, "within a mask only"),
        (("control_image",), {}, "control_image: this model needs a control image, and none was given"),
    ],
)
def test_inputs_that_cannot_be_used_are_told_before_the_run(
    roles: tuple[str, ...], inputs: dict[str, str], words: str
) -> None:
    pipeline = "ZImageControlNetPipeline" if "control_image" in roles else "ZImagePipeline"
    model = ModelInfo("m", {}, {}, None, 64, 64, 8, 0.0, 16, 1024, pipeline, inputs=roles)
    with pytest.raises(InputCombinationError) as error:
        request_checks.check_inputs(GenerationRequest(prompt="x", inputs=inputs), model, size)
    assert words in error.value.message("en") and "\n" not in error.value.message("zh")


@pytest.mark.parametrize(
    ("pipeline", "steps", "strength", "run"),
    [
        ("ZImagePipeline", 8, 0.6, 5),  # rounds up
        ("StableDiffusionPipeline", 8, 0.6, 4),  # rounds down
        ("StableDiffusionXLPipeline", 30, 0.35, 10),
        ("ZImagePipeline", 8, 1.0, 8),
        ("ZImagePipeline", 8, 0.0, 0),
        ("ZImagePipeline", 8, 0.01, 1),
        ("StableDiffusionPipeline", 8, 0.1, 0),
    ],
)
def test_a_strength_that_runs_no_step_is_told(pipeline: str, steps: int, strength: float, run: int) -> None:
    model = ModelInfo("m", {}, {}, None, 64, 64, 8, 0.0, 16, 1024, pipeline, inputs=BOTH)
    request = make_request(num_inference_steps=steps, inputs={"image": A})
    request = replace(request, options={**request.options, "img2img.denoising_strength": strength})
    assert FAMILIES[pipeline].steps_run(steps, strength) == run
    if run:
        return request_checks.check(request, model)
    with pytest.raises(OptionError, match=f"of {steps} steps none"):
        request_checks.check(request, model)
    return request_checks.check(replace(request, inputs={}), model)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"controlnet.canny_low": 210}, "controlnet.canny_low"),
        ({"controlnet.start": 0.5, "controlnet.end": 0.5}, "< controlnet.end"),
    ],
)
def test_options_of_a_control_image_that_contradict_each_other(changed: dict[str, float], words: str) -> None:
    model = ModelInfo("m", {}, {}, None, 64, 64, 8, 0.0, 16, 1024, "ZImagePipeline", inputs=("control_image",))
    options = {**load_settings().request_options(), **changed}
    with pytest.raises(OptionError) as error:
        request_checks.check_inputs(
            GenerationRequest(prompt="x", inputs={"control_image": A}, options=options), model, size
        )
    assert words in error.value.message("en")


def test_inputs_that_fit_are_taken(harness: JobHarness) -> None:
    model = ModelInfo("m", {}, {}, None, 64, 64, 8, 0.0, 16, 1024, "ZImagePipeline", inputs=BOTH)
    request = GenerationRequest(prompt="x", inputs={"image": A, "mask_image": B}, parent="f" * 32)
    request_checks.check_inputs(request, model, size)
    with pytest.raises(InputCombinationError, match="not the id"):
        request_checks.check_inputs(replace(request, parent="../x"), model, size)
