"""Qwen-Image keeps the contract of a family, and so does Qwen-Image-Edit, which edits by instruction."""

from __future__ import annotations

import diffusers
import numpy as np
import pytest
import torch
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as edit_plus
from PIL import Image
from transformers import Qwen2VLProcessor

from core.config.loader import PROJECT_ROOT
from core.errors import InputCombinationError
from core.inference.generator import Generator
from core.models.catalog import Catalog
from core.models.families.qwen_image.backend import read_processor
from core.models.lora_library import LoraLibrary
from core.models.model_paths import ModelPaths
from core.models.token_counter import count_tokens
from core.studio.request_checks import check_inputs
from core.types import IMAGE, REFERENCES, ResumeState
from tests.models import tiny_models
from tests.models.family_contract import ESSENTIAL, SIZE, FamilyContract, MaskedEdits, pixels, scene


class QwenImageContract(FamilyContract):
    lora_also = "img_mlp"

    def plain(self, folder, name=None, guided=False, **given):
        """Guidance is called `true_cfg_scale`, and 1 is off."""
        pipeline = given.pop("pipeline", None) or self.pipeline_of(folder, name)
        pipeline.set_progress_bar_config(disable=True)
        arguments = {
            "prompt": "a red house, day", "negative_prompt": "grey" if guided else None, "num_inference_steps": 4,
            "true_cfg_scale": self.cfg if guided else 1.0, "generator": torch.Generator().manual_seed(7), **SIZE, **given,
        }  # fmt: skip
        return pixels(pipeline(**arguments).images[0])


@pytest.mark.by_default(
    *ESSENTIAL, "test_vae_tiles_are_diffusers_own", "test_what_is_cut_of_a_long_prompt_is_recorded"
)
class TestQwenImage(QwenImageContract):
    pipeline = "QwenImagePipeline"

    def build(self, folder):
        return tiny_models.qwen_image(folder)

    def test_vae_tiles_are_diffusers_own(self, own, folder, request_for):
        changed = {"vae.enable_tiling": True, "vae.tile_sample_min_size": 64, "vae.tile_overlap_factor": 0.25}
        mine = own.generate(request_for(width=96, height=128, changed=changed)).images[0]
        pipeline = diffusers.QwenImagePipeline.from_pretrained(folder, dtype=torch.float32)
        pipeline.vae.enable_tiling(64, 64, 48, 48)
        assert np.array_equal(pixels(mine.image), self.plain(folder, pipeline=pipeline, width=96, height=128))

    def test_what_is_cut_of_a_long_prompt_is_recorded(self, own, request_for):
        limited = {"transformer.max_sequence_length": 64}
        image = own.generate(request_for(prompt="red house " * 40, num_inference_steps=1, changed=limited)).images[0]
        cut = next(one for one in image.decisions if one.option == "transformer.max_sequence_length")
        assert cut.requested > 64 and cut.effective == 64
        assert image.request.prompt.endswith("red house ")


class Editing(Generator):
    """Gives every request an image: the pipeline can't run without one."""

    def generate(self, request, *given, attempt=None, **named):
        return super().generate(request, *given, attempt=attempt or ResumeState(inputs={IMAGE: scene()}), **named)


@pytest.mark.by_default(
    *ESSENTIAL,
    "test_several_images_are_plain_diffusers",
    "test_an_edit_with_a_mask_is_the_edit_within_it_and_the_source_outside",
    "test_each_image_of_a_batch_is_seen_at_its_size",
    "test_without_an_image_it_says_what_it_needs",
    "test_instructions_have_no_limit",
    "test_processor_gives_what_that_of_transformers_gives",
    "test_pixels_are_within_two_levels_of_those_by_torchvision",
)
class TestQwenImageEdit(MaskedEdits, QwenImageContract):
    pipeline = "QwenImageEditPlusPipeline"
    visits = {"vae": 2}  # it encodes the source image, too

    def build(self, folder):
        return tiny_models.qwen_image_edit(folder)

    @pytest.fixture(scope="class", autouse=True)
    def small(self):
        """The pipeline reads source images at 1 megapixel, and shows them to the text encoder at 0.15."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(edit_plus, "VAE_IMAGE_SIZE", 64 * 64)
            patch.setattr(edit_plus, "CONDITION_IMAGE_SIZE", 64 * 64)
            yield

    @pytest.fixture(scope="class")
    def own(self, folder):
        catalog = Catalog(PROJECT_ROOT / "configs", ModelPaths(folder.parent / "store"))
        generator = Editing(catalog, loras=LoraLibrary(folder.parent / "loras"))
        yield generator
        generator.unload()

    @pytest.fixture(scope="class")
    def info(self, folder):
        return Catalog(PROJECT_ROOT / "configs", ModelPaths(folder.parent / "store")).find(str(folder))

    def pipeline_of(self, folder, name=None):
        return diffusers.QwenImageEditPlusPipeline.from_pretrained(
            folder, processor=read_processor(folder), dtype=torch.float32
        )

    def plain(self, folder, name=None, guided=False, **given):
        return super().plain(folder, name, guided, **{"image": [scene()], **SIZE, **given})

    @pytest.mark.parametrize("guided", [False, True])
    def test_several_images_are_plain_diffusers(self, own, folder, request_for, guided):
        given = [scene(), scene().resize((96, 64)), scene().rotate(180), scene().resize((64, 64))]
        inputs = dict(zip((IMAGE, *REFERENCES), given, strict=True))
        request = request_for(cfg_scale=self.cfg if guided else 1.0)
        mine = pixels(own.generate(request, attempt=ResumeState(inputs=inputs)).images[0].image)
        assert np.array_equal(mine, self.plain(folder, guided=guided, image=given))
        assert not np.array_equal(mine, self.plain(folder, guided=guided, image=given[:1]))

    def test_each_image_of_a_batch_is_seen_at_its_size(self, own, request_for):
        sizes = ({"width": 64, "height": 80}, {"width": 128, "height": 64})
        batch = own.generate(request_for(images=sizes)).images
        for image, size in zip(batch, sizes, strict=True):
            assert np.array_equal(pixels(image.image), pixels(own.generate(request_for(**size)).images[0].image))

    def test_without_an_image_it_says_what_it_needs(self, info, request_for):
        with pytest.raises(InputCombinationError) as caught:
            check_inputs(request_for(), info, lambda digest: (64, 64))
        assert "edits an image by the prompt and needs one" in caught.value.message("en")

    def test_instructions_have_no_limit(self, info, request_for):
        assert "whole instruction" in info.cannot["transformer.max_sequence_length"]["en"]
        assert count_tokens(info, "make it red " * 900, request_for().options) is None

    def test_processor_gives_what_that_of_transformers_gives(self, folder, monkeypatch):
        """That one has a part for videos, which can't be made without torchvision and is not asked for images."""
        mine = read_processor(folder)
        monkeypatch.setattr(Qwen2VLProcessor, "check_argument_for_proper_class", lambda *given: None)
        theirs = Qwen2VLProcessor(mine.image_processor, mine.tokenizer, object())
        text = "Picture 1: <|vision_start|><|image_pad|><|vision_end|>Picture 2: <|vision_start|><|image_pad|><|vision_end|>red"
        given = {"text": [text], "images": [scene(), scene().resize((320, 96))], "padding": True, "return_tensors": "pt"}
        found, expected = mine(**given), theirs(**given)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)
        pads = int((found["input_ids"] == mine.image_token_id).sum())
        assert pads == int(found["image_grid_thw"].prod(dim=1).sum()) // 4 > 2

    def test_pixels_are_within_two_levels_of_those_by_torchvision(self, folder):
        """torchvision resizes 8-bit images by `interpolate`, with antialiasing."""
        noise = np.random.default_rng(1).integers(0, 256, (416, 352, 3), np.uint8)  # of 40 images of noise, 2.11 was the most
        image = Image.fromarray(noise)
        mine = read_processor(folder).image_processor([image], return_tensors="np")
        _, down, across = mine["image_grid_thw"][0]
        planes = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
        size = (int(down) * 14, int(across) * 14)
        theirs = torch.nn.functional.interpolate(planes, size=size, mode="bicubic", antialias=True)[0]
        processor = read_processor(folder).image_processor
        ready = Image.fromarray(theirs.permute(1, 2, 0).numpy())
        other = processor([ready], do_resize=False, return_tensors="np")
        levels = np.abs(mine["pixel_values"] - other["pixel_values"]) * 255 * max(processor.image_std)
        assert size != image.size[::-1] and levels.max() < 2.2 and levels.mean() < 0.01
