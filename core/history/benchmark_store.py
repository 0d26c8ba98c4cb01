"""Store benchmarks of models and options with the votes about them, and studies of why two images differ.

A benchmark is a row with its columns, prompts and seeds; the images belong to the jobs of its columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from core.config.options import SCHEMA
from core.config.schema import AUTO
from core.errors import NotFoundError
from core.history.hidden_collections import EVERYTHING, Scope
from core.history.record_codec import new_id
from core.storage.database import Database, moment, timestamp
from core.storage.dialects import upsert
from core.storage.infotext import well_formed
from core.storage.tables import benchmark_votes, benchmarks, difference_studies
from core.types import STORED_OFFSET, Benchmark, BenchmarkColumn, Vote, WhyChange, WhyPlan, WhyStudy, cfg_of

VOTED_ON = ("comparison_id", "voter", "place", "one", "other")


class BenchmarkStore:
    """The benchmarks of one database."""

    def __init__(self, database: Database, scope: Callable[[], Scope] = lambda: EVERYTHING) -> None:
        """Open the benchmarks; `scope` is asked at each call which of them may be seen."""
        self._database = database
        self._scope = scope

    def seen_by(self, scope: Callable[[], Scope]) -> BenchmarkStore:
        """Return the same benchmarks as far as `scope` shows their jobs."""
        return BenchmarkStore(self._database, scope)

    def put(self, connection: Connection, benchmark: Benchmark) -> None:
        """Write a new one, in the transaction that writes its jobs."""
        values = {
            "id": benchmark.id,
            "created_at": timestamp(benchmark.created_at),
            "columns": [{**vars(column), "values": dict(column.values)} for column in benchmark.columns],
            "prompts": [well_formed(prompt) for prompt in benchmark.prompts],
            "seeds": list(benchmark.seeds),
        }
        connection.execute(insert(benchmarks).values(values))

    def get(self, benchmark_id: str) -> Benchmark:
        """Return a benchmark. Raises NotFoundError."""
        with self._database.reading() as connection:
            row = connection.execute(select(benchmarks).where(benchmarks.c.id == benchmark_id)).one_or_none()
            seen = row is not None and self._may_see(connection, row)
        if row is None or not seen:
            raise NotFoundError(kind="benchmark", value=benchmark_id)
        return _benchmark(row)

    def recent(self, limit: int = 50) -> Sequence[Benchmark]:
        """Return the latest benchmarks, the newest first."""
        latest = select(benchmarks).order_by(benchmarks.c.created_at.desc(), benchmarks.c.id.desc())
        with self._database.reading() as connection:
            seen = (row for row in connection.execute(latest) if self._may_see(connection, row))
            return [_benchmark(row) for row in islice(seen, limit)]

    def _may_see(self, connection: Connection, row: Row[Any]) -> bool:
        return self._scope().may_see_jobs(connection, [column["job"] for column in row.columns])

    def forget(self, benchmark_id: str) -> None:
        """Delete the benchmark with its votes; its images and jobs stay. Raises NotFoundError."""
        self.get(benchmark_id)
        with self._database.writing() as connection:
            connection.execute(delete(benchmarks).where(benchmarks.c.id == benchmark_id))

    def vote(self, benchmark_id: str, vote: Vote) -> None:
        """Keep a vote; another one by the same voter about the same two images takes its place. NotFoundError."""
        self.get(benchmark_id)
        values = {"comparison_id": benchmark_id, **vars(vote)}
        with self._database.writing() as connection:
            upsert(connection, benchmark_votes, values, *VOTED_ON)

    def votes(self, benchmark_id: str) -> Sequence[Vote]:
        """Return all votes about a benchmark, in the order of its images."""
        columns = benchmark_votes.c
        found = select(columns.place, columns.one, columns.other, columns.winner, columns.voter)
        mine = found.where(columns.comparison_id == benchmark_id)
        with self._database.reading() as connection:
            rows = connection.execute(mine.order_by(columns.place, columns.one, columns.other, columns.voter))
            return [Vote(*row) for row in rows]


def _benchmark(row: Row[Any]) -> Benchmark:
    created_at = moment(row.created_at)
    assert created_at is not None
    columns = tuple(BenchmarkColumn(**{**column, "values": _values(column["values"])}) for column in row.columns)
    return Benchmark(row.id, created_at, columns, tuple(row.prompts), tuple(row.seeds))


def _values(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return a column's values by present key; version 0.1.0 kept CFG - 1, and later ones the CFG scale."""
    values = SCHEMA.current(stored)
    guidance = values.pop("generation.guidance_scale", None)
    if guidance is not None:
        values["generation.cfg_scale"] = guidance if guidance == AUTO else cfg_of(guidance, STORED_OFFSET)
    return values


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
