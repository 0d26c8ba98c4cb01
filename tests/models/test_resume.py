"""An image that is stopped between two steps continues with the same pixels."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from core.config.loader import PROJECT_ROOT
from core.errors import Cancelled
from core.inference.generator import Generator
from core.models.catalog import Catalog
from core.models.model_paths import ModelPaths
from core.types import IMAGE, MASK, Phase, ResumeState
from tests.models import tiny_models
from tests.models.family_contract import mask, pixels, scene
from tests.options import measured

FLOW = ("auto", "euler_ancestral", "heun", "dpmpp_2m", "unipc", "lcm")
DIFFUSION = (
    "euler", "euler_ancestral", "heun", "dpm_2", "dpm_2_ancestral", "dpmpp_2m", "dpmpp_sde", "dpmpp_2m_sde", "lms", "ddim",
    "pndm", "deis", "lcm", "tcd",
)  # fmt: skip


BUILDERS = {
    "z": partial(tiny_models.z_image, layers=2), "sd": tiny_models.stable_diffusion, "sdxl": tiny_models.stable_diffusion_xl,
    "flux2": tiny_models.flux2_klein, "qwen": tiny_models.qwen_image,
}  # fmt: skip
RUNS = [*(("z", one) for one in FLOW), *(("sd", one) for one in DIFFUSION), ("sdxl", "auto"), ("flux2", "auto"), ("qwen", "auto")]


class Folders(dict):
    """The folder of each tiny model by its name, made when it is asked for."""

    def __init__(self, root):
        super().__init__()
        self.root = root

    def __missing__(self, name):
        self[name] = BUILDERS[name](self.root / name)
        return self[name]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return Folders(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def own(folders):
    return Generator(Catalog(PROJECT_ROOT / "configs", ModelPaths(folders.root / "store")))


def stopped_then_resumed(own, request, folder, stop_at, inputs=None):
    """Return the image that was stopped after `stop_at` steps, and the steps that the second attempt told."""
    seen: list[int] = []

    def told(progress):
        if progress.phase is Phase.STEPS:
            seen.append(progress.step)

    attempt = ResumeState("job", (), inputs or {}, folder)
    with pytest.raises(Cancelled):
        own.generate(request, told, lambda: len(seen) >= stop_at, attempt=attempt)
    assert list(folder.glob("*.safetensors"))
    seen.clear()
    image = own.generate(request, told, attempt=attempt).images[0]
    assert not list(folder.glob("*"))
    return image, seen


@pytest.mark.option("resume.interval")
@pytest.mark.parametrize(("model", "sampler"), RUNS)
@pytest.mark.by_default("z-auto", "sd-dpm_2_ancestral")
def test_resumed_image_has_the_same_pixels(own, folders, request_of, tmp_path, model, sampler):
    changed = {"generation.sampler": sampler}
    request = request_of(
        model=str(folders[model]), width=64, height=64, num_inference_steps=4, cfg_scale=3.0, negative_prompt="grey",
        changed=changed,
    )  # fmt: skip
    whole = own.generate(request).images[0]
    image, seen = stopped_then_resumed(own, request, tmp_path / "states", 2)
    assert np.array_equal(pixels(image.image), pixels(whole.image))
    assert image.effective["resume.resumed_at"][0] >= 2
    assert min(seen) >= 2, "the first steps were not run again"
    measured("resume.interval", "stopped after 2 of 4 steps, 23 samplers of five families: the same pixels")


def test_a_batch_continues_in_its_second_image(own, folders, request_of, tmp_path):
    """The image that was finished is not generated again, as the runner passes its place; the second one continues."""
    request = request_of(
        model=str(folders["z"]), width=64, height=64, num_inference_steps=4, num_images=3,
        changed={"generation.sampler": "euler_ancestral"},
    )  # fmt: skip
    whole = own.generate(request).images
    folder, finished, steps = tmp_path / "states", [], []

    def count(progress):
        if progress.phase is Phase.STEPS:
            steps.append(progress.step)

    with pytest.raises(Cancelled):
        own.generate(
            request, count, lambda: len(finished) == 1 and steps[-1] == 2, finished.append, ResumeState("job", (), {}, folder)
        )
    assert [image.place for image in finished] == [1]
    steps.clear()
    own.generate(request, count, on_image=finished.append, attempt=ResumeState("job", (1,), {}, folder))
    assert steps[0] > 2, "the second image went on where it was"
    assert [image.place for image in finished] == [1, 2, 3]
    for one, other in zip(finished, whole, strict=True):
        assert np.array_equal(pixels(one.image), pixels(other.image))
    assert "resume.resumed_at" in finished[1].effective and "resume.resumed_at" not in finished[2].effective


@pytest.mark.by_default("img2img-1", "inpaint-3", "hires-1")
@pytest.mark.parametrize("stop_at", [1, 3])
@pytest.mark.parametrize("kind", ["img2img", "inpaint", "hires"])
def test_resumed_passes_have_the_same_pixels(own, folders, request_of, tmp_path, kind, stop_at):
    changed = {"img2img.denoising_strength": 1.0} if kind != "hires" else {"hires.enabled": True}
    inputs = {"img2img": {IMAGE: scene()}, "inpaint": {IMAGE: scene(), MASK: mask()}, "hires": {}}[kind]
    request = request_of(model=str(folders["z"]), width=64, height=80, num_inference_steps=4, changed=changed)
    whole = own.generate(request, attempt=ResumeState(inputs=inputs)).images[0]
    stop_at = 5 if kind == "hires" and stop_at == 1 else stop_at  # in the second pass
    image, _ = stopped_then_resumed(own, request, tmp_path / "states", stop_at, inputs)
    assert np.array_equal(pixels(image.image), pixels(whole.image))


def test_tiles_that_were_done_are_not_generated_again(own, folders, request_of, tmp_path):
    """Of an image that is upscaled with detail; stopped in the second of two tiles."""
    changed = {
        "upscale.mode": "detail", "upscale.method": "lanczos", "upscale.tile": 64, "upscale.tile_overlap": 16,
        "upscale.denoising_strength": 1.0,
    }  # fmt: skip
    request = request_of(model=str(folders["z"]), width=96, height=64, num_inference_steps=4, changed=changed)
    inputs = {IMAGE: scene()}
    whole = own.generate(request, attempt=ResumeState(inputs=inputs)).images[0]
    image, seen = stopped_then_resumed(own, request, tmp_path / "states", 6, inputs)
    assert np.array_equal(pixels(image.image), pixels(whole.image))
    done = image.effective["resume.resumed_at"]
    assert len(done) == 2 and done[0] >= 3 and done[1] >= 1
    assert min(seen) >= 3, "the first tile was not run again"


def test_a_crash_costs_the_steps_since_the_last_state(own, folders, request_of, tmp_path, monkeypatch):
    request = request_of(
        model=str(folders["z"]), width=64, height=64, num_inference_steps=6, changed={"resume.interval": 2}
    )
    whole = own.generate(request).images[0]
    folder, seen = tmp_path / "states", []

    def dies(progress):
        if progress.phase is Phase.STEPS:
            seen.append(progress.step)
            if len(seen) == 5:
                raise KeyboardInterrupt  # as abrupt as a kill for whatever is not on disk

    with pytest.raises(KeyboardInterrupt):
        own.generate(request, dies, attempt=ResumeState("job", (), {}, folder))
    seen.clear()
    image = own.generate(request, lambda one: seen.append(one.step), attempt=ResumeState("job", (), {}, folder)).images[0]
    assert np.array_equal(pixels(image.image), pixels(whole.image))
    assert image.effective["resume.resumed_at"] == [4]


def test_a_state_that_fits_no_longer_is_told(own, folders, request_of, tmp_path, monkeypatch):
    request = request_of(model=str(folders["z"]), width=64, height=64, num_inference_steps=4)
    folder = tmp_path / "states"
    with pytest.raises(Cancelled):
        own.generate(request, is_cancelled=lambda: True, attempt=ResumeState("job", (), {}, folder))
    (file,) = folder.glob("*.safetensors")
    monkeypatch.setattr("core.inference.step_state.diffusers.__version__", "0.0")
    image = own.generate(request, attempt=ResumeState("job", (), {}, folder)).images[0]
    (said,) = [one for one in image.decisions if one.option == "resume.interval"]
    assert "diffusers changed" in said.reason["en"] and "resume.resumed_at" not in image.effective
    monkeypatch.undo()
    with pytest.raises(Cancelled):
        own.generate(request, is_cancelled=lambda: True, attempt=ResumeState("job", (), {}, folder))
    file.write_bytes(file.read_bytes()[:200])
    whole = own.generate(request).images[0]
    image = own.generate(request, attempt=ResumeState("job", (), {}, folder)).images[0]
    assert np.array_equal(pixels(image.image), pixels(whole.image))


def test_nothing_is_written_without_a_folder_or_a_stop(own, folders, request_of, tmp_path):
    request = request_of(model=str(folders["z"]), width=64, height=64, num_inference_steps=2)
    own.generate(request, attempt=ResumeState("job", (), {}, tmp_path / "states"))
    assert not (tmp_path / "states").exists()
