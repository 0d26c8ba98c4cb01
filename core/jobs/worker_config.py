"""What a supervisor tells the worker that it starts, and where in the output folder both find their files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config.options import SCHEMA
from core.storage.database import Database
from core.storage.files import Files
from core.storage.object_store import open_files
from core.storage.pixel_budget import OPTION, set_budget

DATABASE_FILE = "studio.db"
LOCK_FILE = "worker.lock"
LOG_FILE = "logs/worker.log"
OUTPUT_FILE = "logs/worker.out"  # what libraries print, and the last words of a crash

EXIT_LOCKED = 75  # another worker lives over this folder (EX_TEMPFAIL: try again later)
EXIT_DEVICE = 70  # the card failed in a way that only a new process mends; its job is queued again already
EXIT_CLUSTER = 72  # the Ray cluster can't be reached
EXIT_NO_WORKER = 73  # no worker of the cluster comes up
EXIT_IDLE = 71  # the model was idle for long: a new process has its memory back


def open_database(directory: Path, values: Mapping[str, Any]) -> Database:
    """The database that the settings name: on a server, or the file in the output folder. Raises as `Database` does."""
    return Database(str(values.get("storage.database") or "") or directory / DATABASE_FILE)


def open_store(directory: Path, values: Mapping[str, Any]) -> Files:
    """Return where the settings keep images: in the output folder, or where several machines reach them; set the pixel budget.

    Raises as `open_files`.
    """
    if (pixels := values.get(OPTION)) is not None:
        set_budget(int(pixels))
    return open_files(str(values.get("storage.images") or ""), directory)


@dataclass(frozen=True)
class WorkerConfig:
    """Everything a worker needs to know to begin: one JSON line on its stdin. Paths are absolute."""

    worker_id: str
    owner_pid: int  # the worker ends when this process is gone
    output_directory: Path
    configs: Path  # the folder with the model catalogue
    values: Mapping[str, Any]  # settings by schema key
    unloaded_from: int | None = None  # bytes of the worker before, which ended to give them back; load nothing unasked

    def to_line(self) -> str:
        """One line of plain ASCII."""
        return json.dumps({**vars(self), "values": dict(self.values)}, default=str) + "\n"

    @staticmethod
    def from_line(line: str | bytes) -> WorkerConfig:
        """The orders that `to_line` wrote; ValueError or KeyError when it is anything else."""
        data = json.loads(line)
        return WorkerConfig(
            worker_id=data["worker_id"],
            owner_pid=data["owner_pid"],
            output_directory=Path(data["output_directory"]),
            configs=Path(data["configs"]),
            values=SCHEMA.current(data["values"]),
            unloaded_from=data["unloaded_from"],
        )
