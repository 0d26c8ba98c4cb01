"""The file has the size that was asked for, whatever else is asked; what the model cannot draw is refused before it begins."""

import json
import shutil
from datetime import UTC, datetime

import pytest
import torch
from diffusers import AutoencoderKL, ZImagePipeline
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from core.errors import OptionError
from core.inference.generator import Generator
from core.inference.pipeline_reading import read_pipeline
from core.storage.files import LocalFiles
from core.storage.image_writer import ImageWriter
from tests.examples import examples
from tests.models.conftest import WEIGHTS


def thoughtless(x, t, cap_feats, **others):
    """In the place of the transformer's own way where only sizes matter: noise is answered with noise."""
    return ([0.5 * one for one in x],)


def hasty(info, dtypes):
    """The embedded model with nothing in it that takes time."""
    read = read_pipeline(info, dtypes)
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=16,
        norm_num_groups=2,
        scaling_factor=1.0,
        shift_factor=0.0,
        mid_block_add_attention=False,
    ).eval()
    pipeline = ZImagePipeline(**read.components | {"vae": vae})
    pipeline.transformer.forward = thoughtless
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def quick(generator):
    return Generator(generator._catalog, read=hasty)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return LocalFiles(tmp_path_factory.mktemp("pictures"))


SIZES = st.tuples(st.integers(64, 500), st.integers(64, 500)) | st.sampled_from([(1000, 701), (64, 2048), (2048, 64)])


@settings(
    max_examples=examples(20),
    phases=(Phase.explicit, Phase.generate),  # a counterexample is small as it is, and each takes a while
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    size=SIZES,
    forced=st.booleans(),
    tiled=st.sampled_from(["vae.enable_tiling", "vae.decoder_tiling", "memory.low_vram", None]),
    mode=st.sampled_from(["blend", "exact"]),
    tile=st.integers(64, 600),
    overlap=st.floats(0, 0.5),
    images=st.integers(1, 3),
    format=st.sampled_from(["png", "jpeg", "webp"]),
)
def test_every_combination(quick, files, request_of, size, forced, tiled, mode, tile, overlap, images, format):
    changed = {
        "force_original_resolution": forced,
        "vae.tiling_mode": mode,
        "vae.tile_sample_min_size": tile,
        "vae.decoder_tile_size": tile,
        "vae.tile_overlap_factor": overlap,
        "output.format": format,
    } | ({tiled: True} if tiled else {})
    request = request_of(changed=changed, width=size[0], height=size[1], num_inference_steps=1, num_images=images)
    all_generated = quick.generate(request).images
    assert len(all_generated) == images
    for generated in all_generated:
        assert all(side % 16 == 0 for side in generated.rendered_size)
        stored = ImageWriter(files).write(generated, "0" * 8, datetime.now(UTC), {})
        with Image.open(files.path(stored.file)) as image:
            assert (image.size, image.format.lower()) == (size, format)


@pytest.mark.by_default("False-size0")
@pytest.mark.parametrize("size", [(1000, 701), (64, 2048)])
@pytest.mark.parametrize("forced", [True, False])
def test_the_real_model(generator, request_of, size, forced):
    tiled = {"vae.enable_tiling": True, "vae.tiling_mode": "exact" if forced else "blend"}
    changed = {"force_original_resolution": forced, **tiled}
    request = request_of(changed=changed, width=size[0], height=size[1], num_inference_steps=1)
    image = generator.generate(request).images[0]
    assert image.image.size == size
    assert (image.rendered_size == tuple(-(-side // 16) * 16 for side in size)) is forced


@pytest.mark.parametrize("size", [(8208, 64), (64, 8193), (16, 64)])
def test_beyond_the_table_of_positions_nothing_is_begun(generator, request_of, size):
    heard = []
    with pytest.raises(OptionError, match="8192") as caught:
        generator.generate(request_of(width=size[0], height=size[1]), on_progress=heard.append)
    assert not heard
    assert str(max(size) if max(size) > 64 else min(size)) in caught.value.message("zh")


def test_a_models_own_table_is_its_limit(request_of, tmp_path, generator):
    folder = tmp_path / "short"
    shutil.copytree(WEIGHTS, folder)
    config = folder / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"axes_lens": [1536, 16, 20]}))
    own = Generator(generator._catalog)
    with pytest.raises(OptionError, match="64 to 256 px"):
        own.generate(request_of(model=str(folder), width=64, height=272))
    image = own.generate(request_of(model=str(folder), width=64, height=256, num_inference_steps=1)).images[0]
    assert image.image.size == (64, 256)
