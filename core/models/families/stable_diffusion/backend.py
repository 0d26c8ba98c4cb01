"""Run Stable Diffusion 1.5 and SDXL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import ControlNetModel, ControlNetUnionModel, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from torch import nn

from core.config.control_units import BALANCED, CONTROL, units_of
from core.config.prompt_weights import A1111, OFF, SYNTAX, editing
from core.i18n import localize
from core.inference import clip_encoding, precision
from core.inference.img2img import Inputs
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
                union_config = {**made.config, "num_control_type": weights[_UNION_WEIGHT].shape[0]}
                made = ControlNetUnionModel.from_config(union_config)
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
        with control_modes_applied(network_of(pipeline), request.options, request.guided):
            yield

    def encode(self, model: LoadedModel, request: GenerationRequest, inputs: Inputs) -> PromptEmbeds:
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
        precision.check_embeds([*positive, *(negative or ())])
        return PromptEmbeds(positive, negative, (*_cut_off(model, request), *_editing(request)))

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


def _editing(request: GenerationRequest) -> tuple[Decision, ...]:
    """Say of each prompt what A1111 would change between steps: here the brackets are emphasis alone."""
    texts = ((PROMPT, request.prompt), *(((NEGATIVE, request.negative_prompt),) if request.guided else ()))
    edited = ((key, editing(text, request.options[SYNTAX])) for key, text in texts)
    return tuple(
        Decision(key, part, A1111, localize("models.families.stable_diffusion.backend.prompt_editing", part=part))
        for key, part in edited
        if part is not None
    )


SOFT_FACTOR = 0.825  # A1111's factor: the k-th layer of an output from the last is multiplied by this to the k


@contextmanager
def control_modes_applied(network: Any | None, options: Mapping[str, Any], guided: bool) -> Iterator[None]:
    """Let the ControlNets of SD and SDXL act by the control modes of their units.

    `prompt` weakens the outputs layer by layer, as A1111 does; `control` besides leaves out the negative half of the batch.
    """
    if network is None:
        yield
        return
    networks = list(getattr(network, "nets", [network]))
    modes = {id(one): (one, unit.mode) for one, unit in zip(networks, units_of(options), strict=False)}
    with ExitStack() as stack:
        for one, mode in modes.values():
            if mode != BALANCED:
                handle = one.register_forward_hook(_mode_hook(mode == CONTROL and guided))
                stack.callback(handle.remove)
        yield


def _mode_hook(positive_alone: bool) -> Callable[..., Any]:
    def change(_module: nn.Module, _given: Any, output: Any) -> Any:
        down, middle = (
            output if isinstance(output, tuple) else (output.down_block_res_samples, output.mid_block_res_sample)
        )
        layers = [*down, middle]
        soft = [layer * SOFT_FACTOR ** (len(layers) - 1 - index) for index, layer in enumerate(layers)]
        if positive_alone:
            soft = [_without_negative(layer) for layer in soft]
        return soft[:-1], soft[-1]

    return change


def _without_negative(layer: torch.Tensor) -> torch.Tensor:
    """Return an output for [negative, positive] with zeros for the negative prompt."""
    negative, positive = layer.chunk(2)
    return torch.cat([torch.zeros_like(negative), positive])
