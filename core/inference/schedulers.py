"""Build the scheduler of diffusers that a request's sampler and schedule name, from the model's own.

Each solver of a flow model gets the same sigmas: those that FlowMatchEulerDiscreteScheduler computes for the schedule and the
shift. Most classes refuse or change sigmas that are given; here they are set once the class has prepared itself.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from inspect import signature
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from core.config.samplers import SAMPLER, SAMPLERS, SCHEDULE, SCHEDULES, Prediction, check, of_class
from core.config.schema import AUTO
from core.errors import UnavailableError
from core.i18n import localize

SPACED = ("normal", "sgm_uniform")  # whose sigmas differ from those that pipelines give before the shift
EPSILON = 1e-6  # UniPC divides by 1 - sigma: its first sigma is this much below 1, as in its own set_timesteps


def build(own: Any, options: Mapping[str, Any], prediction: Prediction, shift: float | None = None) -> Any:
    """Return the scheduler for these options; the model's own for "auto" and "auto".

    `shift` replaces a flow model's own. Raises OptionError for what models of this kind have not.
    """
    check(options, prediction, "request")
    sampler, schedule = options.get(SAMPLER, AUTO), options.get(SCHEDULE, AUTO)
    if shift is not None and hasattr(own, "set_shift"):
        own.set_shift(shift)
    if sampler == AUTO and schedule == AUTO:
        return own
    return _flow(own, sampler, schedule) if prediction == "flow" else _diffusion(own, sampler, schedule)


def resolved(scheduler: Any, options: Mapping[str, Any], prediction: Prediction) -> dict[str, str]:
    """Return for the record the sampler and the schedule in effect; "auto" where the model's own has no name here."""
    found = of_class(type(scheduler).__name__, prediction)
    sampler = options.get(SAMPLER, AUTO)
    schedule = options.get(SCHEDULE, AUTO)
    if schedule == AUTO and prediction == "flow":
        schedule = next((one.id for one in SCHEDULES.values() if _has(scheduler, one.flow)), "simple")
    elif schedule == AUTO:
        schedule = next((one.id for one in SCHEDULES.values() if _has(scheduler, one.diffusion)), AUTO)
    return {SAMPLER: sampler if sampler != AUTO else found.id if found else AUTO, SCHEDULE: schedule}


def _has(scheduler: Any, changes: Mapping[str, Any] | None) -> bool:
    return bool(changes) and all(scheduler.config.get(name, False) == value for name, value in (changes or {}).items())


# -- diffusion models --------------------------------------------------------------------------------------------------


def _diffusion(own: Any, sampler: str, schedule: str) -> Any:
    """Return the class with the model's own configuration (betas, prediction type, zero-SNR) and what the two names change."""
    cls, arguments = type(own), {}
    if sampler != AUTO:
        solver = SAMPLERS[sampler].diffusion
        assert solver is not None
        cls, arguments = getattr(diffusers, solver.cls), dict(solver.arguments)
    takes = signature(cls.__init__).parameters
    if own.config.get("rescale_betas_zero_snr") and "rescale_betas_zero_snr" not in takes:
        raise UnavailableError(key=SAMPLER, value=sampler, reason=_NO_ZERO_SNR)
    if schedule != AUTO:
        changes = SCHEDULES[schedule].diffusion or {}
        arguments |= {name: value for name, value in changes.items() if name in takes}
    return cls.from_config(own.config, **arguments)


_NO_ZERO_SNR = localize("inference.schedulers.no_zero_snr")


# -- flow models -------------------------------------------------------------------------------------------------------


def _flow(own: Any, sampler: str, schedule: str) -> Any:
    """Return the solver over the sigmas of the schedule."""
    solver = SAMPLERS["euler" if sampler == AUTO else sampler].flow
    assert solver is not None
    kind, arguments = getattr(diffusers, solver.cls), dict(solver.arguments)
    if "use_dynamic_shifting" in signature(kind.__init__).parameters:
        arguments["use_dynamic_shifting"] = False  # the base shifts by the size of the image; what is computed here is replaced
    made = _over_sigmas(kind).from_config(own.config, **arguments)
    flags = SCHEDULES[schedule].flow if schedule != AUTO else {}
    made.base = FlowMatchEulerDiscreteScheduler.from_config(own.config, **flags)
    made.base.set_shift(own.shift)
    made.schedule = schedule
    return made


def unshifted(schedule: str, steps: int) -> np.ndarray:
    """Return the sigmas of `steps` steps before the shift, without the final 0, in the sense of ComfyUI's schedules."""
    if schedule == "normal":
        return np.linspace(1.0, 1 / 1000, steps, dtype=np.float32)
    if schedule == "sgm_uniform":
        return np.linspace(1.0, 1 / 1000, steps + 1, dtype=np.float32)[:-1]
    return np.linspace(1.0, 1 / steps, steps, dtype=np.float32)


@cache
def _over_sigmas(kind: Any) -> Any:
    """Return the class with `set_timesteps` and `scale_noise` over the sigmas of its `base`; its name stays."""

    def set_timesteps(
        self: Any,
        num_inference_steps: int | None = None,
        device: Any = None,
        sigmas: Any = None,
        mu: float | None = None,
    ) -> None:
        """Take the number of steps from `sigmas` where they are given, and the sigmas themselves from `base`."""
        steps = len(sigmas) if sigmas is not None else int(num_inference_steps or 0)
        made = unshifted(self.schedule, steps).tolist() if sigmas is None or self.schedule in SPACED else sigmas
        self.base.set_timesteps(sigmas=made, device=device, mu=mu)
        grid, times = self.base.sigmas, self.base.timesteps
        if issubclass(kind, diffusers.LTXEulerAncestralRFScheduler):
            kind.set_timesteps(self, sigmas=grid.tolist(), device=device)
        else:
            kind.set_timesteps(self, steps, device=device)
        if issubclass(kind, diffusers.UniPCMultistepScheduler):
            grid = grid.clamp(max=1 - EPSILON)
            times = grid[:-1] * self.config.num_train_timesteps
        if kind.order == 2:
            grid = torch.cat([grid[:1], grid[1:-1].repeat_interleave(2), grid[-1:]])
            times = torch.cat([times[:1], times[1:].repeat_interleave(2)])
        self.sigmas, self.timesteps = grid, times
        self._step_index = self._begin_index = None

    def scale_noise(self: Any, sample: torch.Tensor, timestep: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Mix the sample and the noise as the sigma of the next step says."""
        index = self.step_index if self.step_index is not None else self.begin_index or 0
        sigma = self.sigmas[index].to(device=sample.device, dtype=sample.dtype)
        return sigma * noise + (1.0 - sigma) * sample

    return type(kind.__name__, (kind,), {"set_timesteps": set_timesteps, "scale_noise": scale_noise})


def begin_by_steps(pipeline: Any, steps: int) -> None:
    """Have an img2img or inpaint pipeline, made for one image, count its strength in steps.

    Given sigmas, diffusers' `retrieve_timesteps` returns the number of evaluations instead, two for each of Heun's steps, and
    `get_timesteps` would begin past the end.
    """
    if pipeline.scheduler.order == 1:
        return
    get_timesteps = pipeline.get_timesteps

    def by_steps(_evaluations: int, *given: Any, **named: Any) -> Any:
        return get_timesteps(steps, *given, **named)

    pipeline.get_timesteps = by_steps


# -- a step ------------------------------------------------------------------------------------------------------------


@dataclass
class StepTap:
    """The input of the last step: the model's output, the sample before it, and the step index."""

    scheduler: Any
    output: torch.Tensor | None = None
    sample: torch.Tensor | None = None
    timestep: torch.Tensor | None = None
    index: int = 0


@contextmanager
def tapped(scheduler: Any, generator: torch.Generator) -> Iterator[StepTap]:
    """Have each step take its noise from `generator`, which the pipeline may not pass on, and tell what went into it."""
    tap, step = StepTap(scheduler), scheduler.step
    seeded = "generator" in signature(step).parameters

    @functools.wraps(step)  # pipelines look at the names of its parameters
    def tapping(model_output: Any, timestep: Any, sample: Any, *more: Any, **named: Any) -> Any:
        if seeded:
            named.setdefault("generator", generator)
        made = step(model_output, timestep, sample, *more, **named)
        index = getattr(scheduler, "step_index", None)
        tap.output, tap.sample, tap.timestep, tap.index = model_output, sample, timestep, (index or 1) - 1
        return made

    scheduler.step = tapping
    try:
        yield tap
    finally:
        del scheduler.step


def predicted(tap: StepTap, preview: str) -> torch.Tensor | None:
    """Return the clean latents that the last step pointed at; None before the first, or where they can't be computed.

    `preview` as in Solver. The formulas are those of each class's own conversion of the model's output.
    """
    output, sample, scheduler = tap.output, tap.sample, tap.scheduler
    if output is None or sample is None:
        return None
    output, sample = output.float(), sample.float()
    kind = scheduler.config.get("prediction_type", "epsilon")
    sigmas = getattr(scheduler, "sigmas", None)
    if preview == "flow":
        return None if sigmas is None else sample - float(sigmas[tap.index]) * output
    if kind not in ("epsilon", "v_prediction"):
        return output if kind == "sample" else None
    if sigmas is not None:
        sigma = float(sigmas[tap.index])
        alpha = 1 / (1 + sigma**2) ** 0.5
    else:
        alpha = float(scheduler.alphas_cumprod[int(tap.timestep)]) ** 0.5 if tap.timestep is not None else 1.0
        sigma = (1 - alpha**2) ** 0.5 / alpha
    sample = sample * alpha if preview == "sigma" else sample  # to x = alpha image + alpha sigma noise
    if kind == "v_prediction":
        return alpha * sample - alpha * sigma * output
    return (sample - alpha * sigma * output) / alpha
