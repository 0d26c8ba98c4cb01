"""How much memory a picture took at its peak: the card's allocator where there is one, else this process."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def start_peak(device: str) -> None:
    """Begin a new measurement."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif _CLEAR.exists():
        with suppress(OSError):  # not permitted in some containers: then the mark is the process's own since it began
            _CLEAR.write_text("5")  # Linux: sets the high-water mark of resident memory back to what is resident now


def read_peak(device: str) -> int | None:
    """Bytes at the peak since `start_peak`; None where the system does not tell."""
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    if not _STATUS.exists():
        return None
    mark = next((line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:")), None)
    return int(mark.split()[1]) * 1024 if mark else None


def free_unused(device: str) -> None:
    """Give cached blocks back to the card."""
    if device == "cuda":
        torch.cuda.empty_cache()
