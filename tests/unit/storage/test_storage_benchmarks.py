"""Comparisons are written with their jobs or not at all; votes are kept one for each voter and pair."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from core.errors import NotFoundError
from core.history.benchmark_store import BenchmarkStore
from core.jobs.queue import JobQueue
from core.storage.database import Database
from core.types import Benchmark, BenchmarkColumn, Vote
from tests.integration.jobs.harness import make_request

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
COLUMNS = (
    BenchmarkColumn("demo", "demo", {}, 28_000_000, True, "a"),
    BenchmarkColumn("XL · steps 4", "sdxl", {"profile": "draft", "generation.num_inference_steps": 4}, job="b"),
)


def benchmark(number: int = 1) -> Benchmark:
    return Benchmark(f"{number:032x}", NOW + timedelta(hours=number), COLUMNS, ("红色的房子", "a car"), (7, 2**32 - 1))


def kept(database: Database, *found: Benchmark) -> BenchmarkStore:
    store = BenchmarkStore(database)
    with database.writing() as connection:
        for one in found:
            store.put(connection, one)
    return store


def test_what_was_put_is_there_newest_first(database: Database) -> None:
    store = kept(database, benchmark(1), benchmark(3), benchmark(2))
    assert store.get(benchmark(2).id) == benchmark(2)
    assert [one.id for one in store.recent(2)] == [benchmark(3).id, benchmark(2).id]
    assert benchmark().cells[1] == ("红色的房子", 2**32 - 1) and len(benchmark().cells) == 4


def test_jobs_and_benchmark_are_one_transaction(database: Database) -> None:
    queue, store = JobQueue(database), BenchmarkStore(database)
    own = tuple({"seed": seed} for seed in (1, 2))
    requests = [replace(make_request(), num_images=2, images=own), make_request("another")]

    def keep(connection, ids):
        assert len(set(ids)) == 2
        store.put(connection, benchmark())

    jobs = queue.submit_all(requests, None, keep)
    assert [job.request for job in jobs] == requests == [job.request for job in queue.active(10)]
    assert store.get(benchmark().id)
    with pytest.raises(ZeroDivisionError):
        queue.submit_all(requests, None, lambda connection, ids: (store.put(connection, benchmark(2)), 1 / 0))
    assert len(queue.active(10)) == 2 and len(store.recent(10)) == 1


def test_votes_replace_those_of_the_same_voter_and_go_with_their_benchmark(database: Database) -> None:
    store, one = kept(database, benchmark(1), benchmark(2)), benchmark(1).id
    for winner in (0, 1, None):
        store.vote(one, Vote(1, 0, 1, winner, "anna"))
    store.vote(one, Vote(1, 0, 1, 0, "ben"))
    store.vote(benchmark(2).id, Vote(1, 0, 1, 0, "anna"))
    assert store.votes(one) == [Vote(1, 0, 1, None, "anna"), Vote(1, 0, 1, 0, "ben")]
    store.forget(one)
    assert store.votes(one) == [] and [found.id for found in store.recent(9)] == [benchmark(2).id]


def test_unknown_ones(database: Database) -> None:
    store = BenchmarkStore(database)
    for ask in (store.get, store.forget, lambda name: store.vote(name, Vote(1, 0, 1, 0))):
        with pytest.raises(NotFoundError):
            ask("f" * 32)
