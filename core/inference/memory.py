"""Measure memory and the peak of an image, and release what is not used.

Of the GPU where there is one, else of this process and its machine.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import torch

from core.inference import load_choices, memory_tiers
from core.inference.load_choices import Hardware
from core.types import ModelInfo

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
    """Return the peak bytes since `start_peak`; None if the system does not report them."""
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    if not _STATUS.exists():
        return None
    mark = next((line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:")), None)
    return int(mark.split()[1]) * 1024 if mark else None


def free_unused(device: str) -> None:
    """Give cached blocks back to the GPU, and freed ones to the system."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    elif sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library than glibc
            ctypes.CDLL("libc.so.6").malloc_trim(0)  # what lies between live blocks goes back only when asked for


@dataclass(frozen=True)
class GpuInfo:
    """The GPU of this process. Memory in bytes; `own` is the memory that this process holds."""

    name: str
    total: int
    free: int
    own: int


def gpu_info() -> GpuInfo | None:
    """Return the GPU of this process, or None."""
    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info()
    return GpuInfo(torch.cuda.get_device_name(), total, free, torch.cuda.memory_reserved())


def hardware(device: str) -> Hardware:
    """Return what of the device decides number formats and quantisation."""
    if device == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return Hardware(device, native, capability=torch.cuda.get_device_capability())
    return load_choices.apple_gpu() if device == "mps" else load_choices.cpu()


def machine(device: str, info: ModelInfo | None) -> memory_tiers.DeviceMemory:
    """Return the free memory of the device and the host, and what quantization lacks for this model."""
    host = psutil.virtual_memory().available
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else host
    return memory_tiers.DeviceMemory(device, free, host, partial(load_choices.missing, hardware=hardware(device), info=info))


def other_gpus(device: str) -> dict[str, int]:
    """Return the free bytes of each GPU but the first, by its name; none unless the model goes to a CUDA device."""
    if device != "cuda":
        return {}
    return {f"cuda:{index}": torch.cuda.mem_get_info(index)[0] for index in range(1, torch.cuda.device_count())}


def reserve(device: str, megabytes: int) -> None:
    """Leave this much of the GPU to others: PyTorch fails rather than take it."""
    if device == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(max(0.05, 1 - megabytes * memory_tiers.MEGA / total))
