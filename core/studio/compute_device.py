"""The device that generates, as far as it can be known without torch, and how fast it computes."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from core.config.loader import PROJECT_ROOT
from core.inference import load_choices
from core.inference.load_choices import BF16_CAPABILITY, Hardware
from core.studio.gauges import nvidia_smi

log = logging.getLogger(__name__)

FRESH_SECONDS = 5.0  # a page asks at each run, and nvidia-smi takes a while
TIMEOUT = 120.0  # seconds for a calibration, most of which is the import of torch
EFFICIENCY = 0.4  # of large matrix products, that an image reaches: measured on an H200 (docs/performance.md)
_GPU = ("--query-gpu=name,compute_cap,memory.free,memory.total", "--format=csv,noheader,nounits")
_PROCESSES = ("--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")
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
                told = subprocess.run(
                    command, capture_output=True, text=True, timeout=TIMEOUT, check=True, cwd=PROJECT_ROOT
                )
                speeds = {**self._speeds(), key: float(told.stdout)}
                self._file.parent.mkdir(parents=True, exist_ok=True)
                part = self._file.with_suffix(f".{os.getpid()}.part")
                part.write_text(json.dumps(speeds, indent=1), encoding="utf-8")
                part.replace(self._file)
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                log.warning("the speed of %s was not measured: %s", device, error)


def _found(worker: int | None) -> ComputeDevice:
    """Return the first NVIDIA GPU if PyTorch is built for it, Apple's GPU, or the CPU."""
    lines = nvidia_smi(*_GPU).splitlines() if "+cpu" not in _torch_version() else []
    if lines:
        name, capability, free, _ = (part.strip() for part in lines[0].split(","))
        major, _, minor = capability.partition(".")
        level = (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)
        own = _used_by(worker, nvidia_smi(*_PROCESSES)) if worker is not None else 0
        room = int(free) * MIB + own if free.isdigit() else 0
        return ComputeDevice(Hardware("cuda", level >= BF16_CAPABILITY, capability=level), name, room, 0)
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
