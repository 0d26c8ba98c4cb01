"""The original names of a U-Net's layers are those that diffusers' own conversion reads, at the published shapes."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

from core.models.families import FAMILIES

ORIGINAL = ("input_blocks", "output_blocks", "middle_block", "time_embed", "label_emb", "out.")


@pytest.mark.parametrize("pipeline", ["StableDiffusionPipeline", "StableDiffusionXLPipeline"])
def test_original_names_are_those_of_diffusers_conversion(pipeline: str) -> None:
    family = FAMILIES[pipeline]
    assert family.checkpoint is not None
    config = json.loads((family.checkpoint.frame / "unet" / "config.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
    layers = {
        name: tuple(layer.weight.shape)
        for name, layer in unet.named_modules()
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d)
    }
    attended = {name.partition(".attentions")[0] for name in layers if ".attentions" in name}
    checkpoint = {}
    for alias in family.lora.parts[0].aliases(layers):
        block, _, upsampler = alias.module.partition(".upsamplers")
        if upsampler and (".2.conv" in alias.name) != (block in attended):
            continue  # both places are aliases; a block without attention has its upsampler in the first
        if alias.name.startswith(ORIGINAL):
            for kind in ("weight", "bias"):
                checkpoint[f"model.diffusion_model.{alias.name}.{kind}"] = f"{alias.module}.{kind}"
    converted = convert_ldm_unet_checkpoint(dict(checkpoint), config)
    assert {name: value for name, value in converted.items() if name != value} == {}
    assert {name.rpartition(".")[0] for name in converted} == set(layers)
