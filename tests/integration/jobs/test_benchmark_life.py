"""A benchmark over a real worker process: each model loaded once, every cell once whatever is killed, all of it cancelled."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.benchmark import plan
from core.benchmark.report import BenchmarkReport, cancel, jobs, report, retry
from core.benchmark.votes import questions
from core.jobs.supervisor import WorkerSupervisor
from core.studio import Studio, bootstrap
from core.studio.bootstrap import build_studio
from core.types import Benchmark, HistoryQuery, JobState, ModelInfo
from tests.integration.jobs.harness import FAKE, make_settings, wait_for

PROMPTS, SEEDS = ("红色的房子", "a blue car"), (7, 8, 9)


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    """A studio whose worker draws plain images, with three models that all can be drawn with."""
    monkeypatch.setattr(bootstrap, "WorkerSupervisor", partial(WorkerSupervisor, generator=FAKE))
    built = build_studio(make_settings(tmp_path))
    known = built.catalog.find("demo")
    infos = {name: ModelInfo(**{**vars(known), "id": name, "place": "path"}) for name in ("one", "two")}
    catalog: Any = built.catalog
    monkeypatch.setattr(catalog, "find", lambda model: infos.get(model, known))
    queue: Any = built.queue
    prepare = queue.prepare
    monkeypatch.setattr(queue, "prepare", lambda request: _slow(prepare(request)))
    yield built
    built.stop()


def _slow(request: Any) -> Any:
    return replace(request, options={**request.options, "fake.step_seconds": 0.02})


def begin(studio: Studio, *models: str) -> Benchmark:
    specs = [plan.ColumnSpec(model, values={"num_inference_steps": 4, "width": 64, "height": 64}) for model in models]
    return plan.start(studio, specs, PROMPTS, SEEDS)


def ended(studio: Studio, benchmark: Benchmark) -> BenchmarkReport:
    wait_for(lambda: not any(job.state.active for job in jobs(studio, benchmark)))
    return report(studio, benchmark)


def test_each_model_is_loaded_once_and_every_cell_is_where_it_belongs(studio: Studio) -> None:
    benchmark = begin(studio, "one", "two", "one")
    assert [column.name for column in benchmark.columns] == ["one", "two", "one (2)"]
    studio.start()
    found = ended(studio, benchmark)
    assert found.complete and found.fraction == 1 and not found.active
    order = sorted(jobs(studio, benchmark), key=lambda job: job.started_at or job.created_at)
    assert [job.request.model for job in order] == ["one", "one", "two"]
    assert studio.worker.status().versions["loads"] == "2", "columns of one model are drawn one after another"
    for measured, model in zip(found.columns, ("one", "two", "one"), strict=True):
        requests = [record.request for record in measured.images if record]
        assert [(one.prompt, one.seed) for one in requests] == list(benchmark.cells)
        assert {one.model for one in requests} == {model}
        assert measured.figures.made == 6 and measured.figures.seconds and measured.figures.steps_per_second
        assert measured.figures.obeyed is None, "only the shipped model's images are judged"
    assert len(questions(found, "anna")) == 6 * 3


@pytest.mark.skipif(sys.platform == "win32", reason="kills with POSIX signals")
@pytest.mark.slow
def test_killed_workers_leave_every_cell_once(studio: Studio) -> None:
    benchmark = begin(studio, "one", "two")
    studio.start()
    dice = random.Random(6)
    for made in (3, 6):
        wait_for(lambda least=made: studio.worker.status().pid and report(studio, benchmark).made >= least)
        time.sleep(dice.uniform(0, 0.1))
        pid = studio.worker.status().pid
        if pid is not None and psutil.pid_exists(pid):
            psutil.Process(pid).kill()
    found = ended(studio, benchmark)
    while not found.complete:  # a job that was hit three times is set aside, and retried as its user would
        retry(studio, benchmark)
        found = ended(studio, benchmark)
    assert sum(job.crashes for job in jobs(studio, benchmark)) > 0
    page = studio.history.search(HistoryQuery(limit=100))
    assert page.total == found.wanted == 12
    assert {record.id for measured in found.columns for record in measured.images if record} == {
        record.id for record in page.records
    }


@pytest.mark.slow
def test_a_cancelled_one_keeps_what_is_made_and_can_go_on(studio: Studio) -> None:
    benchmark = begin(studio, "one", "two")
    studio.start()
    wait_for(lambda: report(studio, benchmark).made >= 2)
    cancel(studio, benchmark)
    found = ended(studio, benchmark)
    assert {job.state for job in jobs(studio, benchmark)} == {JobState.CANCELLED}
    assert 2 <= found.made < found.wanted and found.fraction == 1 and not found.complete
    kept = {record.id for measured in found.columns for record in measured.images if record}
    retry(studio, benchmark)
    found = ended(studio, benchmark)
    assert found.complete and kept < {record.id for measured in found.columns for record in measured.images if record}


@pytest.mark.slow
def test_deleted_images_are_gaps(studio: Studio) -> None:
    benchmark = begin(studio, "one", "two")
    studio.start()
    found = ended(studio, benchmark)
    gone = found.columns[0].images[1]
    assert gone is not None
    studio.history.trash([gone.id])
    assert report(studio, benchmark).complete, "what is in the trash is not gone"
    studio.history.empty_trash()
    found = report(studio, benchmark)
    assert [record is None for record in found.columns[0].images] == [False, True, *[False] * 4]
    assert found.columns[0].figures.made == 5 and not found.complete
