"""The kinds of model that can be used: of which parts each consists, and which options it has nothing to do with.

A folder's `model_index.json` may name these classes and no others: a class of its own would be code of its own.
What this module does not know: torch, diffusers, files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from core.types import CONTROL, IMAGE, MASK

Text = Mapping[str, str]

Z_IMAGE = "ZImagePipeline"
SD = "StableDiffusionPipeline"
SDXL = "StableDiffusionXLPipeline"
SDXL_CONTROL = "StableDiffusionXLControlNetPipeline"
Z_IMAGE_CONTROL = "ZImageControlNetPipeline"
Z_IMAGES = (Z_IMAGE, Z_IMAGE_CONTROL)  # those with a transformer; the others are U-Nets


@dataclass(frozen=True)
class Part:
    """One component: its library and the classes that it may be, its configuration file, whether it has weights."""

    library: str
    classes: tuple[str, ...]
    config: str = "config.json"
    weights: bool = True


@dataclass(frozen=True)
class Family:
    """A pipeline class. `unused` are parts that a folder may have and that are never read.

    `size_multiple` in pixels; `guidance` counts as CFG - 1 for every family. `cannot` maps the beginning of an option's key to
    the reason why the option does nothing here. `plain` is the family that a ControlNet is added to, which has all other parts.
    """

    pipeline: str
    parts: Mapping[str, Part]
    size_multiple: int
    steps: int
    guidance: float
    width: int  # of the published models: see ModelInfo
    negative_prompt: bool = True
    unused: tuple[str, ...] = ()
    cannot: Mapping[str, Text] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()  # the roles of the input pictures that it takes
    plain: str | None = None

    @property
    def weighty(self) -> tuple[str, ...]:
        """The parts that have weights."""
        return tuple(name for name, part in self.parts.items() if part.weights)


_SCHEDULERS = (
    "PNDMScheduler",
    "DDIMScheduler",
    "DPMSolverMultistepScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "LMSDiscreteScheduler",
    "UniPCMultistepScheduler",
)
_SCHEDULER_CONFIG, _TOKENIZER_CONFIG = "scheduler_config.json", "tokenizer_config.json"
_CLIP_TOKENIZER = Part("transformers", ("CLIPTokenizer", "CLIPTokenizerFast"), _TOKENIZER_CONFIG, weights=False)
_VAE = Part("diffusers", ("AutoencoderKL",))
_UNET = Part("diffusers", ("UNet2DConditionModel",))

_NO_TRANSFORMER = {
    "en": "this model is a U-Net, which has no such part",
    "zh": "此模型是 U-Net，没有这一部分",
}
U_NET_WHOLE = {
    "en": "linear layers of a transformer are quantised, and this model is a U-Net, made of convolutions for the most part",
    "zh": "量化针对变换器的线性层，而此模型是主要由卷积构成的 U-Net",
}
_NO_GUIDANCE_SHAPE = {
    "en": "this pipeline guides at every step, in one way",
    "zh": "此管线在每一步以固定方式引导",
}
_NO_SHIFT = {"en": "the scheduler of this model has no shift", "zh": "此模型的调度器没有偏移量"}
_NO_CONTROL = {
    "en": "this model has no ControlNet; choose one that has, such as sdxl-canny or z-image-turbo-control",
    "zh": "此模型不带 ControlNet；请选用带有它的模型，例如 sdxl-canny 或 z-image-turbo-control",
}
_NO_ENGINE = {
    "en": "an engine holds the transformer alone, and here a ControlNet speaks to each of its layers",
    "zh": "引擎只含变换器，而此模型的 ControlNet 作用于其每一层",
}
_FOR_TRANSFORMERS = {
    "en": "this is for models with a transformer, and this one is a U-Net",
    "zh": "仅适用于带变换器的模型，而此模型是 U-Net",
}
_UNCONTROLLED = {"control.": _NO_CONTROL}
_U_NET_CANNOT = {
    "transformer.": _NO_TRANSFORMER,
    "compile.": _FOR_TRANSFORMERS,
    "speed.": _FOR_TRANSFORMERS,
    "tensorrt.": _FOR_TRANSFORMERS,
    "memory.quantization": U_NET_WHOLE,
    "guidance.": _NO_GUIDANCE_SHAPE,
    "scheduler.shift": _NO_SHIFT,
}

_SDXL_PARTS = {
    "scheduler": Part("diffusers", _SCHEDULERS, _SCHEDULER_CONFIG, weights=False),
    "text_encoder": Part("transformers", ("CLIPTextModel",)),
    "text_encoder_2": Part("transformers", ("CLIPTextModelWithProjection",)),
    "tokenizer": _CLIP_TOKENIZER,
    "tokenizer_2": _CLIP_TOKENIZER,
    "unet": _UNET,
    "vae": _VAE,
}

_Z_IMAGE_PARTS = {
    "scheduler": Part("diffusers", ("FlowMatchEulerDiscreteScheduler",), _SCHEDULER_CONFIG, weights=False),
    "text_encoder": Part("transformers", ("Qwen3Model", "Qwen3ForCausalLM")),
    "tokenizer": Part("transformers", ("Qwen2Tokenizer", "Qwen2TokenizerFast"), _TOKENIZER_CONFIG, weights=False),
    "transformer": Part("diffusers", ("ZImageTransformer2DModel",)),
    "vae": _VAE,
}
CONTROLNET = "controlnet"  # the part that the families with control have besides

_Z_IMAGE = Family(
    pipeline=Z_IMAGE,
    parts=_Z_IMAGE_PARTS,
    size_multiple=16,
    steps=8,
    guidance=0.0,
    width=3840,
    cannot=_UNCONTROLLED,
    inputs=(IMAGE, MASK),
)
_SDXL = Family(
    pipeline=SDXL,
    parts=_SDXL_PARTS,
    size_multiple=8,
    steps=30,
    guidance=4.0,
    width=2048,
    unused=("feature_extractor", "image_encoder"),
    cannot={**_U_NET_CANNOT, **_UNCONTROLLED},
    inputs=(IMAGE, MASK),
)


def _controlled(plain: Family, pipeline: str, network: str) -> Family:
    """The same family with a ControlNet of the class `network`."""
    parts = {**plain.parts, CONTROLNET: Part("diffusers", (network,))}
    cannot = {start: reason for start, reason in plain.cannot.items() if start not in _UNCONTROLLED}
    cannot.setdefault("tensorrt.", _NO_ENGINE)
    return replace(plain, pipeline=pipeline, parts=parts, cannot=cannot, inputs=(CONTROL,), plain=plain.pipeline)


_ALL = (
    _Z_IMAGE,
    Family(
        pipeline=SD,
        parts={
            "scheduler": Part("diffusers", _SCHEDULERS, _SCHEDULER_CONFIG, weights=False),
            "text_encoder": Part("transformers", ("CLIPTextModel",)),
            "tokenizer": _CLIP_TOKENIZER,
            "unet": _UNET,
            "vae": _VAE,
        },
        size_multiple=8,
        steps=30,
        guidance=6.5,
        width=768,
        unused=("safety_checker", "feature_extractor", "image_encoder"),
        cannot={**_U_NET_CANNOT, **_UNCONTROLLED},
        inputs=(IMAGE, MASK),
    ),
    _SDXL,
    _controlled(_SDXL, SDXL_CONTROL, "ControlNetModel"),
    _controlled(_Z_IMAGE, Z_IMAGE_CONTROL, "ZImageControlNetModel"),
)
FAMILIES: Mapping[str, Family] = {family.pipeline: family for family in _ALL}
