"""SD 1.5 and SDXL keep the contract of a family."""

from . import toys
from .family_contract import FamilyContract


class TestSD15(FamilyContract):
    pipeline = "StableDiffusionPipeline"
    lora_parts = ("unet", "text_encoder")

    def build(self, folder):
        return toys.stable_diffusion(folder)


class TestSDXL(FamilyContract):
    pipeline = "StableDiffusionXLPipeline"
    lora_parts = ("unet", "text_encoder", "text_encoder_2")

    def build(self, folder):
        return toys.stable_diffusion_xl(folder)
