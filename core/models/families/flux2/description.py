"""Describe FLUX.2 [klein]: a transformer with two kinds of blocks, Qwen3-4B as text encoder, a VAE of 32 latent channels.

It generates from text, and edits up to four source images by instruction in the same pipeline; within a mask in a class of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.i18n import localize
from core.models.families.base import (
    NO_CONTROLNET,
    PLAIN_CANNOT,
    Family,
    Part,
    Single,
    Tensors,
    Text,
    read_config,
)
from core.models.families.flux2 import layout
from core.models.families.flux2.layout import LORA
from core.models.identify import TRANSFORMER, Component, components_of
from core.types import IMAGE, MASK, REFERENCES

PATCH = 16  # px of a token's side: 8 of the VAE times a patch of 2
MAX_SIDE = 2048  # px; positions have no end, the published model was made for up to 4 megapixels
NATIVE_SIDE = 1024  # px

_CANNOT: Mapping[str, Text] = {
    "img2img.denoising_strength": localize("models.families.base.edits"),
    "hires.": localize("models.families.base.no_img2img"),
    **PLAIN_CANNOT,
    "generation.short_prompt_steps": localize("models.families.base.no_short_prompt"),
    "controlnet.": NO_CONTROLNET,
}


@dataclass(frozen=True, kw_only=True)
class Flux2(Family):
    """FLUX.2's pipelines with Qwen3 as text encoder."""

    def max_side(self, folder: Path | None) -> int:
        """Return MAX_SIDE, the same for all models of the family."""
        return MAX_SIDE

    def native_side(self, folder: Path | None) -> int:
        """Return the VAE's sample size: 1024 in the published model."""
        side = read_config(folder / "vae" / "config.json").get("sample_size", NATIVE_SIDE) if folder else NATIVE_SIDE
        return side if isinstance(side, int) else NATIVE_SIDE

    def model_width(self, folder: Path | None) -> int | None:
        """Return the width of the transformer's tokens."""
        config = read_config(folder / "transformer" / "config.json") if folder else {}
        heads, width = config.get("num_attention_heads"), config.get("attention_head_dim")
        return heads * width if isinstance(heads, int) and isinstance(width, int) else self.width

    def attention_channels(self, config: Mapping[str, Any]) -> int:
        """Return the width times the blocks of both kinds."""
        heads, width, double, single = (config.get(key) or 0 for key in _ATTENTION)
        return int(heads * width * (double + single))

    def denoiser_shape(self, config: Mapping[str, Any]) -> tuple[int, ...]:
        """Return heads and their width, blocks of both kinds, the width of the prompt embeds."""
        keys = ("num_attention_heads", "attention_head_dim", "num_layers", "num_single_layers", "joint_attention_dim")
        return tuple(config.get(key) or 0 for key in keys)

    def detect_file(self, tensors: Tensors) -> Single | None:
        """Recognise a transformer without guidance, by the publisher's names or diffusers'; that of [dev] has guidance."""
        found = {one.part: one for one in components_of(tensors) if one.family == FAMILY}
        if TRANSFORMER not in found:
            return None
        prefix = found[TRANSFORMER].prefix
        own = {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}
        if any(name.startswith(("guidance_in.", "time_guidance_embed.guidance_embedder.")) for name in own):
            return None
        try:
            return Single(self.pipeline, (TRANSFORMER,), layout.shape_of(own), components=found)
        except (KeyError, ValueError):  # a layer that tells the shape is not there
            return None

    def expected_weights(self, component: Component, config: Mapping[str, Any]) -> Mapping[str, tuple[int, ...]] | None:
        """Return the expected shapes of the transformer."""
        return layout.expected(config) if component.part == TRANSFORMER else None

    def weight_names(self, component: Component, name: str) -> tuple[str, ...]:
        """Return the diffusers names of a transformer's weight in the publisher's names."""
        return layout.targets(name) if component.part == TRANSFORMER else (name,)

    def halves_swapped(self, component: Component, name: str) -> bool:
        """Return True for the modulation of the last layer, in the publisher's names."""
        return component.part == TRANSFORMER and name.startswith(layout.SWAPPED)


FAMILY = "FLUX.2"  # what a file's transformer is called
_ATTENTION = ("num_attention_heads", "attention_head_dim", "num_layers", "num_single_layers")

KLEIN = Flux2(
    folder="flux2",
    pipeline="Flux2KleinPipeline",
    label="FLUX.2 [klein]",
    parts={
        "scheduler": Part("diffusers", ("FlowMatchEulerDiscreteScheduler",), "scheduler_config.json", weights=False),
        "text_encoder": Part("transformers", ("Qwen3ForCausalLM",)),
        "tokenizer": Part(
            "transformers", ("Qwen2Tokenizer", "Qwen2TokenizerFast"), "tokenizer_config.json", weights=False
        ),
        "transformer": Part("diffusers", ("Flux2Transformer2DModel",)),
        "vae": Part("diffusers", ("AutoencoderKLFlux2",)),
    },
    denoiser="transformer",
    prediction="flow",
    size_multiple=PATCH,
    steps=4,
    cfg_scale=1.0,
    width=3072,
    lora=LORA,
    template=("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"),
    cannot=_CANNOT,
    inpaint="Flux2KleinInpaintPipeline",
    takes_strength=False,  # an edit begins with noise alone, within a mask as well
    inputs=(IMAGE, MASK, *REFERENCES),
    masked_references=1,
)
FAMILIES = (KLEIN,)
