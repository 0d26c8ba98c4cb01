"""Describe Z-Image: a single-stream diffusion transformer with Qwen3-4B as text encoder and FLUX's VAE."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.config.prompt_weights import CLIP_SKIP, SYNTAX
from core.i18n import localize
from core.models.families.base import (
    CLIP_ONLY,
    CONTROLNET,
    NO_CONTROLNET,
    NO_OWN_CONTROLNET,
    PLAIN_CANNOT,
    ControlNetUse,
    Family,
    Part,
    Single,
    Tensors,
    read_config,
    with_controlnet,
)
from core.models.families.z_image import layout
from core.models.families.z_image.layout import LORA
from core.models.identify import LLAMA_CPP, Component, components_of
from core.types import CONTROL, IMAGE, MASK, REFERENCES

PATCH = 16  # pixels of a token's side: 8 of the VAE times a patch of 2
POSITIONS_LIMIT = 512  # tokens of a side in the published models, for a folder that can't be read
CONTROL_STEPS = (2, 5, 10)  # transformer layers from one control layer to the next, in the published ControlNets
_CONTROL_EMBEDDER = "control_all_x_embedder."


@dataclass(frozen=True, kw_only=True)
class ZImage(Family):
    """Z-Image's pipelines."""

    def max_side(self, folder: Path | None) -> int:
        """Return the side at which the table of rotary positions ends (`axes_lens`, in tokens; the text axis first)."""
        config = read_config(folder / "transformer" / "config.json") if folder else {}
        lengths: Sequence[int] = config.get("axes_lens", [0, POSITIONS_LIMIT, POSITIONS_LIMIT])
        return min(lengths[1:]) * PATCH

    def native_side(self, folder: Path | None) -> int:
        """Return the VAE's sample size: 1024 in the published models."""
        config = read_config(folder / "vae" / "config.json") if folder else {}
        side = config.get("sample_size", 1024)
        return side if isinstance(side, int) else 1024

    def model_width(self, folder: Path | None) -> int | None:
        """Return the width of the transformer's tokens."""
        found = read_config(folder / "transformer" / "config.json").get("dim", self.width) if folder else self.width
        return found if isinstance(found, int) else None

    def steps_run(self, steps: int, strength: float) -> int:
        """Return the steps rounded up, as ZImageImg2ImgPipeline.get_timesteps does."""
        return steps - int(max(steps - min(steps * strength, steps), 0))

    def attention_channels(self, config: Mapping[str, Any]) -> int:
        """Return the width times the layers: the refiners of text see no image."""
        width, layers, refiners = (config.get(key, 0) for key in ("dim", "n_layers", "n_refiner_layers"))
        return int(width * (layers + refiners))

    def detect_file(self, tensors: Tensors) -> Single | None:
        """Recognise a transformer, alone or with text encoder and VAE, or a ControlNet."""
        found = {component.part: component for component in components_of(tensors)}
        if self.controlnet is not None or CONTROLNET in found:
            control = next((one for name, one in tensors.items() if name.startswith(_CONTROL_EMBEDDER)), None)
            if self.controlnet is None or control is None:
                return None
            return Single(self.pipeline, (CONTROLNET,), control.shape[:1], components=found)
        if "transformer" not in found or found["transformer"].family != self.label:
            return None  # Omni's has no published layout yet
        prefix = found["transformer"].prefix
        own = {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}
        parts = tuple(part for part in self.weighty if part in found)
        return Single(self.pipeline, parts, self.denoiser_shape(layout.config_of(own)), components=found)

    def denoiser_shape(self, config: Mapping[str, Any]) -> tuple[int, ...]:
        """Return the widths of the transformer and its text encoder, and the numbers of layers and refiner layers."""
        return tuple(config.get(key, 0) for key in ("dim", "cap_feat_dim", "n_layers", "n_refiner_layers"))

    def expected_weights(self, component: Component, config: Mapping[str, Any]) -> Mapping[str, tuple[int, ...]] | None:
        """Return the expected shapes of the transformer or of Qwen3."""
        if component.part == "transformer":
            return layout.expected({**_PATCHES, **config})
        return layout.expected_text_encoder(config) if component.part == "text_encoder" else None

    def weight_names(self, component: Component, name: str) -> tuple[str, ...]:
        """Return the diffusers names of a ComfyUI transformer weight or a llama.cpp Qwen3 weight."""
        if component.part == "transformer":
            return layout.targets(name)
        if component.part != "text_encoder":
            return (name,)
        renamed = layout.from_llama_cpp(name) if component.layout == LLAMA_CPP else name
        return () if renamed in layout.UNUSED_BY_TEXT_ENCODER else (renamed,)

    def fits_part(self, component: Component) -> bool:
        """Return True for Qwen3, and for a VAE with 16 latent channels."""
        return (
            component.family == "Z-Image or FLUX.1" if component.part == "vae" else component.family.startswith("Qwen3")
        )

    def network_shape(self, config: Mapping[str, Any]) -> tuple[int, ...]:
        """Return the transformer's width, the only one that a ControlNet shares."""
        return (config.get("dim", 0),)

    def network_config(self, tensors: Tensors, denoiser: Mapping[str, Any], refines: bool) -> dict[str, Any] | None:
        """Return a ControlNet's configuration from the number of control layers and the transformer's."""
        layers = {int(found[1]) for name in tensors if (found := re.match(r"control_layers\.(\d+)\.", name))}
        step, left = divmod(denoiser["n_layers"], max(1, len(layers)))
        if left or step not in CONTROL_STEPS:
            return None
        embedder = next(one for name, one in tensors.items() if re.match(rf"{_CONTROL_EMBEDDER}.*weight", name))
        second = step == min(CONTROL_STEPS) or any(
            name.startswith("control_noise_refiner.0.after_proj") for name in tensors
        )
        kind = ("control_noise_refiner" if refines else "control_layers") if second else None
        return {
            **{key: denoiser[key] for key in _SHARED},
            "_class_name": self.parts[CONTROLNET].classes[0],
            "control_in_dim": embedder.shape[1]
            // (denoiser["all_patch_size"][0] ** 2 * denoiser["all_f_patch_size"][0]),
            "control_layers_places": list(range(0, denoiser["n_layers"], step)),
            "control_refiner_layers_places": list(range(denoiser["n_refiner_layers"])),
            "add_control_noise_refiner": kind,
        }


_PATCHES = {"all_patch_size": [2], "all_f_patch_size": [1], "in_channels": 16}  # where a configuration leaves them out
_SHARED = (  # of a ControlNet's and its transformer's configurations
    "all_patch_size", "all_f_patch_size", "dim", "n_refiner_layers", "n_heads", "n_kv_heads", "norm_eps", "qk_norm",
)  # fmt: skip

_SCHEDULERS = (
    "FlowMatchEulerDiscreteScheduler",
    "FlowMatchHeunDiscreteScheduler",
    "FlowMatchLCMScheduler",
    "UniPCMultistepScheduler",
    "DPMSolverMultistepScheduler",
)
_PLAIN = ZImage(
    folder="z_image",
    pipeline="ZImagePipeline",
    label="Z-Image",
    parts={
        "scheduler": Part("diffusers", _SCHEDULERS, "scheduler_config.json", weights=False),
        "text_encoder": Part("transformers", ("Qwen3Model", "Qwen3ForCausalLM")),
        "tokenizer": Part(
            "transformers",
            ("Qwen2Tokenizer", "Qwen2TokenizerFast"),
            "tokenizer_config.json",
            weights=False,
        ),
        "transformer": Part("diffusers", ("ZImageTransformer2DModel",)),
        "vae": Part("diffusers", ("AutoencoderKL",)),
    },
    denoiser="transformer",
    prediction="flow",
    size_multiple=PATCH,
    steps=8,
    cfg_scale=1.0,
    width=3840,
    lora=LORA,
    cfg_offset=1.0,  # ZImagePipeline guides above 0: pred = cond + guidance_scale (cond - uncond)
    img2img="ZImageImg2ImgPipeline",
    inpaint="ZImageInpaintPipeline",
    cannot={**NO_OWN_CONTROLNET, SYNTAX: CLIP_ONLY, CLIP_SKIP: CLIP_ONLY},
    inputs=(IMAGE, MASK),
    frame=Path(__file__).with_name("frame"),
    default=True,
    tiny_decoder="taef1",
)
_NO_STRENGTH = localize("models.families.z_image.description.no_strength")
_NO_ENGINE = localize("models.families.z_image.description.no_engine")
_CONTROL = with_controlnet(
    replace(
        _PLAIN, cannot={**_PLAIN.cannot, "tensorrt.": _NO_ENGINE, "img2img.": _NO_STRENGTH, "hires.": _NO_STRENGTH}
    ),
    "ZImageControlNetPipeline",
    "ZImageControlNetModel",
    ControlNetUse(scale=0.75, argument="control_image", window=False),
    inpaint="ZImageControlNetInpaintPipeline",
    takes_strength=False,
    inputs=(CONTROL, IMAGE, MASK),
)
_OMNI = replace(
    _PLAIN,
    pipeline="ZImageOmniPipeline",
    label="Z-Image Omni",
    parts={
        **_PLAIN.parts,
        "siglip": Part("transformers", ("Siglip2VisionModel",)),
        "siglip_processor": Part(
            "transformers", ("Siglip2ImageProcessor", "Siglip2ImageProcessorFast"), "preprocessor_config.json", weights=False
        ),
    },
    steps=50,
    cfg_scale=6.0,
    img2img=None,
    inpaint=None,
    takes_strength=False,
    cannot={
        **{key: reason for key, reason in PLAIN_CANNOT.items() if key not in ("cfg.", "scheduler.shift")},
        "img2img.denoising_strength": localize("models.families.base.edits"),
        "hires.": localize("models.families.base.no_img2img"),
        "generation.short_prompt_steps": localize("models.families.base.no_short_prompt"),
        "controlnet.": NO_CONTROLNET,
    },
    inputs=(IMAGE, MASK, *REFERENCES),  # an edit is taken within the mask
    frame=None,
    default=False,
)
FAMILIES = (_PLAIN, _CONTROL, _OMNI)
