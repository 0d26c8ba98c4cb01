"""Keep the state of an image between two steps, so that a stopped image continues where it was, bit for bit.

The pipeline of a resumed image runs from its beginning, so that everything around the steps is as it was; evaluations of the model
that were done are skipped: the denoiser returns zeros of the shapes that it returned, the scheduler returns what it returned in
the last of them. With that one the scheduler and the random generators get their saved state.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from core.config.typed_settings import Options
from core.i18n import localize
from core.types import Decision, GenerationRequest

Identity = Mapping[str, Any]  # JSON; what must be the same for a state to be used
log = logging.getLogger(__name__)

GENERATOR, RANDOM, RETURNED = "generator", "random", "returned"  # tensors of a state, beside those of the scheduler
_SCHEDULER = "scheduler."


@dataclass
class StepState:
    """What was at the end of an evaluation. `done` counts evaluations; `tensors` are on the CPU, with `homes` of the others.

    `shapes`: for each module that was called, the shapes of what each call returned.
    """

    done: int
    tensors: dict[str, torch.Tensor]
    values: dict[str, Any]
    homes: list[str]
    shapes: dict[str, list[Any]]


@dataclass(frozen=True)
class StepStore:
    """Where the states of a job's image are. `folder` None: nothing is kept."""

    folder: Path | None = None
    image: int = 1  # of the job, from 1

    def keeper(self, run: int, request: GenerationRequest, model: Mapping[str, str]) -> StepKeeper:
        """Return the keeper of one pass (`run`, from 0) of the image; `model` as in `identity_of`."""
        path = self.folder / f"{self.image}-{run}.safetensors" if self.folder is not None else None
        interval = int(Options(request.options).resume.interval)
        return StepKeeper(path, interval, identity_of(request, model) if path is not None else {})

    def remove(self) -> None:
        """Remove the states of the finished image."""
        for path in self.folder.glob(f"{self.image}-*.safetensors") if self.folder is not None else ():
            with suppress(OSError):
                path.unlink()


def identity_of(request: GenerationRequest, model: Mapping[str, str]) -> Identity:
    """Return what the pixels of a pass depend on: the request, versions, and of the model and the files beside it."""
    asked = {
        "prompts": [request.prompt, request.negative_prompt], "size": [request.width, request.height],
        "numbers": [request.num_inference_steps, request.cfg_scale, request.seed], "inputs": dict(request.inputs),
        "options": {key: str(value) for key, value in sorted(request.options.items())},
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    versions = {"torch": torch.__version__, "diffusers": diffusers.__version__}
    return {"request": digest, **model, **versions}


@dataclass
class StepKeeper:
    """The state of one pass of one image. `differs`: what made a stored state useless, empty when it can be used."""

    path: Path | None
    interval: int
    identity: Identity
    differs: tuple[str, ...] = ()
    _state: StepState | None = None
    _scheduler: Any = None
    _generator: torch.Generator | None = None
    _done: int = 0
    _returned: torch.Tensor | None = None
    _shapes: dict[str, list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path is not None and self.path.is_file():
            self._state, self.differs = _read(self.path, self.identity)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Say that a stored state could not be used, and why."""
        if not self.differs:
            return ()
        reason = localize("inference.step_state.begins_again", what=", ".join(self.differs))
        return (Decision("resume.interval", ", ".join(self.differs), "", reason),)

    @property
    def skipped(self) -> int:
        """Return how many evaluations are not run again."""
        return self._state.done if self._state is not None else 0

    def is_due(self, step: int) -> bool:
        """Return True when the state is kept after this step (from 1) of a pass that is not stopped."""
        return self.path is not None and self.interval > 0 and step % self.interval == 0

    @contextmanager
    def running(
        self, scheduler: Any, generator: torch.Generator, modules: Mapping[str, nn.Module], device: torch.device
    ) -> Iterator[None]:
        """Hold what is changed for the steps of the pass; nothing without a folder."""
        if self.path is None:
            yield
            return
        self._scheduler, self._generator, self._done = scheduler, generator, 0
        with ExitStack() as stack:
            stack.enter_context(self._counted(device))
            for name, module in modules.items():
                stack.enter_context(self._watched(name, module, device))
            yield

    def save(self) -> None:
        """Write the state after the evaluation that was the last, in place of an earlier one; a full disk costs the state."""
        if self.path is None or self._returned is None or self._done <= self.skipped:
            return
        assert self._generator is not None
        tensors, values, homes = _state_of(self._scheduler)
        tensors |= {
            RETURNED: self._returned.detach().cpu().contiguous(),
            GENERATOR: self._generator.get_state(),
            RANDOM: torch.get_rng_state(),
        }
        state = StepState(self._done, tensors, values, homes, self._shapes)
        try:
            _write(self.path, state, self.identity)
        except (OSError, SafetensorError) as error:
            log.warning("the state of an image could not be kept: %s", error)

    # -- while it runs -------------------------------------------------------------------------------------------------

    @contextmanager
    def _counted(self, device: torch.device) -> Iterator[None]:
        """Count the scheduler's steps, and return in place of the skipped ones what they returned."""
        scheduler = self._scheduler
        held = scheduler.__dict__.get("step")
        step = scheduler.step

        @functools.wraps(step)  # pipelines look at the names of its parameters
        def counted(model_output: Any, timestep: Any, sample: Any, *more: Any, **named: Any) -> Any:
            self._done += 1
            if self._done < self.skipped:
                return (sample,)
            if self._done == self.skipped:
                self._returned = self._restored(device)
                return (self._returned,)
            made = step(model_output, timestep, sample, *more, **named)
            self._returned = made[0]
            return made

        scheduler.step = counted
        try:
            yield
        finally:
            if held is None:
                del scheduler.step
            else:
                scheduler.step = held

    @contextmanager
    def _watched(self, name: str, module: nn.Module, device: torch.device) -> Iterator[None]:
        """Note the shapes that `module` returns, and return zeros of them in the skipped evaluations."""
        forward, held = module.forward, module.__dict__.get("forward")
        known = self._state.shapes.get(name, []) if self._state is not None else []
        seen = self._shapes.setdefault(name, [])

        @functools.wraps(forward)
        def watched(*given: Any, **named: Any) -> Any:
            if self._done < self.skipped and len(seen) < len(known) and known[len(seen)] is not None:
                seen.append(known[len(seen)])
                return _zeros(seen[-1], device)
            made = forward(*given, **named)
            seen.append(_shape(made))
            return made

        module.forward = watched
        try:
            yield
        finally:
            if held is None:
                del module.forward
            else:
                module.forward = held

    def _restored(self, device: torch.device) -> torch.Tensor:
        """Give the scheduler and the generators their saved state; return what the scheduler returned."""
        state = self._state
        assert state is not None and self._generator is not None
        for name, value in state.values.items():
            setattr(self._scheduler, name, _filled(value, state, device))
        self._generator.set_state(state.tensors[GENERATOR])
        torch.set_rng_state(state.tensors[RANDOM])
        return state.tensors[RETURNED].to(device)


def modules_of(pipeline: Any, names: Sequence[str]) -> dict[str, nn.Module]:
    """Return those of the pipeline's parts that are called in each step."""
    found = {name: getattr(pipeline, name, None) for name in names}
    return {name: part for name, part in found.items() if isinstance(part, nn.Module)}


# -- a state and its file ----------------------------------------------------------------------------------------------


def _state_of(scheduler: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any], list[str]]:
    """Return a scheduler's own tensors, its attributes with the tensors' names in their place, and which were not on the CPU."""
    tensors: dict[str, torch.Tensor] = {}
    homes: list[str] = []

    def stored(name: str, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            key = _SCHEDULER + name
            tensors[key] = value.detach().cpu().contiguous().clone()
            if value.device.type != "cpu":
                homes.append(key)
            return {"tensor": key}
        if isinstance(value, list):
            return {"list": [stored(f"{name}.{place}", one) for place, one in enumerate(value)]}
        return {"value": value}

    values = {
        name: stored(name, value)
        for name, value in vars(scheduler).items()
        if not name.startswith("_internal") and _is_data(value)
    }
    return tensors, values, homes


def _is_data(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_data(one) for one in value)
    return value is None or isinstance(value, (torch.Tensor, bool, int, float, str))


def _filled(value: Mapping[str, Any], state: StepState, device: torch.device) -> Any:
    if "tensor" in value:
        tensor = state.tensors[value["tensor"]]
        return tensor.to(device) if value["tensor"] in state.homes else tensor.clone()
    if "list" in value:
        return [_filled(one, state, device) for one in value["list"]]
    return value["value"]


def _shape(made: Any) -> Any:
    """Return the shapes of nested tuples and lists of tensors; None for anything else, which is computed again."""
    if isinstance(made, torch.Tensor):
        return {"shape": list(made.shape), "dtype": str(made.dtype).removeprefix("torch.")}
    if type(made) in (tuple, list):
        inner = [_shape(one) for one in made]
        return None if None in inner else {type(made).__name__: inner}
    return None


def _zeros(shape: Mapping[str, Any], device: torch.device) -> Any:
    if "shape" in shape:
        return torch.zeros(shape["shape"], dtype=getattr(torch, shape["dtype"]), device=device)
    kind: Callable[[Any], Any] = tuple if "tuple" in shape else list
    return kind(_zeros(one, device) for one in next(iter(shape.values())))


def _write(path: Path, state: StepState, identity: Identity) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    fields = {"done": state.done, "values": state.values, "homes": state.homes, "shapes": state.shapes}
    save_file(state.tensors, temporary, {"state": json.dumps(fields), "identity": json.dumps(dict(identity))})
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def _read(path: Path, identity: Identity) -> tuple[StepState | None, tuple[str, ...]]:
    """Return the stored state, or None and what differs from `identity`; a damaged file is none."""
    try:
        with safe_open(path, "pt") as file:
            notes = file.metadata() or {}
            stored, fields = json.loads(notes["identity"]), json.loads(notes["state"])
            # a state of an earlier version may lack a key
            differs = tuple(key for key in identity if key in stored and stored[key] != identity[key])
            if differs:
                return None, differs
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        state = StepState(fields["done"], tensors, fields["values"], fields["homes"], fields["shapes"])
        return state, ()
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        log.warning("the state of an image can't be used: %s", error)
        return None, ("file",)
