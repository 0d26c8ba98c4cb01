"""What people ask of a cluster's workers: one more on this machine, or one less. As small files in the output folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from core.errors import NotWritableError
from core.jobs.job_writes import new_id

Verb = Literal["add", "drain"]
PREFIX = "staff-"


class WorkerRequests:
    """Asked by pages, taken by the dispatcher; each wish is taken once, in the order in which they came."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def ask(self, verb: Verb, name: str) -> None:
        """`add` a worker on a machine (its id), or `drain` a worker (its id). NotWritableError when it can't be said."""
        path = self._directory / f"{PREFIX}{new_id()}"
        part = path.with_suffix(".tmp")
        try:
            part.write_text(json.dumps([verb, name]), encoding="utf-8")
            part.replace(path.with_suffix(".wish"))
        except OSError as error:
            raise NotWritableError(path=path) from error

    def take(self) -> list[tuple[Verb, str]]:
        """The wishes that wait."""
        wishes = []
        for path in sorted(self._directory.glob(f"{PREFIX}*.wish")):
            try:
                verb, name = json.loads(path.read_text(encoding="utf-8"))
                if verb in ("add", "drain"):
                    wishes.append((verb, str(name)))
            except (OSError, ValueError, TypeError):
                continue
            finally:
                path.unlink(missing_ok=True)
        return wishes
