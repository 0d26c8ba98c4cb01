"""Upscalers: the embedded networks, files, tiles and the passes over them; enlarging and detail as jobs of the generator."""

from __future__ import annotations

import importlib
import random
import sys
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from core.config.loader import PROJECT_ROOT, load_settings
from core.demo import compact_upscaler, renderer, scenes
from core.demo.compact_upscaler import CompactUpscaler
from core.demo.training import upscaler as training
from core.errors import Cancelled, OptionError, UpscalerError
from core.inference import hires, inpaint, upscaling
from core.inference.generator import build_generator
from core.inference.upscaling import Network, Upscalers
from core.models.identify import identify
from core.models.upscaler_library import UpscalerLibrary
from core.models.weight_files import read_all
from core.studio import request_checks
from core.types import IMAGE, MASK, ModelInfo, Phase, ResumeState
from tests.models.test_img2img import own, pixels, scene
from tests.options import measured

__all__ = ["own"]  # a fixture
MODEL = ModelInfo("demo", {}, {}, None, 128, 128, 8, 0.0, 16, 1024, "ZImagePipeline", inputs=(IMAGE, MASK))


@pytest.fixture
def library(tmp_path):
    return UpscalerLibrary(tmp_path)


def enlarged(library, image, size, name="auto"):
    return Upscalers(library).enlarged(image, size, name, "cpu", "upscale.method")


# -- the embedded networks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 4])
def test_embedded_networks_are_better_than_lanczos_on_held_out_scenes(scale):
    """On scenes that training never shows, reduced and enlarged again; the table of the docs has more of them."""
    found = training.measure(compact_upscaler.load(scale), 4)
    assert found["reduced, network"] > found["reduced, Lanczos"] + 3
    size = (compact_upscaler.FOLDER / f"compact-x{scale}.safetensors").stat().st_size
    assert size < 3_000_000


def test_tiles_equal_the_whole(monkeypatch):
    rng = random.Random(3)
    image = renderer.render(scenes.sample(rng), 96, 80, rng)
    own = compact_upscaler.load(2)
    network = Network("compact-x2", 2, own, "cpu", "")
    whole = upscaling.by_network(image, network, lambda done, of: None)
    monkeypatch.setattr(upscaling, "TILE", 37)
    told = []
    tiled = upscaling.by_network(image, network, lambda done, of: told.append((done, of)))
    assert np.abs(pixels(tiled) - pixels(whole)).max() <= 1 and whole.size == (192, 160)
    assert told == [(done, 9) for done in range(10)]


@pytest.mark.parametrize(
    ("size", "name", "used"),
    [((80, 60), "auto", "compact-x2"), ((120, 90), "auto", "compact-x4"), ((400, 300), "compact-x2", "compact-x2"),
     ((20, 15), "auto", "lanczos"), ((40, 30), "auto", "none")],
)  # fmt: skip
def test_any_size_is_reached(library, size, name, used):
    image, told = enlarged(library, scene((40, 30)), size, name)
    assert image.size == size and told == used


@pytest.mark.parametrize("name", ["lanczos", "bicubic", "bilinear", "nearest"])
def test_filters_are_pillows(library, name):
    made, _ = enlarged(library, scene((40, 30)), (80, 60), name)
    assert np.array_equal(pixels(made), pixels(scene((40, 30)).resize((80, 60), Image.Resampling[name.upper()])))


def test_training_learns(monkeypatch):
    monkeypatch.setattr(training, "POOL", 2)
    network, steps = training.train(2, 0.02, compact_upscaler.load(2))
    assert steps >= 1 and network.scale == 2


# -- files -----------------------------------------------------------------------------------------------------------


def test_compact_files_are_read_without_spandrel(library, tmp_path):
    torch.manual_seed(0)
    network = CompactUpscaler(3, 8, 2)
    save_file(network.state_dict(), tmp_path / "thrice.safetensors")
    made, used = enlarged(library, scene((20, 16)), (60, 48), "thrice")
    x = torch.from_numpy(np.asarray(scene((20, 16))).copy()).permute(2, 0, 1)[None] / 255
    expected = (network(x)[0].clamp(0, 1) * 255).round().permute(1, 2, 0)
    assert np.array_equal(pixels(made), expected.detach().numpy().astype(int)) and used.startswith("thrice (")
    assert "thrice" in library.names()


SMALL = {"upscale": 2, "embed_dim": 24, "num_heads": [2, 2]}
WINDOWS = {**SMALL, "depths": [2, 2], "window_size": 8, "upsampler": "pixelshuffle"}
NETWORKS = {  # an architecture of spandrel -> its smallest form that enlarges twice
    "ESRGAN": {"num_filters": 8, "num_blocks": 1, "scale": 2},
    "SwinIR": WINDOWS,
    "DAT": {**SMALL, "depth": [1, 1], "split_size": [2, 4]},
    "OmniSR": {"num_feat": 16, "up_scale": 2},
    "HAT": {**WINDOWS, "embed_dim": 60},
    "SPAN": {"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 16, "upscale": 2},
    "DRCT": WINDOWS,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_other_networks_are_read_by_spandrel(library, tmp_path, name):
    spandrel = pytest.importorskip("spandrel")
    torch.manual_seed(0)
    network = getattr(importlib.import_module(f"spandrel.architectures.{name}"), name)(**NETWORKS[name]).eval()
    file = tmp_path / "net.safetensors"
    save_file({key: tensor.contiguous().clone() for key, tensor in network.state_dict().items()}, file)
    assert identify(read_all(file)).kind == "upscaler"
    made, _ = enlarged(library, scene((24, 20)), (48, 40), "net")
    named = spandrel.ModelLoader().load_from_state_dict(network.state_dict())
    x = torch.from_numpy(np.asarray(scene((24, 20))).copy()).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        expected = (named(x)[0].clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
    assert np.abs(pixels(made) - expected).max() <= 1


def test_a_spandrel_that_does_not_start_is_told(library, tmp_path, monkeypatch):
    (tmp_path / "lib" / "spandrel").mkdir(parents=True)
    (tmp_path / "lib" / "spandrel" / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path / "lib")
    monkeypatch.delitem(sys.modules, "spandrel", raising=False)
    save_file({"layer.weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(UpscalerError, match="torchvision::nms does not exist"):
        enlarged(library, scene((20, 16)), (40, 32), "other")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("old.pth", b"", "state_dict"),
        ("broken.safetensors", b"nothing", "download it again"),
        ("other.safetensors", None, "spandrel"),
        ("", b"", "did you mean"),
    ],
)
def test_files_that_cannot_be_used_are_told(library, tmp_path, name, content, words):
    if name and content is None:
        save_file({"layer.weight": torch.zeros(2, 2)}, tmp_path / name)
    elif name:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UpscalerError) as error:
        enlarged(library, scene((20, 16)), (40, 32), name.partition(".")[0] or "no such")
    assert words in error.value.message("en") and "\n" not in error.value.message("zh")


# -- as jobs ---------------------------------------------------------------------------------------------------------


@pytest.mark.option("upscale.mode", "upscale.by", "upscale.method")
def test_enlarge_loads_no_model(request_of):
    generator, seen = build_generator(PROJECT_ROOT / "configs"), []
    request = request_of(prompt="", width=96, height=72, changed={"upscale.mode": "enlarge"})
    made = generator.generate(request, seen.append, attempt=ResumeState(inputs={IMAGE: scene((48, 36))})).images[0]
    assert generator.loaded is None and made.image.size == (96, 72)
    assert made.effective["upscale.upscaled_with"] == "compact-x2"
    assert [told.phase for told in seen] == [Phase.UPSCALE] * 2
    other = replace(request, options={**request.options, "upscale.method": "nearest"})
    plain = generator.generate(other, attempt=ResumeState(inputs={IMAGE: scene((48, 36))})).images[0]
    assert np.array_equal(pixels(plain.image), pixels(scene((48, 36)).resize((96, 72), Image.Resampling.NEAREST)))
    with pytest.raises(Cancelled):
        generator.generate(request, seen.append, lambda: True, attempt=ResumeState(inputs={IMAGE: scene((48, 36))}))
    measured("upscale.mode", "enlarge: 48x36 becomes 96x72 without any model")
    measured("upscale.by", "2: a source image of 48x36 gives 96x72 where no size is given")
    measured("upscale.method", "nearest: Pillow's own pixels; auto: compact-x2 up to twice, compact-x4 beyond")


@pytest.mark.option("upscale.denoising_strength", "upscale.tile", "upscale.tile_overlap")
def test_detail_regenerates_tiles_that_fade_into_one_another(own, request_of):
    changed = {"upscale.mode": "detail", "upscale.method": "lanczos", "upscale.tile": 96, "upscale.tile_overlap": 32}
    source, seen = scene((80, 48)), []
    request = request_of(width=160, height=96, changed={**changed, "upscale.denoising_strength": 0.5})
    made = own.generate(request, seen.append, attempt=ResumeState(inputs={IMAGE: source})).images[0]
    assert made.effective["inpaint.regions"] == ["96x96+0+0: 96x96", "96x96+64+0: 96x96"]
    assert {told.steps for told in seen if told.phase is Phase.STEPS} == {4}, "2 of 4 steps for each of two tiles"
    large = source.resize((160, 96), Image.Resampling.LANCZOS)

    def alone(image):
        one = request_of(width=96, height=96, changed={"img2img.denoising_strength": 0.5})
        return pixels(own.generate(one, attempt=ResumeState(inputs={IMAGE: image})).images[0].image)

    first = alone(large.crop((0, 0, 96, 96)))
    assert np.array_equal(pixels(made.image)[:, :64], first[:, :64]), "a tile is the image that it is alone"
    second = alone(large.crop((64, 0, 160, 96)))
    assert np.array_equal(pixels(made.image)[:, 96:], second[:, 32:])
    fade = ((np.arange(32) + 0.5) / 32)[None, :, None]
    mixed = first[:, 64:] * (1 - fade) + second[:, :32] * fade
    assert np.abs(pixels(made.image)[:, 64:96] - mixed).max() <= 2
    measured("upscale.denoising_strength", "0.5: 2 of 4 steps are run for each tile")
    measured("upscale.tile", "96: 160x96 is regenerated in two tiles, each the image that it is alone")
    measured("upscale.tile_overlap", "32: tiles fade into one another over 32 px")


@pytest.mark.slow
def test_seams_of_tiles_cannot_be_seen_in_flat_areas(own, request_of):
    """Nine by nine tiles, as many as an image of 4096 px has with tiles of 512."""
    source, size = Image.new("RGB", (64, 64), (90, 130, 170)), 96 + 8 * 64
    changed = {"upscale.mode": "detail", "upscale.method": "lanczos", "upscale.tile": 96, "upscale.denoising_strength": 0.3}
    request = request_of(width=size, height=size, num_inference_steps=8, changed=changed)
    made = own.generate(request, attempt=ResumeState(inputs={IMAGE: source})).images[0]
    tiles = hires.tiles(request)
    assert len(tiles) == 81
    seams = sorted({x for box in tiles for x in (box.left, box.right)} - {0, size})
    for image in (pixels(made.image), pixels(made.image).swapaxes(0, 1)):
        steps = np.abs(np.diff(image, axis=1)).mean(-1)  # between neighbouring columns
        for x in seams:
            around = (steps[:, x - 5 : x - 2].mean(1) + steps[:, x + 1 : x + 4].mean(1)) / 2
            flat = around < 1
            assert flat.any() and (steps[flat, x - 1] - around[flat]).mean() < 2


def test_images_of_tiles_are_not_kept(own, request_of, monkeypatch):
    """Memory would grow with the number of tiles: while one is pasted, only the image before it is alive."""
    alive, paste = [], inpaint.paste

    def counted(*given):
        made = paste(*given)
        seen.append(weakref.ref(made))
        alive.append(sum(one() is not None for one in seen))
        return made

    seen: list[weakref.ref] = []
    monkeypatch.setattr(inpaint, "paste", counted)
    changed = {"upscale.mode": "detail", "upscale.method": "lanczos", "upscale.tile": 64, "upscale.tile_overlap": 0}
    request = request_of(width=256, height=64, num_inference_steps=2, changed=changed)
    own.generate(request, attempt=ResumeState(inputs={IMAGE: scene((128, 32))}))
    assert len(alive) == 4 and max(alive) <= 2


def test_tiles_cover_any_size(request_of):
    for size, tile, overlap in (((4096, 3000), 1024, 64), ((100, 60), 128, 32), ((129, 128), 128, 16)):
        changed = {"upscale.tile": tile, "upscale.tile_overlap": overlap}
        tiles = hires.tiles(request_of(width=size[0], height=size[1], changed=changed))
        covered = np.zeros((size[1], size[0]), bool)
        for box in tiles:
            assert box.width <= tile and box.right <= size[0] and box.bottom <= size[1]
            covered[box.top : box.bottom, box.left : box.right] = True
        assert covered.all()


def test_hires_fix_uses_a_network(own, request_of):
    on = {"hires.enabled": True, "hires.scale": 2.0, "hires.denoising_strength": 0.5}
    made = own.generate(request_of(changed={**on, "hires.upscaler": "compact-x2"})).images[0]
    assert made.effective["hires.upscaled_with"] == "compact-x2"
    assert not np.array_equal(pixels(made.image), pixels(own.generate(request_of(changed=on)).images[0].image))


@pytest.mark.parametrize(
    ("changed", "inputs", "key"),
    [
        ({"upscale.mode": "enlarge"}, {}, "upscale.mode"),
        ({"upscale.mode": "detail"}, {IMAGE: "a", MASK: "b"}, "upscale.mode"),
        ({"upscale.mode": "detail", "hires.enabled": True}, {IMAGE: "a"}, "upscale.mode"),
        ({"upscale.mode": "detail", "upscale.tile": 2048}, {IMAGE: "a"}, "upscale.tile"),
        (
            {"upscale.mode": "detail", "upscale.tile": 128, "upscale.tile_overlap": 100},
            {IMAGE: "a"},
            "upscale.tile_overlap",
        ),
    ],
)
def test_options_that_cannot_be_used_are_refused(request_of, changed, inputs, key):
    with pytest.raises(OptionError) as error:
        request_checks.check(request_of(changed=changed, inputs=inputs), MODEL)
    assert error.value.values["key"] == key


def test_neutral_by_default():
    options = load_settings().request_options()
    assert (options["upscale.mode"], options["hires.upscaler"]) == ("off", "lanczos")
