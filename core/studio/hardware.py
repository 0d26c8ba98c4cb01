"""Read the device that generates, as far as it can be known without torch: its memory now and over the last hour, its speed."""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from core.config.loader import PROJECT_ROOT
from core.inference import load_choices
from core.inference.load_choices import BF16_CAPABILITY, Hardware

log = logging.getLogger(__name__)

FRESH_SECONDS = 5.0  # a page asks at each run, and nvidia-smi takes a while
CALIBRATION_TIMEOUT = 120.0  # seconds for a calibration, most of which is the import of torch
EFFICIENCY = 0.4  # of large matrix products, that an image reaches: measured on an H200 (docs/performance.md)
_DEVICE_QUERY = ("--query-gpu=name,compute_cap,memory.free,memory.total", "--format=csv,noheader,nounits")
_PROCESS_QUERY = ("--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")
MIB = 2**20


@dataclass(frozen=True)
class ComputeDevice:
    """What generates. Memory in bytes: `free` of the device, `host` of the machine; on a CPU both are the same."""

    hardware: Hardware
    name: str
    free: int
    host: int


class DeviceReader:
    """Reads the device anew every few seconds, and its speed once."""

    def __init__(self, cache: Path) -> None:
        """`cache` is the folder that the measured speeds are kept in."""
        self._file = cache / "speeds.json"
        self._seen: tuple[float, ComputeDevice] | None = None
        self._measuring = threading.Lock()

    def read(self, requested: str, worker: int | None, worker_memory: int) -> ComputeDevice:
        """Return the device that the option model.device selects; what the worker process holds counts as free."""
        now = time.monotonic()
        if self._seen is None or now - self._seen[0] > FRESH_SECONDS:
            self._seen = now, _found(worker)
        found, host = self._seen[1], psutil.virtual_memory().available + worker_memory
        if found.hardware.device == "cpu" or requested == "cpu":
            return ComputeDevice(load_choices.cpu(), platform.processor() or platform.machine(), host, host)
        return replace(found, free=found.free or host, host=host)

    def speed(self, device: ComputeDevice, dtype: str, wait: bool) -> float | None:
        """Return the operations a second that an image reaches; None while it is being measured, in the background.

        With `wait` it is measured at once where it is not known, which takes seconds.
        """
        key = f"{device.hardware.device}, {device.name}, {dtype}, torch {_torch_version()}"
        if (known := self._speeds().get(key)) is not None:
            return EFFICIENCY * known
        if wait:
            self._measure(device.hardware.device, dtype, key)
            measured = self._speeds().get(key)
            return None if measured is None else EFFICIENCY * measured
        if not self._measuring.locked():
            threading.Thread(
                target=self._measure, args=(device.hardware.device, dtype, key), name="calibration", daemon=True
            ).start()
        return None

    def _speeds(self) -> dict[str, float]:
        with suppress(OSError, ValueError):
            found = json.loads(self._file.read_text(encoding="utf-8"))
            if isinstance(found, dict):
                return {str(key): float(value) for key, value in found.items()}
        return {}

    def _measure(self, device: str, dtype: str, key: str) -> None:
        """Measure in a process of its own and keep what was found; a failure is written to the log."""
        with self._measuring:
            if key in self._speeds():
                return
            command = [sys.executable, "-m", "core.inference.calibration", device, dtype]
            try:
                finished = subprocess.run(
                    command, capture_output=True, text=True, timeout=CALIBRATION_TIMEOUT, check=True, cwd=PROJECT_ROOT
                )
                speeds = {**self._speeds(), key: float(finished.stdout)}
                self._file.parent.mkdir(parents=True, exist_ok=True)
                part = self._file.with_suffix(f".{os.getpid()}.part")
                part.write_text(json.dumps(speeds, indent=1), encoding="utf-8")
                part.replace(self._file)
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                log.warning("the speed of %s was not measured: %s", device, error)


def _found(worker: int | None) -> ComputeDevice:
    """Return the first NVIDIA GPU if PyTorch is built for it, Apple's GPU, or the CPU."""
    lines = nvidia_smi(*_DEVICE_QUERY).splitlines() if "+cpu" not in _torch_version() else []
    if lines:
        name, capability, free, _ = (part.strip() for part in lines[0].split(","))
        major, _, minor = capability.partition(".")
        level = (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)
        own = _used_by(worker, nvidia_smi(*_PROCESS_QUERY)) if worker is not None else 0
        free_bytes = int(free) * MIB + own if free.isdigit() else 0
        return ComputeDevice(Hardware("cuda", level >= BF16_CAPABILITY, capability=level), name, free_bytes, 0)
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return ComputeDevice(load_choices.apple_gpu(), platform.processor(), 0, 0)
    return ComputeDevice(load_choices.cpu(), platform.processor(), 0, 0)


def _used_by(process: int, text: str) -> int:
    """Return the bytes that a process holds on the GPU."""
    rows = [line.split(",") for line in text.splitlines()]
    return sum(int(row[1]) * MIB for row in rows if row[0].strip() == str(process) and row[1].strip().isdigit())


def _torch_version() -> str:
    try:
        return version("torch")
    except PackageNotFoundError:
        return ""


SAMPLE_SECONDS = 10.0  # seconds between two samples
SAMPLES_KEPT = 360  # samples: an hour
_SAMPLE_QUERY = "--query-gpu=memory.used,memory.total,utilization.gpu,temperature.gpu"
SMI_TIMEOUT = 5.0  # seconds for nvidia-smi


@dataclass(frozen=True)
class GpuSample:
    """One GPU: memory in bytes, load in percent, temperature in °C; None for what the driver does not tell."""

    memory_used: int | None
    memory_total: int | None
    load: float | None
    temperature: float | None


@dataclass(frozen=True)
class Sample:
    """One moment. Memory in bytes; `worker` is the resident memory of the worker process, None without one."""

    at: datetime  # aware, UTC
    memory_used: int
    memory_total: int
    worker: int | None
    gpus: tuple[GpuSample, ...]


class Gauges:
    """The samples of the last hour. Takes one every EVERY seconds from `start` to `stop`, a few milliseconds each."""

    def __init__(self, worker_memory: Callable[[], int | None]) -> None:
        self._worker_memory = worker_memory
        self._samples: deque[Sample] = deque(maxlen=SAMPLES_KEPT)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin sampling; nothing when it has begun."""
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="gauges", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End sampling within a moment."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=SMI_TIMEOUT)
            self._thread = None

    def samples(self) -> Sequence[Sample]:
        """Return what was sampled, oldest first."""
        return tuple(self._samples)

    def take(self) -> Sample:
        """Take a sample now and keep it."""
        memory = psutil.virtual_memory()
        sample = Sample(
            datetime.now(UTC), memory.total - memory.available, memory.total, self._worker_memory(), read_gpus()
        )
        self._samples.append(sample)
        return sample

    def _run(self) -> None:
        while True:
            self.take()
            if self._stop.wait(SAMPLE_SECONDS):
                return


def read_gpus() -> tuple[GpuSample, ...]:
    """Return the NVIDIA GPUs as nvidia-smi tells them; none where it is missing or fails."""
    return parse_gpus(nvidia_smi(_SAMPLE_QUERY, "--format=csv,noheader,nounits"))


def nvidia_smi(*options: str) -> str:
    """Return what nvidia-smi prints; "" where it is missing or fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        return subprocess.run(
            [program, *options], capture_output=True, text=True, timeout=SMI_TIMEOUT, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def parse_gpus(text: str) -> tuple[GpuSample, ...]:
    """Parse the lines of nvidia-smi: MiB used, MiB in all, percent, °C; "[N/A]" for what is not known."""
    found = []
    for line in text.splitlines():
        values = [_number(part) for part in line.split(",")]
        if len(values) == 4:
            used, total, load, temperature = values
            found.append(GpuSample(_mib(used), _mib(total), load, temperature))
    return tuple(found)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _mib(value: float | None) -> int | None:
    return None if value is None else int(value) << 20
