"""Share the machine politely: say when a worker is to stop after its present step and give its memory back, and why.

The reasons are: somebody asked for the GPU ("give back"), quiet hours, a GPU that is too hot or draws too much, and, with
gpu.share, too little free memory, because another program has begun to need it. The worker continues by itself when the
reason is gone; after it made room, only when there is room for what it gave back.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from datetime import time as clock_time
from pathlib import Path
from typing import Any

import psutil

from core.config.loader import Settings
from core.errors import OptionError, StorageError
from core.i18n import localize
from core.storage.files import write_atomically

HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
QUIET = "gpu.quiet_hours"
HELD = "gpu.held"  # file in the output folder: bytes that the worker held when it made room
READ_SECONDS = 0.25  # a reading is taken for the present one that long
COOLER = 5  # degrees and watts below a limit at which a worker continues
MEGABYTE = 1_000_000

log = logging.getLogger(__name__)
Reason = Mapping[str, str]  # language -> sentence


@dataclass(frozen=True)
class Reading:
    """What a device says of itself: bytes, degrees Celsius, watts. None: it does not say."""

    free: int
    own: int = 0  # bytes that this process holds
    temperature: float | None = None
    watts: float | None = None


class Tenant:
    """Decides for one worker process whether it is to make room."""

    def __init__(
        self,
        values: Mapping[str, Any],
        directory: Path,
        is_given_back: Callable[[], bool] = lambda: False,
        read: Callable[[], Reading] | None = None,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        self._share = bool(values["gpu.share"])
        self._keep_free = int(values["gpu.keep_free_mb"]) * MEGABYTE
        self._hottest, self._most_watts = values["gpu.max_temperature"], values["gpu.max_power"]
        self._quiet = read_hours(values[QUIET], QUIET)
        self._file = directory / HELD
        self._is_given_back = is_given_back
        self._measures = self._share or bool(self._hottest or self._most_watts)
        self.unmeasured: Reason | None = None  # what is to be measured and can't be
        self._read = read or read_memory
        if self._measures and read is None:
            self._read, self.unmeasured = reader_of(str(values["model.device"]))
        self._now = now
        self._told: tuple[float, Reason | None] = (-READ_SECONDS, None)
        self._yielding = self._file.exists()

    def reason(self) -> Reason | None:
        """Return why this worker is to make room; None when it may work. Readings are READ_SECONDS old at most."""
        when, reason = self._told
        if time.monotonic() - when >= READ_SECONDS:
            reason = self._find()
            self._told = (time.monotonic(), reason)
        return reason

    def _find(self) -> Reason | None:
        reason = self._asked() or self._measured()
        if reason is None and self._yielding:
            self._file.unlink(missing_ok=True)
        self._yielding = reason is not None
        return reason

    def _asked(self) -> Reason | None:
        with suppress(StorageError):  # a database that is away asks for nothing
            if self._is_given_back():
                return localize("jobs.tenant.given_back")
        if self._quiet and is_within(self._now().time(), self._quiet):
            begin, end = (f"{at:%H:%M}" for at in self._quiet)
            return localize("jobs.tenant.quiet", begin=begin, end=end)
        return None

    def _measured(self) -> Reason | None:
        if not self._measures:
            return None
        try:
            reading = self._read()
        except Exception as error:  # a driver that was updated, a device that is gone
            log.warning("the device could not be read: %s", error)
            return None
        for limit, value, key in (
            (self._hottest, reading.temperature, "hot"), (self._most_watts, reading.watts, "power"),
        ):  # fmt: skip
            if limit and value is None:
                self.unmeasured = self.unmeasured or localize(f"jobs.tenant.{key}_unmeasured")
            elif limit and value is not None and value > limit - (COOLER if self._yielding else 0):
                return localize(f"jobs.tenant.limit.{key}", value=round(value), allowed=limit)
        return self._crowded(reading) if self._share else None

    def _crowded(self, reading: Reading) -> Reason | None:
        """Return the reason when too little memory is free. What is given back is noted, as it has to fit again."""
        wanted = self._keep_free
        if self._yielding:
            wanted += self._held()
        if reading.free >= wanted:
            return None
        if not self._yielding:
            write_atomically(self._file, json.dumps(reading.own).encode())
        free, needed = reading.free // MEGABYTE, wanted // MEGABYTE
        return localize("jobs.tenant.crowded", free=free, needed=needed)

    def _held(self) -> int:
        try:
            return int(json.loads(self._file.read_text(encoding="ascii")))
        except (OSError, ValueError, TypeError):
            return 0


def read_hours(text: str, source: str) -> tuple[clock_time, clock_time] | None:
    """Return begin and end of "22:00-07:00"; None for "". Raises OptionError."""
    if not text:
        return None
    found = HOURS.fullmatch(text.replace(" ", ""))
    if found is None or found[1] + found[2] == found[3] + found[4]:
        raise OptionError(source=source, key=QUIET, value=text[:40], allowed=localize("jobs.tenant.hours"))
    return clock_time(int(found[1]), int(found[2])), clock_time(int(found[3]), int(found[4]))


def is_within(now: clock_time, hours: tuple[clock_time, clock_time]) -> bool:
    """Return True from begin on and before the end; hours may go over midnight."""
    begin, end = hours
    return begin <= now < end if begin < end else now >= begin or now < end


def check_tenant(settings: Settings) -> None:
    """Raise OptionError for quiet hours that can't be read."""
    read_hours(settings.gpu.quiet_hours, settings.origins[QUIET])


def reader_of(device: str) -> tuple[Callable[[], Reading], Reason | None]:
    """Return what reads the device of a worker: NVML for an NVIDIA GPU, else the RAM of this machine.

    The second value says, for the page, why an NVIDIA GPU can't be read; None when nothing is missing.
    """
    if device == "cpu" or not (Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi")):
        return read_memory, None
    try:
        import pynvml  # type: ignore[import-not-found, unused-ignore]

        pynvml.nvmlInit()
        handle = _gpu_of(pynvml, int(device.partition(":")[2] or 0))
    except ImportError:
        return read_memory, localize("jobs.tenant.no_nvml")
    except Exception as error:  # no GPU in use by this driver, or a driver without NVML
        return read_memory, localize("jobs.tenant.nvml_failed", error=str(error)[:200])
    return (lambda: read_gpu(pynvml, handle)), None


def _gpu_of(nvml: Any, index: int) -> Any:
    """Return NVML's handle of CUDA's GPU `index`, which counts only those in CUDA_VISIBLE_DEVICES."""
    visible = [one.strip() for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one.strip()]
    named = visible[index] if index < len(visible) else str(index)
    return nvml.nvmlDeviceGetHandleByIndex(int(named)) if named.isdecimal() else nvml.nvmlDeviceGetHandleByUUID(named)


def read_gpu(nvml: Any, handle: Any) -> Reading:
    """Return what NVML says of one GPU; what the GPU does not tell is None."""

    def read(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except nvml.NVMLError:
            return None

    processes = read(lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle)) or ()
    own = next((one.usedGpuMemory or 0 for one in processes if one.pid == os.getpid()), 0)
    milliwatts = read(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    return Reading(
        free=int(nvml.nvmlDeviceGetMemoryInfo(handle).free),
        own=int(own),
        temperature=read(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        watts=None if milliwatts is None else milliwatts / 1000,
    )


def read_memory() -> Reading:
    """Return the RAM that other programs leave free, and what this process holds."""
    return Reading(psutil.virtual_memory().available, psutil.Process().memory_info().rss)


def use_cpu_politely(values: Mapping[str, Any]) -> None:
    """Set niceness and cores of this process, before torch is imported and counts the cores."""
    process, niceness, share = psutil.Process(), int(values["cpu.niceness"]), float(values["cpu.share"])
    with suppress(psutil.Error, OSError):
        if niceness:
            process.nice(niceness if os.name != "nt" else psutil.BELOW_NORMAL_PRIORITY_CLASS)
    if share < 1.0:
        cores = sorted(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else list(range(os.cpu_count() or 1))
        count = max(1, round(share * len(cores)))
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(count)
        if hasattr(process, "cpu_affinity"):
            with suppress(psutil.Error, OSError):
                process.cpu_affinity(cores[:count])
