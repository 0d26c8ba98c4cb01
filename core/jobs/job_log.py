"""One JSON line for each run of a job, for whoever collects logs. Prompts are never in it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.types import Job, JobState

FILE = "logs/jobs.jsonl"  # below the output folder of the machine that runs the jobs
MAX_BYTES, BACKUPS = 10_000_000, 3

log = logging.getLogger(__name__)


class JobLog:
    """The file that the lines are appended to, rotated at 10 MB. Thread-safe; nothing is written unless `worker.job_log` is set."""

    def __init__(self, directory: Path, values: Mapping[str, Any]) -> None:
        self._handler: RotatingFileHandler | None = None
        if values.get("worker.job_log"):
            path = directory / FILE
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handler = RotatingFileHandler(
                path, maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8", delay=True
            )

    def write(self, job: Job, state: JobState, error: StudioError | None, seconds: float) -> None:
        """Append the line of a job that ran for `seconds` and is in `state` now; queued: it was paused or interrupted."""
        if self._handler is not None:
            line = json.dumps(_line(job, state, error, seconds), ensure_ascii=False)
            self._handler.emit(logging.makeLogRecord({"msg": "%s", "args": (line,)}))


def _line(job: Job, state: JobState, error: StudioError | None, seconds: float) -> dict[str, Any]:
    request = job.request
    waited = (job.started_at - job.created_at).total_seconds() if job.started_at is not None else None
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "job": job.id,
        "state": state,
        "client": job.client,
        "model": request.model,
        "images": request.num_images,
        "width": request.width,
        "height": request.height,
        "steps": request.num_inference_steps,
        "wait_seconds": waited,
        "run_seconds": round(seconds, 3),
        "crashes": job.crashes,
        "error": error.code if error is not None else None,
    }
