"""SD 1.5 and SDXL keep the contract of a family; what they share is tried with SDXL by default."""

import pytest

from tests.models import tiny_models
from tests.models.family_contract import ESSENTIAL, FamilyContract


@pytest.mark.by_default("test_catalogue_recognises_folder", "test_txt2img_is_plain_diffusers", "test_lora_is_plain_diffusers")
class TestSD15(FamilyContract):
    pipeline = "StableDiffusionPipeline"
    lora_parts = ("unet", "text_encoder")

    def build(self, folder):
        return tiny_models.stable_diffusion(folder)


@pytest.mark.by_default(*ESSENTIAL, "test_cancel_ends_within_a_step", "test_parts_are_offloaded", "test_vae_is_tiled")
class TestSDXL(FamilyContract):
    pipeline = "StableDiffusionXLPipeline"
    lora_parts = ("unet", "text_encoder", "text_encoder_2")

    def build(self, folder):
        return tiny_models.stable_diffusion_xl(folder)
