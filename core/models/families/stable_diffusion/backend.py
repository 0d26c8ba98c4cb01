"""Run Stable Diffusion 1.5 and SDXL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import ControlNetModel, ControlNetUnionModel, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint

from core.config.prompt_weights import OFF, SYNTAX
from core.inference import clip_encoding, control_modes, output_checks
from core.inference.part_reading import account
from core.inference.weight_reading import read_tensors
from core.models.families.backend import Backend, PromptEmbeds, Start, network_of
from core.models.families.base import CONTROLNET
from core.models.token_counter import NEGATIVE, PROMPT, count_clip, cut_decision
from core.models.weight_files import read_header
from core.types import Decision, GenerationRequest

if TYPE_CHECKING:
    from core.inference.pipeline_loader import LoadedModel


class StableDiffusionBackend(Backend):
    """SD 1.5 and SDXL, with and without ControlNets."""

    def network_from_file(self, path: Path, config: Mapping[str, Any], dtype: torch.dtype, notes: list[str]) -> Any:
        """Read a ControlNet in one file, in diffusers' names or in those of its first authors, as a copy of the U-Net's shape."""
        weights = read_tensors(path, read_header(path), dtype)
        with torch.device("meta"):
            made = ControlNetModel.from_unet(
                UNet2DConditionModel.from_config(dict(config)), load_weights_from_unet=False
            )
            if _UNION_WEIGHT in weights:
                told = {**made.config, "num_control_type": weights[_UNION_WEIGHT].shape[0]}
                made = ControlNetUnionModel.from_config(told)
        weights = convert_controlnet_checkpoint(dict(weights), made.config)
        own = made.state_dict()
        if any(
            name in own and tensor is not None and own[name].shape != tensor.shape for name, tensor in weights.items()
        ):
            return None
        made.load_state_dict(weights, strict=False, assign=True)
        missing = [name for name in own if weights.get(name) is None]
        left = [name for name in weights if name not in own]
        account(CONTROLNET, path, missing, left, {name for name, _ in made.named_modules()}, notes)
        return made.to(dtype)

    def fits_denoiser(self, network: Any, denoiser: Any) -> bool:
        """Return True when both have blocks of the same channels and read prompt embeds of the same width."""
        keys = ("block_out_channels", "cross_attention_dim", "layers_per_block", "addition_embed_type")
        return all(_listed(network.config.get(key)) == _listed(denoiser.config.get(key)) for key in keys)

    @contextmanager
    def running(self, model: LoadedModel, pipeline: Any, request: GenerationRequest) -> Iterator[None]:
        """Apply the control modes of the ControlNets."""
        with control_modes.applied(network_of(pipeline), request.options, request.guided):
            yield

    def encode(self, model: LoadedModel, request: GenerationRequest) -> PromptEmbeds:
        """Encode both prompts: [tokens] for SD 1.5, [tokens, pooled] for SDXL."""
        guided, pipeline = request.guided, model.pipeline
        prompts = (request.prompt, *((request.negative_prompt,) if guided else ()))
        if clip_encoding.is_plain(pipeline, prompts, request.options):
            found = pipeline.encode_prompt(
                prompt=request.prompt,
                device=pipeline._execution_device,
                num_images_per_prompt=1,
                do_classifier_free_guidance=guided,
                negative_prompt=request.negative_prompt or None,  # SDXL encodes none and an empty one differently
            )
            # SDXL: positive, negative, pooled, negative pooled
            positive, negative = list(found[0::2]), list(found[1::2]) if guided else None
        else:
            other = request.negative_prompt if guided else None
            positive, negative = clip_encoding.encode(pipeline, request.prompt, other, request.options)
        dtype = pipeline.unet.dtype
        positive = [tensor.to(dtype) for tensor in positive]
        negative = [tensor.to(dtype) for tensor in negative] if negative is not None else None
        output_checks.check_embeds([*positive, *(negative or ())])
        return PromptEmbeds(positive, negative, _cut_off(model, request))

    def embeds_arguments(self, embeds: PromptEmbeds) -> dict[str, Any]:
        """Return the pipeline's arguments of the embeds; SD 1.5 has no pooled ones."""
        names = ("prompt_embeds", "pooled_prompt_embeds")
        negative = embeds.negative or ()
        return {
            **dict(zip(names, embeds.positive, strict=False)),
            **{f"negative_{name}": tensor for name, tensor in zip(names, negative, strict=False)},
        }

    def start_arguments(self, start: Start) -> dict[str, Any]:
        """Return the arguments of the start without a size, which img2img takes from the image."""
        given = super().start_arguments(start)
        if start.canvas.image is None or start.canvas.mask is not None:
            return given
        return {name: value for name, value in given.items() if name not in ("width", "height")}

    def decode(self, vae: Any, latents: torch.Tensor) -> torch.Tensor:
        """Decode (1, 4, h, w) to (1, 3, 8 h, 8 w).

        SDXL's VAE overflows in float16 and decodes in float32 (`force_upcast`).
        """
        widen = vae.dtype == torch.float16 and vae.config.force_upcast
        if widen:
            vae.to(torch.float32)
        try:
            scaled = latents.to(vae.dtype) / vae.config.scaling_factor
            pixels: torch.Tensor = vae.decode(scaled, return_dict=False)[0]
        finally:
            if widen:
                vae.to(torch.float16)
        return pixels


BACKEND = StableDiffusionBackend
_UNION_WEIGHT = "task_embedding"  # (types, width)


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _cut_off(model: LoadedModel, request: GenerationRequest) -> tuple[Decision, ...]:
    """Say what CLIP did not read of each prompt: with the syntax off diffusers cuts it and only logs it."""
    if request.options[SYNTAX] != OFF:
        return ()
    tokenizer = model.pipeline.tokenizer
    texts = ((PROMPT, request.prompt), *(((NEGATIVE, request.negative_prompt),) if request.guided else ()))
    found: list[Decision] = []
    for key, text in texts:
        offsets = tokenizer(text, truncation=False, verbose=False, return_offsets_mapping=True).offset_mapping
        found += cut_decision(key, key == NEGATIVE, count_clip(text, offsets))
    return tuple(found)
