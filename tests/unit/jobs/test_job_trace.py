"""The spans of a job, as an OpenTelemetry SDK would get them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan, Tracer, get_current_span

from core.errors import GenerationError
from core.jobs import job_trace
from core.jobs.generator_protocol import LazyGenerator
from core.jobs.runner import JobRunner
from core.jobs.worker_process import DATABASE_FILE, open_database
from core.types import JobState
from tests.databases import put_database
from tests.integration.jobs.fake_generator import FakeGenerator
from tests.integration.jobs.harness import JobQueue, make_request


class Recorded(NonRecordingSpan):
    def __init__(self, name: str, parent: Any, attributes: Any) -> None:
        super().__init__(INVALID_SPAN_CONTEXT)
        self.name, self.parent, self.attributes, self.status = name, parent, dict(attributes or {}), None
        self.ends = 0

    def set_attribute(self, key: str, value: Any) -> None:
        self.attributes[key] = value

    def set_status(self, status: Any, description: str | None = None) -> None:
        self.status = status

    def end(self, end_time: int | None = None) -> None:
        self.ends += 1


class Recorder(Tracer):
    def __init__(self) -> None:
        self.spans: list[Recorded] = []

    def start_span(self, name: str, context: Any = None, kind: Any = None, attributes: Any = None, **_: Any) -> Any:
        self.spans.append(Recorded(name, get_current_span(context) if context else None, attributes))
        return self.spans[-1]

    def start_as_current_span(self, name: str, context: Any = None, **_: Any) -> Any:
        recorder = self

        class Current:
            def __enter__(self) -> Any:
                self.span = recorder.start_span(name, context)
                return self.span

            def __exit__(self, *_: object) -> None:
                self.span.end()

        return Current()


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(job_trace, "_tracer", recorder)
    return recorder


def run(folder: Path, **changes: Any) -> JobState:
    put_database(folder / DATABASE_FILE)
    database = open_database(folder, {"storage.database": ""})
    JobQueue(database).submit(make_request("secret words", num_inference_steps=2, **changes))
    ended = JobRunner("one", database, folder, LazyGenerator(FakeGenerator), lambda state: None, threading.Event())
    result = ended.run_next()
    assert result is not None
    return result[1]


def test_each_part_of_a_job_is_a_span_below_it(recorder: Recorder, tmp_path: Path) -> None:
    assert run(tmp_path, num_images=2) is JobState.DONE
    job, *parts = recorder.spans
    beside = [one.name for one in parts if one.name != "save"]
    assert (job.name, beside) == ("job", ["queue", "load", "encode", "denoise", "decode", "denoise", "decode"])
    assert [one.name for one in parts].count("save") == 2
    assert {one.parent for one in parts} == {job} and {one.ends for one in recorder.spans} == {1}
    assert job.attributes["job.state"] == "done" and job.attributes["job.images"] == 2
    assert "secret" not in str([one.attributes for one in recorder.spans])


def test_a_job_that_fails_has_its_errors_code(recorder: Recorder, tmp_path: Path) -> None:
    assert run(tmp_path, fake_fails="value") is JobState.FAILED
    job = recorder.spans[0]
    assert not job.status.is_ok and job.status.description == GenerationError(detail="").code
    assert {one.ends for one in recorder.spans} == {1}
