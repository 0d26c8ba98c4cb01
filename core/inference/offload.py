"""Move a pipeline to its device: whole, part by part (see `residency`), block by block, or block by block from the disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from accelerate.utils import send_to_device
from diffusers.hooks import apply_group_offloading
from torch import nn

from core.inference import residency
from core.inference.residency import Working
from core.models.families.backend import Backend

PREFIX = "zdarkroom-blocks-"


@dataclass(frozen=True)
class MemoryBudget:
    """What part by part may use of the device: bytes of it, the bytes that computing takes for an image of so many pixels, and
    the pixels that are planned for."""

    bytes: int = 0
    working: Working = lambda pixels: 0
    pixels: int = 0


def place(
    pipeline: Any, backend: Backend, device: str, offload: str, text_device: str | None = None, budget: MemoryBudget | None = None
) -> Path | None:
    """Bring the pipeline to where it works. For "disk", the folder that holds the blocks: `remove` it with the pipeline.

    With "model" parts stay on the device as far as they fit; without it each is there alone while it works.

    With `text_device` the text encoders stay there, and their outputs are brought to where the rest works.
    """
    encoders = text_encoders(pipeline) if text_device is not None else {}
    pipeline.register_modules(**dict.fromkeys(encoders))  # the libraries' own moving must not see them
    try:
        folder = _placed(pipeline, backend, device, offload, budget or MemoryBudget())
    finally:
        pipeline.register_modules(**encoders)
    for encoder in encoders.values():
        _run_on(encoder, torch.device(str(text_device)))
    return folder


def text_encoders(pipeline: Any) -> dict[str, nn.Module]:
    """Return the pipeline's text encoders by name."""
    parts = pipeline.components.items()
    return {name: part for name, part in parts if name.startswith("text_encoder") and isinstance(part, nn.Module)}


def _run_on(encoder: nn.Module, device: torch.device) -> None:
    """Move an encoder to a device, its inputs there with each call, and its outputs back to where the inputs were."""
    origins: list[torch.device] = []

    def bring(_module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        given = next(one for one in (*args, *kwargs.values()) if isinstance(one, torch.Tensor))
        origins.append(given.device)
        return send_to_device(args, device), send_to_device(kwargs, device)

    def give_back(_module: nn.Module, _args: Any, output: Any) -> Any:
        return send_to_device(output, origins.pop())

    encoder.to(device)
    encoder.register_forward_pre_hook(bring, with_kwargs=True)
    encoder.register_forward_hook(give_back)


def _placed(pipeline: Any, backend: Backend, device: str, offload: str, budget: MemoryBudget) -> Path | None:
    if offload == "none":
        pipeline.to(device)
        return None
    if offload == "model" and residency.can_hold(pipeline):
        residency.hold(pipeline, device, budget.bytes, budget.working, budget.pixels)
        return None
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
        return None
    large = backend.offloadable(pipeline, device)
    folder = _scratch(large) if offload == "disk" else None
    for name, part in large.items():
        apply_group_offloading(
            part,
            onload_device=torch.device(device),
            offload_device=torch.device("cpu"),
            offload_type="block_level",
            num_blocks_per_group=1,
            use_stream=device == "cuda"
            and part is getattr(pipeline, name),  # the next block is on its way while this one works
            offload_to_disk_path=str(folder / name) if folder else None,  # apart: both name their groups alike
        )
    return folder


def _scratch(parts: Iterable[str] = ()) -> Path:
    """Return a new folder for the blocks of these parts, after those of processes that were killed have been removed."""
    temporary = Path(tempfile.gettempdir())
    for old in temporary.glob(f"{PREFIX}*"):
        owner = old.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            remove(old)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    for name in parts:
        (folder / name).mkdir()
    return folder


def remove(folder: Path | None) -> None:
    """Delete the blocks of a pipeline that is gone."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
