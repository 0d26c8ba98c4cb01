"""Memory and GPU of this machine over the last hour, sampled in the background for the charts of the System page."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil

EVERY = 10.0  # seconds between two samples
KEPT = 360  # samples: an hour
_QUERY = "--query-gpu=memory.used,memory.total,utilization.gpu,temperature.gpu"
_TIMEOUT = 5.0  # seconds for nvidia-smi


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
        self._samples: deque[Sample] = deque(maxlen=KEPT)
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
            self._thread.join(timeout=_TIMEOUT)
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
            if self._stop.wait(EVERY):
                return


def read_gpus() -> tuple[GpuSample, ...]:
    """Return the NVIDIA GPUs as nvidia-smi tells them; none where it is missing or fails."""
    return parse_gpus(nvidia_smi(_QUERY, "--format=csv,noheader,nounits"))


def nvidia_smi(*options: str) -> str:
    """Return what nvidia-smi prints; "" where it is missing or fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        return subprocess.run([program, *options], capture_output=True, text=True, timeout=_TIMEOUT, check=True).stdout
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
