"""Z-Image-Omni keeps the contract of a family, and edits by instruction."""

from __future__ import annotations

import diffusers
import numpy as np
import pytest
import torch
from transformers import Siglip2ImageProcessorPil

from core.types import IMAGE, REFERENCES, ResumeState
from tests.models import tiny_models
from tests.models.family_contract import ESSENTIAL, FamilyContract, MaskedEdits, pixels, scene


@pytest.mark.by_default(
    *ESSENTIAL,
    "test_edits_are_plain_diffusers",
    "test_what_is_cut_of_a_long_instruction_is_recorded",
    "test_an_edit_with_a_mask_is_the_edit_within_it_and_the_source_outside",
)
class TestZImageOmni(MaskedEdits, FamilyContract):
    pipeline = "ZImageOmniPipeline"
    visits = {"siglip": 0}  # an image from text has no source that it could see

    def build(self, folder):
        return tiny_models.z_image_omni(folder)

    def pipeline_of(self, folder, name=None):
        """The pipeline gives images to the VAE in bfloat16, which one in float32 does not take: they are widened again."""
        processor = Siglip2ImageProcessorPil.from_pretrained(folder / "siglip_processor")
        read = diffusers.ZImageOmniPipeline.from_pretrained(folder, siglip_processor=processor, dtype=torch.float32)
        encode = read.vae.encode
        read.vae.encode = lambda image: encode(image.float())
        return read

    @pytest.mark.parametrize(("count", "guided"), [(1, True), (3, False)])
    def test_edits_are_plain_diffusers(self, own, folder, request_for, count, guided):
        given = [scene(), scene().resize((96, 64)), scene().rotate(180)][:count]
        inputs = dict(zip((IMAGE, *REFERENCES), given, strict=False))
        request = request_for(cfg_scale=self.cfg if guided else 1.0)
        mine = pixels(own.generate(request, attempt=ResumeState(inputs=inputs)).images[0].image)
        size = {"width": request.width, "height": request.height}
        assert np.array_equal(mine, self.plain(folder, guided=guided, image=given, **size))
        assert not np.array_equal(mine, pixels(own.generate(request).images[0].image))

    def test_what_is_cut_of_a_long_instruction_is_recorded(self, own, request_for):
        limited = {"transformer.max_sequence_length": 64}
        request = request_for(prompt="red house " * 40, num_inference_steps=1, changed=limited)
        image = own.generate(request, attempt=ResumeState(inputs={IMAGE: scene()})).images[0]
        cut = next(one for one in image.decisions if one.option == "transformer.max_sequence_length")
        assert cut.requested > 64 and cut.effective == 64
