"""Apply A1111's control modes to the ControlNets of SD and SDXL: how they weigh against the prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from core.config.control_units import BALANCED, CONTROL, units_of

SOFT = 0.825  # A1111's factor: the k-th layer of an output from the last is multiplied by this to the k


@contextmanager
def applied(network: Any | None, options: Mapping[str, Any], guided: bool) -> Iterator[None]:
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
        soft = [layer * SOFT ** (len(layers) - 1 - index) for index, layer in enumerate(layers)]
        if positive_alone:
            soft = [_without_negative(layer) for layer in soft]
        return soft[:-1], soft[-1]

    return change


def _without_negative(layer: torch.Tensor) -> torch.Tensor:
    """Return an output for [negative, positive] with zeros for the negative prompt."""
    negative, positive = layer.chunk(2)
    return torch.cat([torch.zeros_like(negative), positive])
