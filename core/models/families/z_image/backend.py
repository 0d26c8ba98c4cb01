"""Run Z-Image: its text encoding, positions, attention, compilation, half precision, ControlNet and preview."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import ZImageControlNetModel
from safetensors import safe_open
from torch import nn
from torch.nn import functional

from core.config.options import SCHEMA
from core.config.schema import TakesEffect
from core.config.typed_settings import Options
from core.errors import InputCombinationError
from core.i18n import localize
from core.inference import (
    attention,
    controlnet,
    precision,
    resolution,
    rope,
    text_encoding,
    torch_compile,
    vae_tiling,
    variety,
)
from core.inference.img2img import Canvas, Inputs
from core.inference.part_reading import account
from core.inference.weight_reading import read_tensors
from core.models.families.backend import Backend, OnProgress, PromptEmbeds, Report, Step, network_of
from core.models.families.base import CONTROLNET, Family
from core.models.families.z_image.omni import OmniBackend, ZImageSteps
from core.models.single_file import storage_of
from core.models.token_counter import LIMIT, count_templated, cut_decision
from core.models.weight_files import read_header
from core.types import MASK, Capability, Decision, GenerationRequest, Phase, Progress

if TYPE_CHECKING:
    from core.inference.pipeline_loader import LoadedModel


LIVE_OPTIONS = tuple(
    option.key for option in SCHEMA.request_options() if option.takes_effect is TakesEffect.LIVE and option.implemented
)


class ZImageBackend(ZImageSteps):
    """Z-Image, with and without a ControlNet.

    The ControlNet borrows most of its layers from the transformer; its own control layers, and the positions of its tokens,
    follow the options as the transformer does.
    """

    # -- 1. a model after reading --------------------------------------------------------------------------------------

    def prepare_weights(self, pipeline: Any, dtypes: Mapping[str, str]) -> None:
        """Keep float16 finite: this transformer's activations reach 9e5."""
        if dtypes["transformer"] != "float16":
            return
        for layers in (pipeline.transformer, own_layers(pipeline)):
            if layers is not None:
                fit(layers)

    def offloadable(self, pipeline: Any, device: str) -> dict[str, nn.Module]:
        """Return the modules to offload; with a ControlNet only the layers that are not shared."""
        parts = super().offloadable(pipeline, device)
        if own_layers(pipeline) is None:
            return parts
        parts.pop(CONTROLNET).to(device)
        transformer = parts["transformer"]
        for name, child in transformer.named_children():
            if name != "layers":
                child.to(device)
        parts["transformer"] = nn.Module()
        parts["transformer"].layers = transformer.layers
        return parts

    def capabilities(self, pipeline: Any, device: str) -> tuple[Capability, ...]:
        """Return attention backends and torch.compile, with reasons."""
        missing = torch_compile.problem(device)
        compiler = Capability("compile.enabled", "torch.compile", missing is None, missing or _COMPILER)
        return (*attention.survey(pipeline.transformer, device), compiler)

    def network_from_file(self, path: Path, config: Mapping[str, Any], dtype: torch.dtype, notes: list[str]) -> Any:
        """Read a ControlNet in one file with a configuration made from its tensors."""
        names = read_header(path)
        network_config = self.family.network_config(names, config, _refines(path))
        if network_config is None:
            return None
        unused = storage_of(path).unused
        weights = read_tensors(path, [name for name in names if name not in unused], dtype)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "config.json").write_text(json.dumps(network_config), encoding="utf-8")
            made = ZImageControlNetModel.from_single_file(
                dict(weights), config=folder, dtype=dtype, local_files_only=True
            )
        own = made.state_dict()
        # Version 2.0 has a noise refiner that acts through the control layers: its own weights are not read.
        left = [name for name in weights if name not in own and not name.startswith("control_noise_refiner.")]
        missing = [name for name, weight in made.named_parameters() if weight.is_meta]
        account(CONTROLNET, path, missing, left, {name for name, _ in made.named_modules()}, notes)
        return made

    @property
    def keeps_networks_apart(self) -> bool:
        """Return False: most of a ControlNet's layers are the transformer's."""
        return False

    def fits_denoiser(self, network: Any, denoiser: Any) -> bool:
        """Return True when both have the same width, and the control layers have places."""
        places = network.config.control_layers_places
        return bool(network.config.dim == denoiser.config.dim and max(places) < denoiser.config.n_layers)

    def prepare_network(self, network: Any, dtypes: Mapping[str, str]) -> None:
        """Keep the control layers finite in float16."""
        if dtypes["transformer"] == "float16":
            fit(_control_layers(network))

    def prepare_adapters(self, pipeline: Any) -> None:
        """Scale a LoRA's input in float16 as its layer's input is."""
        fit_adapters(pipeline)

    # -- 2. options ----------------------------------------------------------------------------------------------------

    def apply_options(
        self, model: LoadedModel, request: GenerationRequest, decisions: tuple[Decision, ...], on_progress: OnProgress
    ) -> LoadedModel:
        """Apply tiles, shift, attention, compilation and what is saved of the work.

        Compiling for the first time takes minutes; `on_progress` is called.
        """
        options, pipeline = request.options, model.pipeline
        model = super().apply_options(model, request, decisions, on_progress)
        compiles = Options(options).compile.enabled and torch_compile.problem(model.device) is None
        plan, selected = _attention_plan(model, options, compiles)
        _attend(pipeline, plan)
        compiled = _compile(model, request, plan, on_progress)
        if compiles and compiled is not None and not compiled.effective:
            plan, selected = _attention_plan(model, options, False)
            _attend(pipeline, plan)
        trims, why = text_encoding.trims(Options(options).performance.trim_text, model.device)
        live = {key: options[key] for key in LIVE_OPTIONS}
        resolved = {
            "transformer.attention_backend": plan.backend,
            "performance.trim_text": "always" if trims else "never",
            "performance.real_rope": "always" if plan.real_rope else "never",
            "compile.enabled": bool(compiled and compiled.effective),
        }
        return replace(
            model,
            plan=plan,
            asked={**model.asked, **live},
            effective={**model.effective, **live, **resolved},
            decisions=(*model.decisions, *selected, *(choice for choice in (compiled, why) if choice)),
        )

    # -- 3. an image ---------------------------------------------------------------------------------------------------

    def encode(self, model: LoadedModel, request: GenerationRequest, inputs: Inputs) -> PromptEmbeds:
        """Encode both prompts; `positive` and `negative` are [(tokens, width)]."""
        positive = _encoded(model, request, request.prompt)
        negative = [_encoded(model, request, request.negative_prompt)] if request.guided else None
        short = None
        if variety.short_steps(request.options, request.num_inference_steps) > 0:
            short = [_encoded(model, request, variety.shortened(request.prompt))]
        cut = _cut_off(model, request, False, positive.shape[0])
        if negative is not None:
            cut += _cut_off(model, request, True, negative[0].shape[0])
        return PromptEmbeds([positive], negative, cut, short=short)

    def pipeline_for(self, pipeline: Any, canvas: Canvas) -> Any:
        """Raise InputCombinationError for a ControlNet that takes no mask: its channels are the control image's alone."""
        network = network_of(pipeline)
        if network is not None and canvas.image is not None:
            channels, wanted = network.config.control_in_dim, 2 * pipeline.transformer.config.in_channels + 1
            if channels != wanted:
                problem = localize("models.families.z_image.backend.no_inpaint", channels=channels, wanted=wanted)
                raise InputCombinationError(role=MASK, problem=problem)
        return super().pipeline_for(pipeline, canvas)

    def embeds_arguments(self, embeds: PromptEmbeds) -> dict[str, Any]:
        """Return the embeds as lists with a tensor for each image."""
        return {"prompt_embeds": embeds.positive, "negative_prompt_embeds": embeds.negative}

    def next_embeds(self, embeds: PromptEmbeds) -> dict[str, Any]:
        """Return both lists of embeds for the pipeline's callback."""
        return {"prompt_embeds": list(embeds.positive)}

    @contextmanager
    def running(self, model: LoadedModel, pipeline: Any, request: GenerationRequest) -> Iterator[None]:
        """Apply RoPE for the size of the image, the seed of dropout, and the window of the ControlNet."""
        rope.apply(pipeline.transformer, _positions(model, request))
        network = network_of(pipeline)
        if network is not None:
            network.rope_embedder = pipeline.transformer.rope_embedder
        refine_once = (
            Options(request.options).performance.refine_once and not model.plan.dropout
        )  # dropout: other embeds each step
        order = pipeline.scheduler.order
        evaluations = order * (request.num_inference_steps - 1) + 1  # the last of Heun's steps has one
        with ExitStack() as stack:
            stack.enter_context(text_encoding.refined_once(pipeline.transformer, refine_once))
            stack.enter_context(attention.seeded(model.plan, request.seed, model.device))
            stack.enter_context(_control_window(network, request.options, evaluations))
            yield

    def step_reporter(self, model: LoadedModel, request: GenerationRequest, report: Report) -> Callable[[Step], None]:
        """Report steps, and update RoPE scaling that fades."""
        tell = super().step_reporter(model, request, report)

        def on_step(step: Step) -> None:
            tell(step)
            rope.fade_to(model.pipeline.transformer, float(step.tap.scheduler.sigmas[step.tap.index + 1]))

        return on_step

    # -- 4. the record -------------------------------------------------------------------------------------------------

    def effective(self, model: LoadedModel, request: GenerationRequest) -> dict[str, Any]:
        """Return all options, with shift, RoPE scaling and tiles as resolved."""
        return {
            **request.options,
            **super().effective(model, request),
            "scheduler.shift": self.shift(model, request.options),
            "transformer.rope": _positions(model, request).record,
            "vae.tiles": vae_tiling.wanted_tiles(request.options).record,
        }

    def decisions(self, model: LoadedModel, request: GenerationRequest) -> tuple[Decision, ...]:
        """Return why RoPE was scaled for this size, if the user left it open."""
        size = resolution.size_to_render(model.info, request)
        selected = rope.automatic_choice(request.options, _positions(model, request), size)
        return (*super().decisions(model, request), *selected)


def _backend(family: Family) -> Backend:
    return OmniBackend(family) if family.edits else ZImageBackend(family)


BACKEND = _backend


# -- attention and compilation -----------------------------------------------------------------------------------------


def _attend(pipeline: Any, plan: attention.AttentionPlan) -> None:
    """Apply the plan to every attention of the transformer, and of a ControlNet's own layers."""
    for layers in (pipeline.transformer, own_layers(pipeline)):
        if layers is not None:
            attention.apply(layers, plan)


def _attention_plan(
    model: LoadedModel, options: Mapping[str, Any], compiles: bool
) -> tuple[attention.AttentionPlan, tuple[Decision, ...]]:
    option = Options(options)
    real_rope, why = text_encoding.real_rope(option.performance.real_rope, compiles)
    plan, missing = attention.choose(
        option.transformer.attention_backend,
        option.transformer.attention_dropout,
        real_rope,
        attention.shape_of(model.pipeline.transformer, model.device),
    )
    return plan, (*missing, *((why,) if why else ()))


def _compile(
    model: LoadedModel, request: GenerationRequest, plan: attention.AttentionPlan, on_progress: OnProgress
) -> Decision | None:
    guided = request.guided
    with torch.inference_mode():  # the mode of generation: a graph of another mode would not serve it
        return torch_compile.apply(
            model.pipeline.transformer,
            model.compiled,
            request.options,
            model.device,
            (plan, guided),
            lambda done, of: on_progress(Progress(Phase.LOADING, done, of, detail=f"torch.compile {done + 1} / {of}")),
        )


_COMPILER = localize("models.families.z_image.backend.compiler")


# -- text --------------------------------------------------------------------------------------------------------------


def _encoded(model: LoadedModel, request: GenerationRequest, prompt: str) -> torch.Tensor:
    """Return one prompt's embeds (tokens, width), from the cache or the text encoder."""
    limit = request.options[LIMIT]
    trimmed = text_encoding.trims(Options(request.options).performance.trim_text, model.device)[0]
    key = (prompt, limit, trimmed)
    known = model.texts.get(key) if Options(request.options).performance.cache_text else None
    if known is not None:
        return known
    embeds = text_encoding.encode(model.pipeline, prompt, limit, trimmed)
    precision.check_embeds([embeds])
    if Options(request.options).performance.cache_text:
        model.texts.put(key, embeds)
    return embeds


def _cut_off(model: LoadedModel, request: GenerationRequest, negative: bool, used: int) -> tuple[Decision, ...]:
    """Say what the encoder did not read of a prompt: diffusers cuts it without a word. `used`: the tokens of its embeds."""
    limit = request.options[LIMIT]
    if used < limit:
        return ()
    prompt, tokenizer = request.negative_prompt if negative else request.prompt, model.pipeline.tokenizer
    text = text_encoding.templated(tokenizer, prompt)
    offsets = tokenizer(text, truncation=False, verbose=False, return_offsets_mapping=True).offset_mapping
    return cut_decision(LIMIT, negative, count_templated(text, prompt, offsets, limit))


# -- steps -------------------------------------------------------------------------------------------------------------


def _positions(model: LoadedModel, request: GenerationRequest) -> rope.RopePlan:
    """Return how the request's options make the positions of an image of its size."""
    size = resolution.size_to_render(model.info, request)
    return rope.plan_positions(request.options, model.info.trained_side, size)


# -- ControlNet --------------------------------------------------------------------------------------------------------


def own_layers(pipeline: Any) -> nn.ModuleList | None:
    """Return the layers of a ControlNet that are not the transformer's; None without one."""
    network = network_of(pipeline)
    return None if network is None else _control_layers(network)


def _control_layers(network: Any) -> nn.ModuleList:
    return nn.ModuleList([*network.control_layers, *(network.control_noise_refiner or ())])


@contextmanager
def _control_window(network: Any | None, options: Mapping[str, Any], evaluations: int) -> Iterator[None]:
    """Scale the ControlNet by 0 outside of its start and end, by SDXL's rule: this pipeline has none.

    The pipeline gives it the control image in the VAE's number format, which may be another than the network's.
    """
    if network is None:
        yield
        return
    (start, end), index = controlnet.window(options), 0

    def before(_module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        nonlocal index
        acts = start <= index / evaluations and (index + 1) / evaluations <= end
        index += 1
        scale = named["conditioning_scale"] if acts else 0.0
        *others, image = given
        return (*others, image.to(network.dtype)), {**named, "conditioning_scale": scale}

    handle = network.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _refines(path: Path) -> bool:
    """Return True when the noise refiner's first projection is there and not all zero: in version 2.0 it is not used."""
    with safe_open(path, "pt") as file:
        name = "control_noise_refiner.0.before_proj.weight"
        return name in file.keys() and bool(file.get_tensor(name).any())  # noqa: SIM118  it is no mapping


LARGEST_HALF = 65504.0  # of float16
SHRINK = 2.0**-6  # a power of two, which rounds nothing
_BLOCKS = ("ZImageTransformerBlock", "ZImageControlTransformerBlock")


def fit(layers: nn.Module) -> None:
    """Keep a transformer, or a ControlNet's own layers, finite in float16: attention and feed-forward compute 64 times smaller,
    then are clamped.

    What they give goes into an RMS norm, which takes any factor out again: with y = 2^-6 x and eps' = 2^-12 eps,
    y / sqrt(mean(y^2) + eps') = x / sqrt(mean(x^2) + eps) exactly. So values up to 4e6 keep their direction; what is larger
    still becomes the largest float16 and a NaN (such as inf - inf) becomes 0.
    """
    for block in layers.modules():
        if type(block).__name__ in _BLOCKS:
            block.attention.to_out[0].register_forward_pre_hook(_shrink_input)
            block.attention.register_forward_hook(_clamp_output)
            block.attention_norm2.eps *= SHRINK**2
            block.feed_forward._forward_silu_gating = _shrunken_gate  # an attribute of the instance hides the method
            block.feed_forward.register_forward_hook(_clamp_output)
            block.ffn_norm2.eps *= SHRINK**2


def fit_adapters(pipeline: Any) -> None:
    """Give the adapters beside a layer whose input `fit` shrinks the same input; of other layers nothing changes."""
    for module in getattr(pipeline, "transformer", nn.Module()).modules():
        downs, base = getattr(module, "lora_A", None), getattr(module, "base_layer", None)
        if downs is None or base is None or _shrink_input not in base._forward_pre_hooks.values():
            continue
        for down in downs.values():
            if _shrink_input not in down._forward_pre_hooks.values():
                down.register_forward_pre_hook(_shrink_input)


def _shrink_input(_module: nn.Module, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (given[0] * SHRINK, *given[1:])


def _clamp_output(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
    return _clamp(output)


def _shrunken_gate(x1: torch.Tensor, x3: torch.Tensor) -> torch.Tensor:
    """Return the feed-forward's gate, silu(x1) * x3, as the class has it, but shrunk before it is rounded to float16."""
    return _clamp(functional.silu(x1.float()) * x3.float() * SHRINK).to(x1.dtype)


def _clamp(values: torch.Tensor) -> torch.Tensor:
    return torch.nan_to_num(values, nan=0.0).clamp(-LARGEST_HALF, LARGEST_HALF)
