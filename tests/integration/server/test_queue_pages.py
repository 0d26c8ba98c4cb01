"""The queue over HTTP: own jobs first, pages by key, totals; event streams, capabilities, metrics and limits."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.config.loader import PROJECT_ROOT
from core.server.v1 import job_events, schemas
from tests.integration.server.live import Served, serving
from tests.options import measured

SMALL = {"prompt": "a house", "width": 64, "height": 64, "num_inference_steps": 1}


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A paused queue of 12 jobs of one client and one of another, the last of all."""
    folder = tmp_path_factory.mktemp("outputs")
    with serving(folder, **{"service.queue_total": 13, "server.metrics": True}) as running:
        running.studio.queue.pause(True)
        for number in range(13):
            client = "late" if number == 12 else "early"
            answer = httpx.post(f"{running.url}/api/v1/jobs", json=SMALL, headers={"X-Client-Id": client}, timeout=60)
            assert answer.status_code == 202
        yield running


def get(busy: Served, path: str, client: str = "late", **query: Any) -> Any:
    return httpx.get(f"{busy.url}/api/v1/{path}", params=query, headers={"X-Client-Id": client}, timeout=60).json()


def test_own_job_is_seen_whatever_its_position(busy: Served) -> None:
    seen = get(busy, "queue", limit=5)
    assert seen["total"] == 13 and seen["states"]["queued"] == 13 and seen["paused"]
    assert [job["position"] for job in seen["own"]] == [13]
    assert [job["position"] for job in seen["jobs"]] == [1, 2, 3, 4, 5]
    assert [job["position"] for job in get(busy, "queue", mine=True)["jobs"]] == [13]


def test_pages_by_key_have_every_job_once(busy: Served) -> None:
    ids, after = [], ""
    while after is not None:
        page = get(busy, "queue", limit=5, **({"after": after} if after else {}))
        ids += [job["id"] for job in page["jobs"]]
        after = page["next"]
    assert ids == [job.id for job in busy.studio.queue.active()] and len(set(ids)) == 13
    assert httpx.get(f"{busy.url}/api/v1/queue?after={'f' * 32}", timeout=60).status_code == 404


@pytest.mark.option("service.queue_total")
def test_a_full_queue_takes_no_more(busy: Served) -> None:
    answer = httpx.post(f"{busy.url}/api/v1/jobs", json=SMALL, headers={"X-Client-Id": "new"}, timeout=60)
    assert answer.status_code == 429 and answer.json()["error"]["code"] == "QueueTotalError"
    measured("service.queue_total", "13: a fourteenth job is refused with status 429")


def test_a_million_prompts_are_refused_before_any_is_read(busy: Served) -> None:
    answer = httpx.post(f"{busy.url}/api/v1/jobs", json={"prompts": ["a"] * 100_000}, timeout=60)
    assert answer.status_code in (413, 422, 429)


def test_streams_of_a_client_are_counted(busy: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_events, "MAX_STREAMS", 2)
    job = busy.studio.queue.active(1)[0].id
    address = f"{busy.url}/api/v1/jobs/{job}/events"
    with httpx.stream("GET", address, timeout=60) as one, httpx.stream("GET", address, timeout=60) as two:
        lines = [stream.iter_lines() for stream in (one, two)]  # kept: a stream ends with what reads it
        assert [next(line) for line in lines] == ["event: progress"] * 2
        assert httpx.get(address, timeout=60).status_code == 429


def test_capabilities_are_made_once(busy: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while models are not on this machine, each with an error that says so; again once a file has changed."""
    made, make = list[int](), schemas.capabilities
    monkeypatch.setattr(schemas, "capabilities", lambda studio: made.append(1) or make(studio))
    monkeypatch.setattr(schemas, "_minute", lambda: -1)  # whatever was made before belongs to another one
    answers = [httpx.get(f"{busy.url}/api/v1/capabilities", timeout=60) for _ in range(3)]
    assert len(made) == 1 and len({answer.content for answer in answers}) == 1
    assert answers[0].json()["limits"]["queue_total"] == 13
    lora = busy.studio.settings.output_directory / "a.safetensors"
    monkeypatch.setattr(busy.studio.lora_files, "folder", lora.parent)
    shutil.copy(PROJECT_ROOT / "core" / "demo" / "lora" / "ink-print.safetensors", lora)
    changed = httpx.get(f"{busy.url}/api/v1/capabilities", timeout=60).json()
    assert len(made) == 2 and "a" in {one["name"] for one in changed["loras"]}


@pytest.mark.option("server.metrics")
def test_metrics_are_prometheus_text_and_off_by_default(busy: Served, tmp_path: Path) -> None:
    answer = httpx.get(f"{busy.url}/metrics", timeout=60)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    assert 'zdarkroom_jobs{state="queued"} 13' in lines and "zdarkroom_queue_length 13" in lines
    assert all(line.rpartition(" ")[0] and float(line.rpartition(" ")[2]) >= 0 for line in lines)
    with serving(tmp_path) as plain:
        assert httpx.get(f"{plain.url}/metrics", timeout=60).status_code == 404
    measured("server.metrics", "true: /metrics has jobs by state, times, errors and memory; false: 404")
