"""Declare samplers and noise schedules, one line each; options, pages, A1111's lists and the schedulers follow.

A sampler is a class of diffusers with arguments, one for flow models (Z-Image and the like) and one for diffusion models (SD 1.5,
SDXL); it is absent where diffusers has none. Without torch: `core.inference.schedulers` builds the schedulers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from core.config.schema import AUTO
from core.errors import OptionError

Prediction = Literal["flow", "diffusion"]  # what the model predicts: a velocity of a rectified flow, or noise (or v)

SAMPLER, SCHEDULE = "generation.sampler", "generation.schedule"


@dataclass(frozen=True)
class Schedule:
    """A noise schedule. `name` as in A1111; `diffusion`: its changes to the configuration of a diffusion scheduler.

    `flow`: what it changes of FlowMatchEulerDiscreteScheduler's; None where it is made of sigmas (see `schedulers`).
    """

    id: str
    name: str
    diffusion: Mapping[str, Any] | None
    flow: Mapping[str, Any] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()


_PLAIN = {"use_karras_sigmas": False, "use_exponential_sigmas": False, "use_beta_sigmas": False}
SCHEDULES: Mapping[str, Schedule] = {
    one.id: one
    for one in (
        Schedule("simple", "Simple", None),
        Schedule("normal", "Normal", {**_PLAIN, "timestep_spacing": "linspace"}, aliases=("uniform", "default")),
        Schedule("karras", "Karras", {**_PLAIN, "use_karras_sigmas": True}, {"use_karras_sigmas": True}),
        Schedule(
            "exponential", "Exponential", {**_PLAIN, "use_exponential_sigmas": True}, {"use_exponential_sigmas": True}
        ),
        Schedule("beta", "Beta", {**_PLAIN, "use_beta_sigmas": True}, {"use_beta_sigmas": True}),
        Schedule("sgm_uniform", "SGM Uniform", {**_PLAIN, "timestep_spacing": "trailing"}, aliases=("trailing",)),
    )
}
_SPACED = ("normal", "sgm_uniform")
_CURVES = ("karras", "exponential", "beta")
_SIGMAS = (*_SPACED, *_CURVES)
_FLOW = tuple(SCHEDULES)


@dataclass(frozen=True)
class Solver:
    """A scheduler class of diffusers, its changes to the model's configuration, and the schedules it supports.

    `order`: evaluations of the model for each step. `preview`: how a predicted image is read from a step: "flow", "sigma"
    (x = image + sigma noise) or "alpha" (x = sqrt(a) image + sqrt(1 - a) noise).
    """

    cls: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    schedules: tuple[str, ...] = _FLOW
    preview: Literal["flow", "sigma", "alpha"] = "flow"


@dataclass(frozen=True)
class Sampler:
    """A sampler. `name`: on the page and in A1111. `aliases`: names in other programs, separated by spaces."""

    id: str
    name: str
    flow: Solver | None = None
    diffusion: Solver | None = None
    aliases: str = ""

    def solver(self, prediction: Prediction) -> Solver | None:
        """Return the class for models of this kind; None where there is none."""
        return self.flow if prediction == "flow" else self.diffusion


def _flow(name: str, **arguments: Any) -> Solver:
    return Solver(f"{name}Scheduler", arguments)


def _sigma(name: str, schedules: tuple[str, ...] = _SIGMAS, **arguments: Any) -> Solver:
    return Solver(f"{name}Scheduler", arguments, schedules, "sigma")


def _alpha(name: str, schedules: tuple[str, ...] = _SPACED, **arguments: Any) -> Solver:
    return Solver(f"{name}Scheduler", arguments, schedules, "alpha")


_DPM = {"solver_order": 2, "final_sigmas_type": "zero"}
_FLOW_DPM = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", **_DPM}
_DPM_ODE, _DPM_SDE = ({"algorithm_type": kind, **_DPM} for kind in ("dpmsolver++", "sde-dpmsolver++"))

# To add a sampler, add a line: id, name in A1111, class for flow models, class for diffusion models, names in other programs.
_ALL = (
    Sampler("euler", "Euler", _flow("FlowMatchEulerDiscrete"), _sigma("EulerDiscrete")),
    Sampler("euler_ancestral", "Euler a", _flow("LTXEulerAncestralRF"), _sigma("EulerAncestralDiscrete", _SPACED)),
    Sampler("heun", "Heun", _flow("FlowMatchHeunDiscrete"), _sigma("HeunDiscrete")),
    Sampler("dpm_2", "DPM2", None, _sigma("KDPM2Discrete")),
    Sampler("dpm_2_ancestral", "DPM2 a", None, _sigma("KDPM2AncestralDiscrete"), "dpm_2_a"),
    Sampler("dpmpp_2m", "DPM++ 2M", _flow("DPMSolverMultistep", **_FLOW_DPM), _alpha("DPMSolverMultistep", _SIGMAS, **_DPM_ODE)),
    Sampler("dpmpp_sde", "DPM++ SDE", None, _alpha("DPMSolverSinglestep", _CURVES, **_DPM_SDE)),
    Sampler("dpmpp_2m_sde", "DPM++ 2M SDE", None, _alpha("DPMSolverMultistep", _SIGMAS, **_DPM_SDE)),
    Sampler("lms", "LMS", None, _sigma("LMSDiscrete")),
    Sampler("ddim", "DDIM", None, _alpha("DDIM")),
    Sampler("pndm", "PNDM", None, _alpha("PNDM", skip_prk_steps=True), "plms"),
    Sampler("unipc", "UniPC", _flow("UniPCMultistep", **_FLOW_DPM), _alpha("UniPCMultistep", _SIGMAS), "uni_pc uni_pc_bh2"),
    Sampler("deis", "DEIS", None, _alpha("DEISMultistep", _SIGMAS, algorithm_type="deis")),
    Sampler("lcm", "LCM", _flow("FlowMatchLCM"), _alpha("LCM", ())),
    Sampler("tcd", "TCD", None, _alpha("TCD", ())),
)  # fmt: skip
SAMPLERS: Mapping[str, Sampler] = {one.id: one for one in _ALL}


def _plain(name: str) -> str:
    """As k-diffusion, ComfyUI and A1111 spell the same name: `k_dpmpp_2m`, `dpmpp_2m_gpu`, `DPM++ 2M`."""
    plain = re.sub(r"[\s_-]+", "_", name.strip().lower()).replace("++", "pp")
    return plain.removeprefix("k_").removesuffix("_gpu")


_BY_NAME = {_plain(name): one.id for one in SAMPLERS.values() for name in (*one.aliases.split(), one.name, one.id)}
_SCHEDULE_BY_NAME = {_plain(name): one.id for one in SCHEDULES.values() for name in (*one.aliases, one.name, one.id)}


def parse_sampler(name: str) -> tuple[str, str] | None:
    """Read a sampler's name as any program writes it: its id and "auto", or the schedule that the name ends with.

    None for an unknown one. A1111 before 1.9 wrote both in one: "DPM++ 2M Karras".
    """
    plain = _plain(name)
    if plain in (AUTO, "automatic"):
        return AUTO, AUTO
    if plain in _BY_NAME:
        return _BY_NAME[plain], AUTO
    for ending, schedule in _SCHEDULE_BY_NAME.items():
        if plain.endswith(f"_{ending}") and plain.removesuffix(f"_{ending}") in _BY_NAME:
            return _BY_NAME[plain.removesuffix(f"_{ending}")], schedule
    return None


def parse_schedule(name: str) -> str | None:
    """Read a schedule's name as any program writes it; None for an unknown one."""
    plain = _plain(name)
    return AUTO if plain in (AUTO, "automatic") else _SCHEDULE_BY_NAME.get(plain)


def of_class(cls: str, prediction: Prediction) -> Sampler | None:
    """Return the first sampler of this class of diffusers."""
    found = ((one, one.solver(prediction)) for one in SAMPLERS.values())
    return next((one for one, solver in found if solver is not None and solver.cls == cls), None)


def usable(prediction: Prediction) -> dict[str, tuple[str, ...]]:
    """Return the samplers for models of this kind by id, each with its schedules."""
    found = {one.id: one.solver(prediction) for one in SAMPLERS.values()}
    return {name: solver.schedules for name, solver in found.items() if solver is not None}


def check(options: Mapping[str, Any], prediction: Prediction, source: str) -> None:
    """Raise OptionError for a sampler that models of this kind have not, or a schedule that the sampler does not take."""
    sampler, schedule = options.get(SAMPLER, AUTO), options.get(SCHEDULE, AUTO)
    known = usable(prediction)
    if sampler != AUTO and sampler not in known:
        raise OptionError(source=source, key=SAMPLER, value=sampler, allowed=", ".join((AUTO, *known)))
    schedules = known["euler" if sampler == AUTO else sampler]
    if schedule != AUTO and schedule not in schedules:
        raise OptionError(source=source, key=SCHEDULE, value=schedule, allowed=", ".join((AUTO, *schedules)))
