"""Control images: what each preprocessor shows of an image with known edges; depth as transformers computes it."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

from core.config.control_units import ControlUnit
from core.errors import ControlNetError
from core.inference.control_maps import control_map, estimator_of_pages, lineart, scribble, tile
from core.inference.depth_map import DEVIATION, MEAN, DepthEstimator
from core.models.controlnet_library import DepthLibrary, PoseLibrary


@pytest.fixture
def square():
    """A grey square with a fine checked pattern on black."""
    pixels = np.zeros((96, 96, 3), np.uint8)
    pixels[24:72, 24:72] = 160
    pixels[40:56, 40:56] += (60 * (np.indices((16, 16)).sum(0) % 2)).astype(np.uint8)[..., None]
    return Image.fromarray(pixels)


def levels(image):
    return np.asarray(image.convert("L")).astype(int)


def test_lines_are_where_the_edges_are(square):
    lines = levels(lineart(square))
    assert lines[48, 22:26].max() > 200 and lines[:12].max() == 0 and lines[48, 30:36].max() < 60
    assert levels(lineart(Image.new("RGB", (64, 64), "gray"))).max() == 0


def test_scribbles_are_thick_and_without_detail(square):
    generated = levels(scribble(square)) > 0
    row = generated[48]
    assert row[20:28].sum() >= 3, "thick"
    assert not row[43:53].any(), "the pattern is gone"
    assert set(np.unique(levels(scribble(square)))) == {0, 255}


def test_tiles_lose_detail_but_keep_colours(square):
    assert tile(square, 1.0) is square
    small = tile(square, 4.0)
    assert small.size == square.size
    assert np.ptp(levels(small)[44:52, 44:52]) < np.ptp(levels(square)[44:52, 44:52]) / 2
    assert abs(levels(small).mean() - levels(square).mean()) < 2


def test_each_preprocessor_by_its_name(square):
    def made(name):
        return levels(
            control_map(square, ControlUnit("x", preprocessor=name), lambda image, kind: Image.new("RGB", image.size))
        )

    assert np.array_equal(made("none"), levels(square)) and np.array_equal(made("tile"), levels(square))
    assert np.array_equal(made("invert"), 255 - levels(square)) and made("depth").max() == 0
    assert len({made(name).tobytes() for name in ("none", "canny", "lineart", "scribble", "invert")}) == 5


def estimator(folder):
    return estimator_of_pages(DepthLibrary(folder), PoseLibrary(folder))


def depth_model(folder):
    torch.manual_seed(0)
    backbone = Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, mlp_ratio=2, image_size=70, patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False, apply_layernorm=True,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone, patch_size=14, reassemble_hidden_size=16, neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8, head_hidden_size=8,
    )  # fmt: skip
    made = DepthAnythingForDepthEstimation(config)
    with torch.no_grad():  # as it begins, its depths differ by less than what float32 tells
        for weight in made.parameters():
            if weight.ndim > 1:
                weight.normal_(0, 0.3)
    made.head.conv3.bias.data.fill_(1.0)
    made.save_pretrained(folder)
    return made.eval()


def test_depth_is_what_the_model_says(square, tmp_path):
    model = depth_model(tmp_path / "depth")
    (tmp_path / "depth" / "preprocessor_config.json").write_text('{"size": {"height": 70, "width": 70}}')
    found = DepthEstimator(tmp_path / "depth", "cpu")(square)
    laid = np.asarray(square.resize((70, 70), Image.Resampling.BICUBIC), np.float32) / 255
    pixels = torch.from_numpy((laid - np.float32(MEAN)) / np.float32(DEVIATION)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        depth = model(pixel_values=pixels).predicted_depth[None]
    depth = torch.nn.functional.interpolate(depth, (96, 96), mode="bicubic")[0, 0]
    expected = (depth - depth.min()) / (depth.max() - depth.min())
    assert np.abs(levels(found) - 255 * expected.numpy()).max() <= 1
    assert found.size == square.size and (levels(found).min(), levels(found).max()) == (0, 255)


def test_without_a_depth_model_the_error_says_where_it_belongs(square, tmp_path):
    with pytest.raises(ControlNetError, match="Depth-Anything-V2-Small-hf"):
        estimator(tmp_path)(square, "depth")


@pytest.mark.slow
def test_a_page_gets_its_depth_map_from_another_process(square, tmp_path):
    depth_model(tmp_path / "depth")
    found = estimator(tmp_path)(square, "depth")
    assert np.array_equal(levels(found), levels(DepthEstimator(tmp_path / "depth", "cpu")(square)))
    (tmp_path / "depth" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ControlNetError, match="cannot be used"):
        estimator(tmp_path)(square, "depth")
