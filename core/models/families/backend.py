"""Run a family's pipeline: the steps of one image, each a method that a family overrides where it differs.

A backend knows one family and keeps no state: it is given the loaded model at each call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import diffusers
import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import nn

from core.config import samplers
from core.config.options import SCHEMA
from core.config.typed_settings import Options
from core.errors import Cancelled
from core.inference import controlnet, precision, schedulers, vae_tiling, variety
from core.inference.img2img import Canvas, Inputs
from core.inference.latent_preview import PreviewBudget, Previewer
from core.inference.schedulers import StepTap
from core.inference.step_state import StepKeeper, modules_of
from core.models.families.base import CONTROLNET, Family
from core.types import Capability, Decision, GenerationRequest, Phase, Progress, guidance_of

if TYPE_CHECKING:  # the loader asks backends, too
    from core.inference.pipeline_loader import LoadedModel

IsCancelled = Callable[[], bool]
OnProgress = Callable[[Progress], None]


class Report(Protocol):
    """Called after each step and at the decode; `step` counts from 1."""

    def __call__(self, phase: Phase, step: int, preview: bytes | None = None) -> None: ...


@dataclass(frozen=True)
class PromptEmbeds:
    """The embeds of prompt and negative prompt, in the format of the family, and what was truncated."""

    positive: Sequence[torch.Tensor]
    negative: Sequence[torch.Tensor] | None
    decisions: tuple[Decision, ...]
    seconds: float = 0.0
    short: Sequence[torch.Tensor] | None = None  # of the shortened prompt that the first steps use


@dataclass(frozen=True)
class Start:
    """The start of denoising: source image, seeded generator, and for txt2img the noise."""

    canvas: Canvas
    generator: torch.Generator
    noise: torch.Tensor | None = None
    encoded: torch.Tensor | None = None  # the source image, where the pipeline would scale it
    keeper: StepKeeper | None = None  # where the state is kept when the image is stopped


@dataclass(frozen=True)
class Step:
    """A finished model evaluation: its step from 1, its own index from 0, and its tensors."""

    number: int
    index: int
    tap: StepTap


class Backend(ABC):
    """The code of one family. Methods are in the order in which they are called."""

    def __init__(self, family: Family) -> None:
        self.family = family

    # -- 1. a model while and after it is read -------------------------------------------------------------------------

    def parts_of(self, folder: Path) -> dict[str, Any]:
        """Return the parts without weights of a diffusers folder that are not read by diffusers itself."""
        return {}

    def prepare_weights(self, pipeline: Any, dtypes: Mapping[str, str]) -> None:
        """Change what the family needs in these number formats, by component, once the weights are read."""
        return

    def offloadable(self, pipeline: Any, device: str) -> dict[str, nn.Module]:
        """Return the parts that may be offloaded block by block, by name; all others have been moved to the device."""
        parts = {name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)}
        parts.pop("vae").to(device)  # small, and called past its hooks
        return parts

    def capabilities(self, pipeline: Any, device: str) -> tuple[Capability, ...]:
        """Return which values of the family's options can be used on this machine."""
        return ()

    def network_from_file(self, path: Path, config: Mapping[str, Any], dtype: torch.dtype, notes: list[str]) -> Any:
        """Read a ControlNet in one file; `config` is that of the base's denoiser. None when its layers can't be placed.

        Tensors that nothing uses are added to `notes`.
        """
        return None

    @property
    def keeps_networks_apart(self) -> bool:
        """Return True when a ControlNet has all its layers itself, so that the denoiser may be offloaded."""
        return True

    def fits_denoiser(self, network: Any, denoiser: Any) -> bool:
        """Return True when a ControlNet's outputs fit the layers of the denoiser."""
        return True

    def prepare_network(self, network: Any, dtypes: Mapping[str, str]) -> None:
        """Change what the family needs in a ControlNet that is put beside a loaded model."""
        return

    def prepare_adapters(self, pipeline: Any) -> None:
        """Change what the family needs of the LoRAs that were put in just now."""
        return

    # -- 2. options ----------------------------------------------------------------------------------------------------

    def apply_options(
        self, model: LoadedModel, request: GenerationRequest, decisions: tuple[Decision, ...], on_progress: OnProgress
    ) -> LoadedModel:
        """Bring the loaded pipeline to what the options say, whatever the request before it had.

        `decisions` are those of loading it.
        """
        vae_tiling.apply(model.pipeline.vae, vae_tiling.wanted_tiles(request.options))
        model.pipeline.scheduler = schedulers.build(
            model.scheduler, request.options, self.family.prediction, self.shift(model, request.options)
        )
        return replace(model, decisions=decisions)

    def shift(self, model: LoadedModel, options: Mapping[str, Any]) -> float | None:
        """Return the shift of the noise schedule; None for a family without one."""
        return None

    # -- 3. an image ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def encode(self, model: LoadedModel, request: GenerationRequest, inputs: Inputs) -> PromptEmbeds:
        """Encode the prompt and, with guidance, the negative prompt; `inputs` for text encoders that see the images, too."""

    def prepare_latents(
        self, model: LoadedModel, request: GenerationRequest, embeds: PromptEmbeds, canvas: Canvas
    ) -> Start:
        """Prepare what denoising starts from; of an image the pipeline itself makes the noisy latents.

        The noise (1, channels, height / 8, width / 8) is sampled on the CPU, so that every device samples the same, in the
        order of the pipeline's own `prepare_latents`.
        """
        generator = torch.Generator("cpu").manual_seed(request.seed)
        if canvas.image is not None:
            return Start(canvas, generator)
        pipeline, (width, height) = model.pipeline, canvas.size
        scale, denoiser = pipeline.vae_scale_factor, getattr(pipeline, self.family.denoiser)
        shape = (1, denoiser.config.in_channels, height // scale, width // scale)
        dtype = self.latents_dtype(embeds)
        noise = randn_tensor(shape, generator=generator, device=pipeline._execution_device, dtype=dtype)
        return Start(canvas, generator, variety.varied_noise(noise, request.options))

    def latents_dtype(self, embeds: PromptEmbeds) -> torch.dtype:
        """Return the number format that the pipeline keeps latents in."""
        return embeds.positive[0].dtype

    def denoise(
        self,
        model: LoadedModel,
        request: GenerationRequest,
        embeds: PromptEmbeds,
        start: Start,
        report: Report,
        is_cancelled: IsCancelled,
    ) -> torch.Tensor:
        """Run the pipeline's steps. Returns clean latents (1, channels, height / 8, width / 8).

        Raises Cancelled within one step, CorruptImageError for values that are not finite.
        """
        pipeline = self.pipeline_for(model.pipeline, start.canvas)
        kept = start.keeper or StepKeeper(None, 0, {})
        if start.canvas.image is not None and self.family.takes_strength:
            schedulers.begin_by_steps(pipeline, request.num_inference_steps)
        on_step = self.step_reporter(model, request, report)
        order = pipeline.scheduler.order  # evaluations of the model for each step
        embeds = replace(embeds, positive=variety.varied_embeds(embeds.positive, request.options, request.seed))
        short = variety.short_steps(request.options, request.num_inference_steps) if embeds.short is not None else 0
        first = replace(embeds, positive=embeds.short) if short and embeds.short is not None else embeds

        with (
            self.running(model, pipeline, request),
            precision.checked_encoder(pipeline.vae, embeds.positive[0].dtype),
            schedulers.tapped(pipeline.scheduler, start.generator) as tap,
            variety.varied_img2img(pipeline.scheduler, request.options),
            kept.running(
                pipeline.scheduler,
                start.generator,
                modules_of(pipeline, (self.family.denoiser, CONTROLNET)),
                pipeline._execution_device,
            ),
        ):

            def after_step(_pipe: Any, index: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
                number = -(-(index + 1) // order)
                if is_cancelled():
                    kept.save()
                    raise Cancelled  # raised here, the pipeline neither goes on nor decodes
                if index + 1 >= kept.skipped:
                    precision.check_latents(tensors["latents"], number)
                    on_step(Step(number, index, tap))
                    if kept.is_due(number):
                        kept.save()
                return self.next_embeds(embeds) if short and index + 1 == short * order else {}

            result = pipeline(
                **self.start_arguments(start),
                num_inference_steps=request.num_inference_steps,
                output_type="latent",
                callback_on_step_end=after_step,
                **self.guidance_arguments(request),
                **self.embeds_arguments(first),
                **controlnet.arguments(self.family.controlnet, request.options, start.canvas),
                **self.extra_arguments(request),
            )
        latents: torch.Tensor = result.images
        return latents

    @abstractmethod
    def embeds_arguments(self, embeds: PromptEmbeds) -> dict[str, Any]:
        """Return the pipeline's arguments for the prompt embeds."""

    def next_embeds(self, embeds: PromptEmbeds) -> dict[str, Any]:
        """Return what a callback gives the pipeline so that the next step uses these embeds."""
        raise NotImplementedError

    def pipeline_for(self, pipeline: Any, canvas: Canvas) -> Any:
        """Return the loaded pipeline for noise alone, else its img2img or inpaint class made of the same parts."""
        if canvas.image is None:
            return pipeline
        name = self.family.img2img if canvas.mask is None else self.family.inpaint
        assert name is not None  # the role would have been refused: see Family.inputs
        made = getattr(diffusers, name)(**pipeline.components, **self.arguments_of(pipeline))
        made.set_progress_bar_config(**getattr(pipeline, "_progress_bar_config", {}))
        return made

    def arguments_of(self, pipeline: Any) -> dict[str, Any]:
        """Return what the constructors of img2img and inpaint classes take besides the parts."""
        return dict(self.family.arguments)

    def start_arguments(self, start: Start) -> dict[str, Any]:
        """Return the arguments for the size and the noise, or for the image to start from and its mask."""
        canvas = start.canvas
        given = {"width": canvas.size[0], "height": canvas.size[1], "generator": start.generator}
        if canvas.image is None:
            return {**given, "latents": start.noise}
        mask = {"mask_image": canvas.mask} if canvas.mask is not None else {}
        strength = {"strength": canvas.strength} if self.family.takes_strength else {}
        return {**given, "image": canvas.image, **strength, **mask}

    def guidance_arguments(self, request: GenerationRequest) -> dict[str, Any]:
        """Return the CFG scale as the pipeline counts it."""
        return {"guidance_scale": guidance_of(request.cfg_scale, self.family.cfg_offset)}

    def extra_arguments(self, request: GenerationRequest) -> dict[str, Any]:
        """Return what only this family's pipeline takes."""
        return {}

    @contextmanager
    def running(self, model: LoadedModel, pipeline: Any, request: GenerationRequest) -> Iterator[None]:
        """Hold what is changed for the steps of one image."""
        yield

    def step_reporter(self, model: LoadedModel, request: GenerationRequest, report: Report) -> Callable[[Step], None]:
        """Return what is called after each step that was finite: it reports, with a preview as long as previews cost little."""
        budget = PreviewBudget(model.previewer)
        sampler = samplers.of_class(type(model.pipeline.scheduler).__name__, self.family.prediction)
        solver = sampler.solver(self.family.prediction) if sampler is not None else None
        wanted = Options(request.options).preview.enabled and solver is not None
        preview = solver.preview if solver is not None else "flow"

        def on_step(step: Step) -> None:
            def draw(previewer: Previewer) -> bytes | None:
                clean = schedulers.predicted(step.tap, preview)
                shown = None if clean is None else self.preview_latents(model.pipeline.vae, clean, request)
                return None if shown is None else previewer.draw(shown)

            due = wanted and step.number % Options(request.options).preview.interval == 0
            budget.report(lambda image: report(Phase.STEPS, step.number, image), draw if due else None)

        return on_step

    def preview_latents(self, vae: Any, clean: torch.Tensor, request: GenerationRequest) -> torch.Tensor | None:
        """Return the latents of a step as previews read them: (1, channels, h, w); None where they can't be arranged so."""
        return clean

    @abstractmethod
    def decode(self, vae: Any, latents: torch.Tensor) -> torch.Tensor:
        """Decode latents to (1, 3, height, width) of -1 to 1, in the pipeline's own order of operations."""

    # -- 4. the record -------------------------------------------------------------------------------------------------

    def effective(self, model: LoadedModel, request: GenerationRequest) -> dict[str, Any]:
        """Return what was in effect: every option that can act, resolved, and what the request does not hold."""
        known = {**request.options, "model.device": model.device, "model.dtype": model.dtype, **model.effective}
        return {
            **{key: value for key, value in known.items() if key not in model.info.cannot},
            **controlnet.effective(self.family.controlnet, request.options),
            "model.fingerprint": model.fingerprint,
            "model.files": dict(model.part_hashes),
            "model.weights": dict(model.weight_hashes),
            "model.load_seconds": round(model.load_seconds, 3),
            "model.pipeline": model.info.pipeline,
            "scheduler": type(model.pipeline.scheduler).__name__,
            **schedulers.resolved(model.pipeline.scheduler, request.options, self.family.prediction),
            "versions": dict(model.versions),
        }

    def decisions(self, model: LoadedModel, request: GenerationRequest) -> tuple[Decision, ...]:
        """Return the options that were set and do nothing for this model. Loading reports those of the memory tier."""
        cannot = model.info.cannot
        return tuple(
            Decision(key, value, SCHEMA.options[key].default, cannot[key])
            for key, value in request.options.items()
            if key in cannot and key not in model.held.implied and value != SCHEMA.options[key].default
        )


def network_of(pipeline: Any) -> Any | None:
    """Return the pipeline's ControlNet, if it has one."""
    return getattr(pipeline, CONTROLNET, None)
