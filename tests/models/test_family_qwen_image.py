"""Qwen-Image keeps the contract of a family."""

from __future__ import annotations

import diffusers
import numpy as np
import pytest
import torch

from tests.models import tiny_models
from tests.models.family_contract import ESSENTIAL, SIZE, FamilyContract, pixels


@pytest.mark.by_default(
    *ESSENTIAL, "test_vae_tiles_are_diffusers_own", "test_what_is_cut_of_a_long_prompt_is_recorded"
)
class TestQwenImage(FamilyContract):
    pipeline = "QwenImagePipeline"
    lora_also = "img_mlp"

    def build(self, folder):
        return tiny_models.qwen_image(folder)

    def plain(self, folder, name=None, guided=False, **given):
        """Guidance is called `true_cfg_scale`, and 1 is off."""
        pipeline = given.pop("pipeline", None)
        if pipeline is None:
            pipeline = getattr(diffusers, name or self.pipeline).from_pretrained(folder, dtype=torch.float32)
        pipeline.set_progress_bar_config(disable=True)
        arguments = {
            "prompt": "a red house, day", "negative_prompt": "grey" if guided else None, "num_inference_steps": 4,
            "true_cfg_scale": self.cfg if guided else 1.0, "generator": torch.Generator().manual_seed(7), **SIZE, **given,
        }  # fmt: skip
        return pixels(pipeline(**arguments).images[0])

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
