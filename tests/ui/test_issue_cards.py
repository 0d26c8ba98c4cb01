"""Each fault that users meet, planted; its GPU on the System page; and its cure at a click."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from core.config.loader import load_settings
from core.errors import CorruptImageError, ModelFileError, OutOfMemoryError
from core.types import GenerationRequest
from tests.ui.conftest import all_text
from tests.ui.page_studio import TURBO, PageStudio
from tests.unit.storage.test_storage_inspection import image


def asked(studio: PageStudio, **values: object) -> GenerationRequest:
    return studio.requests.new({"prompt": "a red house, day", "seed": 5, **values})


def generated(studio: PageStudio, request: GenerationRequest, image: Image.Image | None = None) -> None:
    """The job is done; with `image`, the file holds that instead."""
    job = studio.queue.submit(request)
    studio.queue.finish(job.id)
    if image is not None:
        record = studio.history.get(studio.queue.get(job.id).image_ids[0])
        image.save(studio.history.folder / record.file)


def failed(studio: PageStudio, request: GenerationRequest, error) -> None:
    studio.queue.fail(studio.queue.submit(request).id, error)


def plant(studio: PageStudio, kind: str) -> None:
    request = asked(studio)
    if kind == "black job":
        failed(studio, request, CorruptImageError(component="vae", value="NaN or Inf", step=8))
    elif kind == "memory":
        failed(studio, request, OutOfMemoryError(device="cuda", width=256, height=256))
    elif kind == "size":
        generated(studio, asked(studio, force_original_resolution=False), image("good").resize((200, 100)))
    elif kind == "text":
        generated(studio, asked(studio, prompt="一块写着“你好”的招牌"))
    elif kind == "guidance":
        generated(studio, asked(studio, negative_prompt="car"))
    elif kind == "weights":
        problem = ModelFileError(model=TURBO.id, file="transformer", problem={"en": "it is missing", "zh": "缺失"})
        job = studio.queue.put(replace(request, model=TURBO.id, width=1024, height=1024))
        studio.queue.fail(job.id, problem)
    elif kind == "steps":
        generated(studio, asked(studio, num_inference_steps=1), image("cast").resize((256, 256)))
    else:
        generated(studio, request, image(kind).resize((256, 256)))


PAIRS = [
    ("black job", "black", {"model.dtype": "float32"}),
    ("black", "black", {"model.dtype": "float32"}),
    ("flat", "black", {"model.dtype": "float32"}),
    ("memory", "memory", {"memory.low_vram": True}),
    ("size", "size", {"force_original_resolution": True}),
    ("grey", "cast", {"model.dtype": "float32"}),
    ("steps", "cast", {"num_inference_steps": 8}),
    ("text", "text", {"cfg_scale": 2.0}),
    ("guidance", "guidance", {"cfg_scale": 2.0}),
    ("weights", "weights", {"model": "demo", "width": 256}),
]


@pytest.mark.by_default("black", "memory", "size", "text", "weights")
@pytest.mark.parametrize(("planted", "kind", "cure"), PAIRS, ids=[pair[0] for pair in PAIRS])
def test_a_planted_fault_is_found_and_cured_at_a_click(studio, open_page, planted, kind, cure):
    plant(studio, planted)
    before = len(studio.queue.submitted)
    page = open_page("system")
    assert [fault.kind for fault in studio.system.faults()] == [kind]
    page.button(key=f"cure_{kind}").click().run()
    assert not page.exception
    (again,) = studio.queue.submitted[before:]
    said = {name: getattr(again, name, None) if "." not in name else again.options[name] for name in cure}
    said |= {name: again.options[name] for name in cure if name in again.options}
    assert said == cure
    assert again.seed == 5
    assert f"cure_{kind}" not in [button.key for button in open_page("system").button], "gone once the cure is taken"


def test_text_is_kept_out_by_words_that_act(studio, open_page):
    plant(studio, "text")
    open_page("system").button(key="cure_text").click().run()
    again = studio.queue.submitted[-1]
    assert "watermark" in again.negative_prompt and again.guided


def test_a_cure_that_did_not_help_is_followed_by_the_next(studio):
    first = asked(studio)
    for changed in ({}, {"memory.low_vram": True}, {"memory.low_vram": True, "memory.tier": "4gb"}):
        failed(
            studio,
            replace(first, options={**first.options, **changed}),
            OutOfMemoryError(device="c", width=1, height=1),
        )
    (fault,) = studio.system.faults()
    assert fault.cure == {"generation.width": 128, "generation.height": 128}


def test_a_cure_that_changes_nothing_is_taken_by_the_same_request_alone(studio):
    generated(studio, asked(studio), image("good").resize((100, 50)))  # of another size, with every setting as it should be
    generated(studio, asked(studio, prompt="a blue car, day"))
    (fault,) = studio.system.faults()
    assert fault.kind == "size" and fault.cured() == fault.request
    generated(studio, fault.cured())
    assert studio.system.faults() == ()


def test_the_settings_model_without_weights(tmp_path, monkeypatch):
    problem = ModelFileError(model=TURBO.id, file="x", problem={"en": "missing", "zh": "缺失"})
    studio = PageStudio(tmp_path, load_settings(overrides={"model.id": TURBO.id}))
    monkeypatch.setattr("tests.ui.page_studio.TURBO", replace(TURBO, problem=problem))
    (fault,) = studio.system.faults()
    assert (fault.kind, fault.request, fault.cure["model.id"]) == ("weights", None, "demo")


def test_nothing_is_said_of_good_images(studio, open_page):
    generated(studio, asked(studio), image("good").resize((256, 256)))
    generated(studio, asked(studio, prompt="黑白的房子"), image("grey").resize((256, 256)))
    generated(studio, asked(studio, prompt="a red house, night"), image("cast").resize((256, 256)))
    assert studio.system.faults() == ()
    assert "No problems" in all_text(open_page("system"))
