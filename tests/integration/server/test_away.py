"""A database that is away for a moment, as each dialect tells it: come back later, and nothing that runs is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from core.errors import DatabaseUnavailableError
from core.jobs.queue import JobQueue
from tests.integration.server.live import Served

SMALL = {"prompt": "a house", "width": 64, "height": 64}
CALLS = {
    "/api/v1/jobs": {**SMALL, "num_inference_steps": 2},
    "/sdapi/v1/txt2img": {**SMALL, "steps": 2},
    "/v1/images/generations": {"prompt": "a house", "size": "64x64"},
}
AWAY = DatabaseUnavailableError(path="postgresql://db/studio", detail="it is starting up")


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, int], None]]:
    """Let the next calls of a method of the queue fail, as while a server restarts."""

    def let_fail(method: str, times: int) -> None:
        real, left = getattr(JobQueue, method), [times]

        def call(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] >= 0:
                raise AWAY
            return real(*arguments, **named)

        monkeypatch.setattr(JobQueue, method, call)

    yield let_fail
    monkeypatch.undo()


@pytest.mark.parametrize("path", CALLS)
def test_a_job_that_cannot_be_queued_is_503_with_retry_after(
    served: Served, away: Callable[[str, int], None], path: str
) -> None:
    away("submit", 1)
    answer = httpx.post(served.url + path, json=CALLS[path], timeout=60)
    assert answer.status_code == 503 and answer.headers["Retry-After"] == "10", answer.text
    assert "DatabaseUnavailableError" in answer.text
    assert answer.headers.get("x-should-retry", "true") == "true"
    assert httpx.post(served.url + path, json=CALLS[path], timeout=60).is_success


@pytest.mark.parametrize("path", ["/sdapi/v1/txt2img", "/v1/images/generations"])
def test_a_call_waits_on_while_the_database_is_away(
    served: Served, away: Callable[[str, int], None], path: str
) -> None:
    served.fakes["fake.step_seconds"] = 0.05
    away("get", 2)
    away("marks", 2)
    assert httpx.post(served.url + path, json=CALLS[path], timeout=60).status_code == 200


def test_an_event_stream_goes_on_while_the_database_is_away(served: Served, away: Callable[[str, int], None]) -> None:
    served.fakes["fake.step_seconds"] = 0.1
    long = {**CALLS["/api/v1/jobs"], "num_inference_steps": 60}  # longer than it takes to open the stream
    job = httpx.post(f"{served.url}/api/v1/jobs", json=long, timeout=60).json()["id"]
    with httpx.stream("GET", f"{served.url}/api/v1/jobs/{job}/events", timeout=60) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "event: progress"
        away("get", 2)
        assert [line for line in lines if line.startswith("event:")][-1] == "event: end"


def test_what_a_full_queue_refuses_says_when_to_come_back(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.server.submission.check_total", _full)
    answer = httpx.post(f"{served.url}/sdapi/v1/txt2img", json=CALLS["/sdapi/v1/txt2img"], timeout=60)
    assert answer.status_code == 429 and answer.headers["Retry-After"] == "5"


def _full(_studio: object) -> None:
    from core.server.submission import QueueTotalError

    raise QueueTotalError(allowed=1)
