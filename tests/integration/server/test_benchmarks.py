"""/api/v1/comparisons: from an order to the table, within the limits of the service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.jobs.harness import wait_for
from tests.integration.server.live import Served, serving

SMALL = {"width": 64, "height": 64, "steps": 2}
ORDER = {
    "columns": [{"model": "demo", "options": SMALL}, {"model": "demo", "profile": "draft", "options": SMALL}],
    "prompts": ["a red house", "红色的房子"],
    "seeds": [7, 8],
}


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{served.url}/api/v1", timeout=60) as client:
        yield client


def test_from_an_order_to_the_table(http: httpx.Client) -> None:
    answer = http.post("/comparisons", json=ORDER)
    assert answer.status_code == 202 and answer.json()["columns"][0]["wanted"] == 4
    place = answer.headers["location"].removeprefix("/api/v1")
    found: Any = wait_for(lambda: not (one := http.get(place).json())["active"] and one)
    assert found["prompts"] == ORDER["prompts"] and found["seeds"] == [7, 8] and found["complete"]
    assert [len(row["images"]) for row in found["columns"]] == [4, 4]
    assert found["columns"][0]["attributes_asked"] == 8, "four images, each asked for a thing and its colour"
    assert http.get("/comparisons").json()["comparisons"][0]["id"] == found["id"]
    table = http.get(f"{place}/table")
    assert table.headers["content-type"].startswith("text/csv") and len(table.text.splitlines()) > 2
    assert http.get(f"{place}/sheet").content.startswith(b"\x89PNG")
    assert http.delete(place).json()["complete"], "what is drawn stays"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"columns": ORDER["columns"][:1]}, "columns = 1"),
        ({"columns": [{"model": "/etc"}] * 2}, "There is no model /etc"),
        ({"columns": [{"model": "demo", "options": {"width": 8192, "height": 8192}}] * 2}, "service.max_pixels"),
        ({"columns": [{"model": "demo", "options": {"seed": 3}}] * 2}, "the same in every column"),
        ({"seeds": list(range(200))}, "images = 800"),
        ({"seeds": [7, 7]}, "each once"),
        ({"prompts": [3]}, "prompts"),
        ({"more": 1}, "more"),
    ],
)
def test_what_cannot_be_compared(http: httpx.Client, served: Served, changes: dict[str, Any], words: str) -> None:
    before = len(served.studio.benchmarks.recent(200))
    answer = http.post("/comparisons", json={**ORDER, **changes})
    assert answer.status_code == 422 and words in answer.json()["error"]["en"]
    assert len(served.studio.benchmarks.recent(200)) == before


def test_all_columns_or_none_find_room_in_the_queue(tmp_path: Path) -> None:
    with serving(tmp_path, **{"service.queue_per_client": 3}) as served:
        served.studio.queue.pause(True)
        with httpx.Client(base_url=f"{served.url}/api/v1", timeout=60) as http:
            assert http.post("/comparisons", json=ORDER).status_code == 202
            answer = http.post("/comparisons", json=ORDER)
            assert answer.status_code == 429 and answer.headers["retry-after"]
        assert len(served.studio.queue.active()) == 2 and len(served.studio.benchmarks.recent()) == 1


def test_unknown_ones(http: httpx.Client) -> None:
    for path in ("", "/table", "/sheet"):
        assert http.get(f"/comparisons/nothing{path}").status_code == 404
    assert http.delete("/comparisons/nothing").status_code == 404
