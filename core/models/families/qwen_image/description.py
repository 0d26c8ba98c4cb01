"""Describe Qwen-Image: a transformer with two streams, Qwen2.5-VL as text encoder, a VAE for videos with 16 latent channels.

Qwen-Image-Edit has the same parts and a processor, with which the text encoder sees up to four source images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
from core.models.families.qwen_image import layout
from core.models.families.qwen_image.layout import LORA
from core.models.identify import TRANSFORMER, Component, components_of
from core.types import IMAGE, MASK, REFERENCES

PATCH = 16  # px of a token's side: 8 of the VAE times a patch of 2
MAX_SIDE = 2048  # px; positions have no end, the published models were made for about 1.8 megapixels
NATIVE_SIDE = 1328  # px, of the square among the published sizes
_ATTENTION = ("num_attention_heads", "attention_head_dim", "num_layers")

_CANNOT: Mapping[str, Text] = {
    **PLAIN_CANNOT,
    "vae.tiling_mode": localize("models.families.qwen_image.description.no_exact_tiles"),
    "controlnet.": NO_CONTROLNET,
}


@dataclass(frozen=True, kw_only=True)
class QwenImage(Family):
    """Qwen-Image's pipelines."""

    def max_side(self, folder: Path | None) -> int:
        """Return the same for all models of the family."""
        return MAX_SIDE

    def native_side(self, folder: Path | None) -> int:
        """Return the same side for all models: no configuration has it."""
        return NATIVE_SIDE

    def model_width(self, folder: Path | None) -> int | None:
        """Return the width of the transformer's tokens."""
        config = read_config(folder / "transformer" / "config.json") if folder else {}
        heads, width = config.get("num_attention_heads"), config.get("attention_head_dim")
        return heads * width if isinstance(heads, int) and isinstance(width, int) else self.width

    def steps_run(self, steps: int, strength: float) -> int:
        """Return the steps rounded up, as QwenImageImg2ImgPipeline.get_timesteps does."""
        return steps - int(max(steps - min(steps * strength, steps), 0))

    def attention_channels(self, config: Mapping[str, Any]) -> int:
        """Return the width times the blocks."""
        heads, width, blocks = (config.get(key) or 0 for key in _ATTENTION)
        return int(heads * width * blocks)

    def denoiser_shape(self, config: Mapping[str, Any]) -> tuple[int, ...]:
        """Return heads and their width, blocks, and the width of the prompt embeds."""
        return tuple(config.get(key) or 0 for key in (*_ATTENTION, "joint_attention_dim"))

    def detect_file(self, tensors: Tensors) -> Single | None:
        """Recognise a transformer; that of an edit model has the same names and shapes."""
        found = {one.part: one for one in components_of(tensors) if one.family == FAMILY}
        if TRANSFORMER not in found:
            return None
        prefix = found[TRANSFORMER].prefix
        own = {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}
        try:
            return Single(self.pipeline, (TRANSFORMER,), layout.shape_of(own), components=found)
        except (KeyError, ValueError):  # a layer that tells the shape is not there
            return None

    def expected_weights(self, component: Component, config: Mapping[str, Any]) -> Mapping[str, tuple[int, ...]] | None:
        """Return the expected shapes of the transformer."""
        return layout.expected(config) if component.part == TRANSFORMER else None


FAMILY = "Qwen-Image"  # what a file's transformer is called
QWEN_IMAGE = QwenImage(
    folder="qwen_image",
    pipeline="QwenImagePipeline",
    label="Qwen-Image",
    parts={
        "scheduler": Part("diffusers", ("FlowMatchEulerDiscreteScheduler",), "scheduler_config.json", weights=False),
        "text_encoder": Part("transformers", ("Qwen2_5_VLForConditionalGeneration",)),
        "tokenizer": Part(
            "transformers", ("Qwen2Tokenizer", "Qwen2TokenizerFast"), "tokenizer_config.json", weights=False
        ),
        "transformer": Part("diffusers", ("QwenImageTransformer2DModel",)),
        "vae": Part("diffusers", ("AutoencoderKLQwenImage",)),
    },
    denoiser="transformer",
    prediction="flow",
    size_multiple=PATCH,
    steps=50,
    cfg_scale=4.0,
    width=3072,
    lora=LORA,
    img2img="QwenImageImg2ImgPipeline",
    inpaint="QwenImageInpaintPipeline",
    template=("", "<|im_end|>\n<|im_start|>assistant\n"),  # what is before is not given to the transformer
    cannot=_CANNOT,
    inputs=(IMAGE, MASK),
    kin=("QwenImageEditPlusPipeline",),
)
EDIT = replace(
    QWEN_IMAGE,
    pipeline="QwenImageEditPlusPipeline",
    label="Qwen-Image-Edit",
    parts={
        **QWEN_IMAGE.parts,
        "processor": Part("transformers", ("Qwen2VLProcessor",), "preprocessor_config.json", weights=False),
    },
    steps=40,
    img2img=None,
    inpaint=None,
    takes_strength=False,
    inputs=(IMAGE, MASK, *REFERENCES),  # an edit is taken within the mask
    needs=(IMAGE,),
    kin=(),
    cannot={
        **_CANNOT,
        "img2img.denoising_strength": localize("models.families.base.edits"),
        "hires.": localize("models.families.base.no_img2img"),
        "transformer.max_sequence_length": localize("models.families.qwen_image.description.reads_all"),
    },
)
FAMILIES = (QWEN_IMAGE, EDIT)
