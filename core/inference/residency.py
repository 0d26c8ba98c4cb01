"""Keep the parts of a pipeline on the GPU as far as they fit: parts of every step stay, others are moved in for their work.

Weights are copied to the GPU and never back: their copy in the machine's own memory stays, and a part that leaves drops the one
on the GPU. Only for weights that are plain tensors; what torchao and bitsandbytes make is moved by accelerate.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from accelerate.utils import send_to_device
from torch import nn

from core.i18n import localize
from core.inference.memory_tiers import GIGA, RESIDENT, STREAMED, VISITS, place_parts

_ATTRIBUTE = "_residency"  # of a pipeline
Working = Callable[[int], int]  # pixels of an image -> bytes that computing takes beside the weights


def can_hold(pipeline: Any) -> bool:
    """Return True if all weights are plain tensors."""
    return all(type(one.data) is torch.Tensor for part in modules(pipeline).values() for one in _tensors(part))


def hold(pipeline: Any, device: str, budget: int, working: Working, pixels: int) -> Residency:
    """Let the pipeline's parts come to the device when they work, within `budget` bytes of it, for images of `pixels`."""
    held = Residency(modules(pipeline), device, budget, working)
    held.plan_for(pixels)
    setattr(pipeline, _ATTRIBUTE, held)
    return held


def of(pipeline: Any) -> Residency | None:
    """Return what holds the pipeline's parts; None where they are held otherwise."""
    found = getattr(pipeline, _ATTRIBUTE, None)
    return found if isinstance(found, Residency) else None


class Residency:
    """The parts of one pipeline and where each is held."""

    def __init__(self, parts: Mapping[str, nn.Module], device: str, budget: int, working: Working) -> None:
        self._parts = {name: _Part(module) for name, module in parts.items()}
        self._encoders = [name for name in parts if name.startswith("text_encoder")]
        self._device, self._budget, self._working = torch.device(device), budget, working
        self.placed: Mapping[str, str] = {}
        for name, module in parts.items():
            add_hook_to_module(module, _Visit(self, name, self._device))
            for block in repeated_blocks(module) if name in self._encoders else ():
                block.register_forward_pre_hook(lambda block, _args, name=name: self._block_enters(name, block))
                block.register_forward_hook(lambda block, _args, _output, name=name: self._block_leaves(name, block))

    @property
    def moved(self) -> dict[str, int]:
        """Return the bytes of each part that were copied to the device so far."""
        return {name: part.moved for name, part in self._parts.items()}

    @property
    def sizes(self) -> dict[str, int]:
        """Return the bytes of each part's weights."""
        return {name: part.bytes for name, part in self._parts.items()}

    def plan_for(self, pixels: int) -> None:
        """Decide anew where the parts are held while an image of so many pixels is generated."""
        for part in self._parts.values():
            part.forget_removed()
        self.placed = place_parts(self.sizes, self._encoders, self._budget, self._working(pixels))

    def reason(self) -> dict[str, str]:
        """Return in words where the parts are held."""
        if VISITS in self.placed.values():
            return localize("inference.residency.visits", budget=self._budget / GIGA)
        resident, streamed = (
            ", ".join(name for name, place in self.placed.items() if place == wanted) for wanted in (RESIDENT, STREAMED)
        )
        if not streamed:
            return localize("inference.residency.resident", resident=resident, budget=self._budget / GIGA)
        return localize("inference.residency.streamed", resident=resident, streamed=streamed, budget=self._budget / GIGA)

    @contextmanager
    def whole(self, module: nn.Module) -> Iterator[None]:
        """Hold an encoder as a whole, alone if need be, for work that calls it many times, such as writing text."""
        before = self.placed
        self.placed = {
            name: VISITS if part.module is module and before[name] == STREAMED else before[name]
            for name, part in self._parts.items()
        }
        try:
            yield
        finally:
            self.placed = before

    def enter(self, name: str) -> None:
        """Bring a part to the device before it works; what may not stay beside it leaves."""
        place = self.placed[name]
        for other, part in self._parts.items():
            together = other == name or (other in _EACH_STEP and name in _EACH_STEP)
            if not together and (place == VISITS or self.placed[other] != RESIDENT):
                part.drop()
        part = self._parts[name]
        part.bring(_tensors(part.module) if place != STREAMED else part.outside_blocks(), self._device)

    def leave(self, name: str) -> None:
        """Let a streamed part go once it has worked."""
        if self.placed[name] == STREAMED:
            self._parts[name].drop()

    def _block_enters(self, name: str, block: nn.Module) -> None:
        if self.placed[name] == STREAMED:
            self._parts[name].bring(_tensors(block), self._device)

    def _block_leaves(self, name: str, block: nn.Module) -> None:
        if self.placed[name] == STREAMED:
            self._parts[name].drop(_tensors(block))


_EACH_STEP = ("transformer", "unet", "controlnet")


class _Part:
    """One part: its module, and the host's copy of each tensor that is on the device."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.moved = 0
        self.bytes = sum(one.nbytes for one in _tensors(module))
        self._host: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # id -> tensor of the module, its data on the host

    def outside_blocks(self) -> list[torch.Tensor]:
        """Return the tensors that are in none of the repeated blocks, such as embeddings."""
        inside = {id(one) for block in repeated_blocks(self.module) for one in _tensors(block)}
        return [one for one in _tensors(self.module) if id(one) not in inside]

    def forget_removed(self) -> None:
        """Let go of tensors that are no longer in the module, such as those of a LoRA that was taken out."""
        present = {id(one) for one in _tensors(self.module)}
        self._host = {key: pair for key, pair in self._host.items() if key in present}

    def bring(self, tensors: Collection[torch.Tensor], device: torch.device) -> None:
        """Copy tensors to the device; those that are there stay as they are."""
        for one in tensors:
            if id(one) not in self._host and one.device.type == "cpu":  # a LoRA may have been put in on the device
                self._host[id(one)] = one, one.data
                self.moved += one.nbytes
                one.data = copied(one.data, device)

    def drop(self, tensors: Collection[torch.Tensor] | None = None) -> None:
        """Give tensors, or all, their host copy back. A new tensor, or one cast to another format meanwhile, is copied."""
        if not self._host:
            return
        for one in _tensors(self.module) if tensors is None else tensors:
            _, host = self._host.pop(id(one), (one, None))
            if host is not None and (host.dtype, host.shape) == (one.dtype, one.shape):
                one.data = host
            else:
                one.data = one.data.to("cpu")
        if tensors is None:
            self._host.clear()


def copied(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a copy on the device."""
    return tensor.to(device, copy=True)


class _Visit(ModelHook):  # type: ignore[misc]
    """Tells the residency that a part begins and ends to work. diffusers calls it for `vae.decode` and `encode`, too."""

    def __init__(self, residency: Residency, name: str, device: torch.device) -> None:
        self._residency, self._name = residency, name
        self.execution_device = device  # where diffusers makes its tensors

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        self._residency.enter(self._name)
        return send_to_device(args, self.execution_device), send_to_device(kwargs, self.execution_device)

    def post_forward(self, module: nn.Module, output: Any) -> Any:
        self._residency.leave(self._name)
        return output


def repeated_blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the members of the outermost lists of layers."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from repeated_blocks(child)


def modules(pipeline: Any) -> dict[str, nn.Module]:
    """Return the pipeline's parts with weights by name."""
    return {name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)}


def _tensors(module: nn.Module) -> list[torch.Tensor]:
    """Return parameters and buffers, each once."""
    return list({id(one): one for one in (*module.parameters(), *module.buffers())}.values())
