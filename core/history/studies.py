"""Store studies of why two images differ. A study is a row with its plan and its jobs; the images are those of the jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from core.errors import NotFoundError
from core.history.record_codec import new_id
from core.history.visibility import EVERYTHING, Scope
from core.storage.database import Database, moment, timestamp
from core.storage.tables import difference_studies
from core.types import WhyChange, WhyPlan, WhyStudy


class StudyStore:
    """The studies of one database, as far as their jobs may be seen."""

    def __init__(self, database: Database, scope: Callable[[], Scope] = lambda: EVERYTHING) -> None:
        """Open the studies; `scope` is asked at each call which of them may be seen."""
        self._database = database
        self._scope = scope

    def seen_by(self, scope: Callable[[], Scope]) -> StudyStore:
        """Return the same studies as far as `scope` shows their jobs."""
        return StudyStore(self._database, scope)

    def put(self, connection: Connection, plan: WhyPlan, jobs: Sequence[str]) -> str:
        """Write a study in the transaction that writes its jobs; return its id."""
        created_at = datetime.now(UTC)
        row = {"id": new_id(created_at), "created_at": timestamp(created_at), "plan": _written(plan), "jobs": list(jobs)}
        connection.execute(insert(difference_studies), row)
        return str(row["id"])

    def get(self, study_id: str) -> WhyStudy:
        """Return a study. Raises NotFoundError."""
        with self._database.reading() as connection:
            wanted = select(difference_studies).where(difference_studies.c.id == study_id)
            row = connection.execute(wanted).one_or_none()
            seen = row is not None and self._scope().may_see_jobs(connection, row.jobs)
        if row is None or not seen:
            raise NotFoundError(kind="study", value=study_id)
        created_at = moment(row.created_at)
        assert created_at is not None
        return WhyStudy(row.id, created_at, _read(row.plan), tuple(row.jobs))


def _written(plan: WhyPlan) -> dict[str, Any]:
    changes = [
        {"before": dict(one.before), "after": dict(one.after), "environment": one.environment} for one in plan.changes
    ]
    return {**vars(plan), "changes": changes, "size": list(plan.size), "fixed": [list(one) for one in plan.fixed]}


def _read(stored: Mapping[str, Any]) -> WhyPlan:
    changes = tuple(WhyChange(**change) for change in stored["changes"])
    fixed = tuple((name, before, after) for name, before, after in stored["fixed"])
    width, height = stored["size"]
    return WhyPlan(stored["one"], stored["other"], changes, (width, height), fixed)
