"""What the system page shows of the machine. Versions are read from installed metadata: nothing is imported for them.

What this module does not know: jobs, models, torch.
"""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from core.config.layers import Settings
from core.types import SystemReport, WorkerStatus

PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "streamlit", "SQLAlchemy", "pillow")
LOG_LINES = 200
LOG_BYTES = 128 * 1024  # the last lines are looked for in this much of the file's end


class Machine:
    """Looks anew at each call; some milliseconds. `log_file` need not exist yet."""

    def __init__(self, settings: Settings, log_file: Path) -> None:
        self._directory = settings.output_directory
        self._log_file = log_file

    def report(self, worker: WorkerStatus) -> SystemReport:
        """The machine now, with what the worker said of itself."""
        memory = psutil.virtual_memory()
        return SystemReport(
            python=platform.python_version(),
            platform=platform.platform(),
            versions=_versions(),
            cpu_count=os.cpu_count() or 1,
            memory_total=memory.total,
            memory_available=memory.available,
            disk_free=psutil.disk_usage(str(_existing(self._directory))).free,
            output_directory=str(self._directory),
            worker=worker,
            log_tail=_tail(self._log_file),
        )


def _versions() -> dict[str, str]:
    """The installed ones of PACKAGES."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _existing(directory: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (directory, *directory.parents) if path.exists())


def _tail(path: Path) -> tuple[str, ...]:
    """The last LOG_LINES lines; none when there is no log."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_BYTES))
            lines = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    whole = lines if size <= LOG_BYTES else lines[1:]  # the first may be the rest of a line
    return tuple(whole[-LOG_LINES:])
