"""A pipeline onto its device: whole, part by part, block by block, or block by block from the disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import torch
from diffusers.hooks import apply_group_offloading

from core.models.families.backend import Backend

PREFIX = "zdarkroom-blocks-"


def place(pipeline: Any, backend: Backend, device: str, offload: str) -> Path | None:
    """Bring the pipeline to where it works. For "disk", the folder that holds the blocks: `remove` it with the pipeline."""
    if offload == "none":
        pipeline.to(device)
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
    """A new folder for the blocks of these parts, after those of processes that were killed have been removed."""
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
