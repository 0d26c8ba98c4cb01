"""Pass settings to a worker process, and locate the files that it shares with its supervisor."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config.options import SCHEMA
from core.config.schema import AUTO
from core.jobs.job_log import JobLog
from core.storage.database import Database
from core.storage.files import Files
from core.storage.object_store import open_files
from core.storage.pixel_budget import OPTION, set_budget

DATABASE_FILE = "studio.db"
LOCK_FILE = "worker.lock"
LOG_FILE = "logs/worker.log"
OUTPUT_FILE = "logs/worker.out"  # what libraries print, and the last words of a crash


def open_database(directory: Path, values: Mapping[str, Any]) -> Database:
    """Open the database that the settings name: on a server, or the file in the output folder."""
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
    """All that a worker needs to begin: one JSON line on its stdin. Paths are absolute."""

    worker_id: str
    parent_pid: int  # the worker ends when this process is gone
    output_directory: Path
    configs: Path  # the folder with the model catalogue
    values: Mapping[str, Any]  # settings by schema key
    unloaded_from: int | None = None  # bytes of the worker before, which ended to give them back; load nothing unasked

    def to_line(self) -> str:
        """Return one line of ASCII."""
        return json.dumps({**vars(self), "values": dict(self.values)}, default=str) + "\n"

    def job_log(self) -> JobLog:
        """Return the log of ended jobs; it writes nothing unless `worker.job_log` is set."""
        return JobLog(self.output_directory, bool(self.values.get("worker.job_log")))

    @staticmethod
    def from_line(line: str | bytes) -> WorkerConfig:
        """Read what `to_line` wrote. ValueError or KeyError for anything else."""
        data = json.loads(line)
        return WorkerConfig(
            worker_id=data["worker_id"],
            parent_pid=data["parent_pid"],
            output_directory=Path(data["output_directory"]),
            configs=Path(data["configs"]),
            values=SCHEMA.current(data["values"]),
            unloaded_from=data["unloaded_from"],
        )


ALLOCATOR_VARIABLE = "PYTORCH_CUDA_ALLOC_CONF"


def allocator_settings(values: Mapping[str, Any], given: str = "", platform: str = sys.platform) -> str:
    """Return settings for PyTorch's CUDA allocator, such as "expandable_segments:True,max_split_size_mb:128".

    "" leaves all to PyTorch. `given` is the present value of the variable: set by the user, it wins. PyTorch reads the
    variable when it starts and never again, so it is set for the new process.
    """
    if given:
        return given
    wanted = values["memory.expandable_segments"]
    expand = platform == "linux" if wanted == AUTO else wanted == "on"
    parts = {"expandable_segments": "True"} if expand else {}
    if values["memory.max_split_size_mb"] != AUTO:
        parts["max_split_size_mb"] = str(values["memory.max_split_size_mb"])
    return ",".join(f"{name}:{value}" for name, value in parts.items())
