"""Describe Stable Diffusion 1.5 and SDXL: a U-Net, one or two CLIP text encoders, a VAE of 4 latent channels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.i18n import localize
from core.models.families.base import (
    NO_OWN_CONTROLNET,
    CheckpointLayout,
    ControlNetUse,
    Family,
    Part,
    Single,
    Tensors,
    Text,
    read_config,
    with_controlnet,
)
from core.models.families.stable_diffusion.lora_names import LORA_SD15, LORA_SDXL
from core.models.identify import DIFFUSERS, Component, components_of
from core.models.weight_files import Header
from core.types import CONTROL, IMAGE, MASK

MAX_SIDE = 2048  # px; a U-Net has no end of positions, but repeats itself long before
_LATENTS = 4  # channels that a U-Net for text alone reads
_V_PREDICTION, _ZERO_SNR = "v_pred", "ztsnr"  # empty tensors: what the U-Net predicts; its last timestep is pure noise
_EDM = "edm_vpred.sigma_max"  # CosXL
_COSXL = {"sigma_min": 0.002, "sigma_max": 120.0, "sigma_data": 1.0, "sigma_schedule": "exponential"}
_UNET = "model.diffusion_model."
_FOREIGN = {  # prefix of a tensor's name -> the kind of model that alone has it
    "cond_stage_model.model.": "Stable Diffusion 2",
    "conditioner.embedders.0.model.": "SDXL refiner",
    f"{_UNET}joint_blocks.": "Stable Diffusion 3",
    f"{_UNET}double_blocks.": "FLUX",
    "edm_mean": "Playground 2.5",
}


@dataclass(frozen=True, kw_only=True)
class StableDiffusion(Family):
    """Pipelines with a U-Net. `side` is the native size in pixels, unless the folder says otherwise."""

    side: int = 1024
    added: bool = False  # conditioned on sizes and pooled prompt embeds, as SDXL is
    # Of a step, for each parameter and pixel, and with the square of the pixels: counted by torch's FlopCounterMode on the
    # published U-Nets at 512 and 1024 px. Few parameters work at full resolution, so a U-Net needs far less than a transformer.
    flops: tuple[float, float] = (2.31e-3, 1.92e-10)

    def max_side(self, folder: Path | None) -> int:
        """Return the longest side in pixels, the same for all."""
        return MAX_SIDE

    def native_side(self, folder: Path | None) -> int:
        """Return eight times the U-Net's sample size."""
        size = read_config(folder / "unet" / "config.json").get("sample_size") if folder else None
        return 8 * size if isinstance(size, int) else self.side

    def step_flops(self, parameters: int, config: Mapping[str, Any], pixels: int) -> float:
        """Return the operations of one evaluation of the U-Net."""
        linear, square = self.flops
        return parameters * pixels * (linear + square * pixels)

    def model_width(self, folder: Path | None) -> int | None:
        """Return the width of the prompt embeds that the U-Net takes."""
        config = read_config(folder / "unet" / "config.json") if folder else {}
        found = config.get("cross_attention_dim", self.width)
        return found if isinstance(found, int) else None

    def detect_file(self, tensors: Tensors) -> Single | None:
        """Recognise a whole model in one file, as A1111 saves it."""
        found = {component.part: component for component in components_of(tensors)}
        unet = found.get("unet")
        if self.checkpoint is None or unet is None or unet.family != self.label or _foreign_kind(tensors) is not None:
            return None
        parts = tuple(part for part in self.checkpoint.prefixes if part in found)
        return Single(self.pipeline, parts, _shape_in(tensors, unet), whole=True, components=found)

    def foreign_kind(self, tensors: Tensors) -> str | None:
        """Return the kind of another model in the layout of a checkpoint."""
        return None if self.checkpoint is None else _foreign_kind(tensors)

    def denoiser_shape(self, config: Mapping[str, Any]) -> tuple[int, ...]:
        """Return the widths of the embeds, then each block's channels and the depth of its transformers."""
        kinds, channels = config.get("down_block_types", ()), config.get("block_out_channels", ())
        depth = config.get("transformer_layers_per_block", 1)
        depths = depth if isinstance(depth, list) else [depth] * len(channels)
        blocks = zip(channels, kinds, depths, strict=False)
        return (
            config.get("cross_attention_dim") or 0,
            config.get("projection_class_embeddings_input_dim") or 0,
            *(number for width, kind, deep in blocks for number in (width, deep if "CrossAttn" in kind else 0)),
        )

    def fits_network(self, config: Mapping[str, Any]) -> bool:
        """Return True for a ControlNet of this family; ControlNetModel is the class of both, but only SDXL's takes
        sizes, and only a Union has types."""
        if not (self.controlnet and super().fits_network(config)) or self.controlnet.union != (
            "num_control_type" in config
        ):
            return False
        return self.added == (config.get("addition_embed_type") == "text_time")

    def network_shape(self, config: Mapping[str, Any]) -> tuple[int, ...]:
        """Return widths and channels, because a ControlNet may have blocks of another depth."""
        keys = ("cross_attention_dim", "projection_class_embeddings_input_dim")
        return (*(config.get(key) or 0 for key in keys), *config.get("block_out_channels", ()))

    def scheduler_changes(self, header: Header) -> Mapping[str, Any]:
        """Return changes to the scheduler for v-prediction, zero terminal SNR and EDM, by markers in the file."""
        if _EDM in header.tensors:
            return {"_class_name": "EDMEulerScheduler", "prediction_type": "v_prediction", **_COSXL}
        prediction = str(header.metadata.get("modelspec.prediction_type", "")).strip().lower()
        if _V_PREDICTION not in header.tensors and prediction not in ("v", "v_prediction", "v-prediction", "vpred"):
            return {}
        marked = _ZERO_SNR in header.tensors
        zero_snr = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"} if marked else {}
        return {"prediction_type": "v_prediction", **zero_snr}

    def fits_part(self, component: Component) -> bool:
        """Return True for a VAE with 4 latent channels and for CLIP."""
        return component.family == "SD 1.5 or SDXL" if component.part == "vae" else component.family.startswith("CLIP")


# -- a checkpoint, by its tensors --------------------------------------------------------------------------------------


_TEXT_NAMES = re.compile(
    r"(cond_stage_model|conditioner\.embedders\.0)\.transformer\.(text_model\.)?embeddings\.token_embedding\."
)
_TEXTS = re.compile(
    r"((input_blocks\.\d+|middle_block)\.1|(down_blocks\.\d+|mid_block)\.attentions\.\d+)"
    r"\.transformer_blocks\.0\.attn2\.to_k\.weight$"
)


def _foreign_kind(tensors: Tensors) -> str | None:
    for begin, kind in _FOREIGN.items():
        if any(name.startswith(begin) for name in tensors):
            return kind
    texts = [name for name in tensors if name.startswith(("cond_stage_model.", "conditioner.embedders.0."))]
    if texts and not any(_TEXT_NAMES.match(name) for name in texts):
        return "a text encoder with unknown tensor names"
    first = tensors.get(f"{_UNET}input_blocks.0.0.weight") or tensors.get("input_blocks.0.0.weight")
    if first is not None and len(first.shape) == 4 and first.shape[1] != _LATENTS:
        return f"inpainting or editing, {first.shape[1]} channels"
    return None


def _shape_in(tensors: Tensors, unet: Component) -> tuple[int, ...]:
    """Return the numbers of `denoiser_shape`, out of a file."""
    own = {name.removeprefix(unet.prefix): tensor for name, tensor in tensors.items() if name.startswith(unet.prefix)}
    added = "add_embedding.linear_1.weight" if unet.layout == DIFFUSERS else "label_emb.0.0.weight"
    blocks = _diffusers_blocks(own) if unet.layout == DIFFUSERS else _blocks(own)
    texts = next((name for name in own if _TEXTS.match(name)), "")
    return _side(own, texts, 1), _side(own, added, 1), *(number for block in blocks for number in block)


def _side(tensors: Tensors, name: str, index: int) -> int:
    tensor = tensors.get(name)
    return tensor.shape[index] if tensor is not None and len(tensor.shape) > index else 0


def _blocks(tensors: Tensors) -> Iterator[tuple[int, int]]:
    """Yield channels and depth of each down block: a layer that only halves the sides ends one."""
    names = [name.removeprefix("input_blocks.") for name in tensors if name.startswith("input_blocks.")]
    layers = sorted({int(number) for name in names if (number := name.partition(".")[0]).isdecimal()} - {0})
    width = depth = 0
    for layer in layers:
        if f"input_blocks.{layer}.0.op.weight" in tensors:
            yield width, depth
            width = depth = 0
            continue
        width = _side(tensors, f"input_blocks.{layer}.0.out_layers.3.weight", 0)
        found = [re.match(rf"{layer}\.1\.transformer_blocks\.(\d+)\.", name) for name in names]
        depth = max((int(one[1]) + 1 for one in found if one), default=depth)
    yield width, depth


def _diffusers_blocks(tensors: Tensors) -> Iterator[tuple[int, int]]:
    pattern = re.compile(r"down_blocks\.(\d+)\.(?:attentions\.\d+\.transformer_blocks\.(\d+)\.)?")
    depths: dict[int, int] = {}
    for found in filter(None, map(pattern.match, tensors)):
        block = int(found[1])
        depths[block] = max(depths.get(block, 0), int(found[2]) + 1 if found[2] else 0)
    for block in sorted(depths):
        yield _side(tensors, f"down_blocks.{block}.resnets.0.conv1.weight", 0), depths[block]


# -- the families ------------------------------------------------------------------------------------------------------

_NO_TRANSFORMER = localize("models.families.stable_diffusion.description.no_transformer")
_FOR_TRANSFORMERS = localize("models.families.stable_diffusion.description.for_transformers")
_CANNOT: Mapping[str, Text] = {
    "transformer.": _NO_TRANSFORMER,
    "compile.": _FOR_TRANSFORMERS,
    "performance.": _FOR_TRANSFORMERS,
    "tensorrt.": _FOR_TRANSFORMERS,
    "memory.quantization": localize("models.families.stable_diffusion.description.cannot.memory_quantization"),
    "cfg.": localize("models.families.stable_diffusion.description.cannot.cfg"),
    "scheduler.shift": localize("models.families.stable_diffusion.description.cannot.scheduler_shift"),
    "generation.short_prompt_steps": localize("models.families.stable_diffusion.description.cannot.short_prompt"),
    **NO_OWN_CONTROLNET,
}

_SCHEDULERS = (
    "PNDMScheduler",
    "DDIMScheduler",
    "DPMSolverMultistepScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "LMSDiscreteScheduler",
    "UniPCMultistepScheduler",
    "HeunDiscreteScheduler",
    "LCMScheduler",
    "TCDScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "EDMEulerScheduler",
)
_TOKENIZER = Part(
    "transformers", ("CLIPTokenizer", "CLIPTokenizerFast"), "tokenizer_config.json", weights=False
)
_PARTS = {
    "scheduler": Part("diffusers", _SCHEDULERS, "scheduler_config.json", weights=False),
    "text_encoder": Part("transformers", ("CLIPTextModel",)),
    "tokenizer": _TOKENIZER,
    "unet": Part("diffusers", ("UNet2DConditionModel",)),
    "vae": Part("diffusers", ("AutoencoderKL",)),
}
_FRAMES = Path(__file__).with_name("frames")
_VAE_PREFIXES = {"unet": _UNET, "vae": "first_stage_model."}

SD15 = StableDiffusion(
    folder="stable_diffusion",
    pipeline="StableDiffusionPipeline",
    label="SD 1.5",
    parts=_PARTS,
    denoiser="unet",
    tiny_decoder="taesd",
    prediction="diffusion",
    size_multiple=8,
    steps=30,
    cfg_scale=7.5,
    width=768,
    lora=LORA_SD15,
    embeddings=("text_encoder",),
    img2img="StableDiffusionImg2ImgPipeline",
    inpaint="StableDiffusionInpaintPipeline",
    arguments={"requires_safety_checker": False},
    unused=("safety_checker", "feature_extractor", "image_encoder"),
    cannot=_CANNOT,
    inputs=(IMAGE, MASK),
    checkpoint=CheckpointLayout(
        {**_VAE_PREFIXES, "text_encoder": "cond_stage_model.transformer.text_model."}, _FRAMES / "sd15"
    ),
    side=512,
    flops=(3.02e-3, 2.07e-9),
)
SDXL = StableDiffusion(
    folder="stable_diffusion",
    pipeline="StableDiffusionXLPipeline",
    label="SDXL",
    parts={
        **_PARTS,
        "text_encoder_2": Part("transformers", ("CLIPTextModelWithProjection",)),
        "tokenizer_2": _TOKENIZER,
    },
    denoiser="unet",
    tiny_decoder="taesdxl",
    prediction="diffusion",
    size_multiple=8,
    steps=30,
    cfg_scale=5.0,
    width=2048,
    lora=LORA_SDXL,
    embeddings=("text_encoder", "text_encoder_2"),
    img2img="StableDiffusionXLImg2ImgPipeline",
    inpaint="StableDiffusionXLInpaintPipeline",
    arguments={"add_watermarker": False},
    unused=("feature_extractor", "image_encoder"),
    cannot=_CANNOT,
    inputs=(IMAGE, MASK),
    checkpoint=CheckpointLayout(
        {
            **_VAE_PREFIXES,
            "text_encoder": "conditioner.embedders.0.transformer.text_model.",
            "text_encoder_2": "conditioner.embedders.1.model.",
        },
        _FRAMES / "sdxl",
    ),
    added=True,
)
_SDXL_CONTROL = with_controlnet(
    SDXL,
    "StableDiffusionXLControlNetPipeline",
    "ControlNetModel",
    ControlNetUse(scale=1.0, argument="image", window=True, several=True, modes=True),
    img2img="StableDiffusionXLControlNetImg2ImgPipeline",
    inpaint="StableDiffusionXLControlNetInpaintPipeline",
    inputs=(CONTROL, IMAGE, MASK),
)
_SDXL_UNION = with_controlnet(
    SDXL,
    "StableDiffusionXLControlNetUnionPipeline",
    "ControlNetUnionModel",
    ControlNetUse(scale=1.0, argument="control_image", window=True, several=True, union=True),
    img2img="StableDiffusionXLControlNetUnionImg2ImgPipeline",
    inpaint="StableDiffusionXLControlNetUnionInpaintPipeline",
    inputs=(CONTROL, IMAGE, MASK),
)
_SD15_CONTROL = with_controlnet(
    SD15,
    "StableDiffusionControlNetPipeline",
    "ControlNetModel",
    ControlNetUse(scale=1.0, argument="image", window=True, several=True, modes=True),
    img2img="StableDiffusionControlNetImg2ImgPipeline",
    inpaint="StableDiffusionControlNetInpaintPipeline",
    inputs=(CONTROL, IMAGE, MASK),
)
FAMILIES = (SD15, SDXL, _SDXL_CONTROL, _SDXL_UNION, _SD15_CONTROL)
