"""What a queue of ten thousand waiting jobs costs: the page, the API, and moves by ten people at once.

    python -m tests.benchmarks.long_queue                   10,000 jobs of ten clients
    python -m tests.benchmarks.long_queue --jobs 1000 --no-page

The queue is paused, so that nothing runs beside what is measured. The page needs Chromium and Playwright. Figures are
those of the machine as it is: its load is printed with them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from sqlalchemy import insert

from core.jobs.job_rows import GAP, new_id, row_of
from core.jobs.queue import JobQueue
from core.storage.database import Database
from core.storage.tables import jobs
from core.types import GenerationRequest, SubmitOptions
from tests.browser.chromium import launch, new_page, running_app

CLIENTS = 10
ASKED = {"prompt": "a red house at sunset, snowy mountains", "model": "demo"}
LOOKS = 20  # of each kind
MOVES = 10  # of each person


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--jobs", type=int, default=10_000)
    options.add_argument("--no-page", action="store_true")
    selected = options.parse_args()
    with tempfile.TemporaryDirectory() as name, running_app(Path(name), ZDARKROOM_MODEL__PRELOAD="false") as address:
        ids = fill(Path(name), address, selected.jobs)
        report: dict[str, object] = {"jobs": len(ids), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
        report["api_ms"] = summed(looks(address))
        report["move_ms"] = summed(moves(address, ids))
        if not selected.no_page:
            report["page_ms"] = summed(pages(address))
    for kind, found in report.items():
        print(f"{kind:10} {found}")
    print(json.dumps(report))


def fill(folder: Path, address: str, count: int) -> list[str]:
    """Pause the queue and write so many jobs like one that was ordered; return their ids."""
    httpx.patch(f"{address}/api/v1/queue", json={"paused": True}, timeout=60).raise_for_status()
    ordered = httpx.post(f"{address}/api/v1/jobs", json=ASKED, timeout=60).raise_for_status().json()["id"]
    database = Database(folder / "studio.db")
    request: GenerationRequest = JobQueue(database).get(ordered).request
    rows = [
        row_of(new_id(), request, SubmitOptions(client=f"http:{k % CLIENTS:016x}"), (k + 2) * GAP) for k in range(count)
    ]
    with database.writing() as connection:
        connection.execute(insert(jobs), rows)
    database.close()
    return [row["id"] for row in rows]


def looks(address: str) -> list[float]:
    """Return the seconds of calls that list the queue, each after a change."""
    took = []
    with httpx.Client(base_url=f"{address}/api/v1", timeout=60) as http:
        for k in range(LOOKS + 1):
            http.patch("/queue", json={"paused": True}).raise_for_status()
            began = time.perf_counter()
            listed = http.get("/queue").raise_for_status()
            took += [time.perf_counter() - began] if k else []
            assert listed.json()["total"] > LOOKS
    return took


def moves(address: str, ids: list[str]) -> list[float]:
    """Return the seconds of moves to anywhere, by ten people at once."""

    def move(person: int) -> list[float]:
        dice, took = random.Random(person), []
        with httpx.Client(base_url=f"{address}/api/v1", timeout=60) as http:
            for _ in range(MOVES):
                body = {"position": dice.randrange(1, len(ids))}
                began = time.perf_counter()
                http.patch(f"/jobs/{dice.choice(ids)}", json=body).raise_for_status()
                took.append(time.perf_counter() - began)
        return took

    with ThreadPoolExecutor(CLIENTS) as people:
        return [seconds for took in people.map(move, range(CLIENTS)) for seconds in took]


def pages(address: str) -> list[float]:
    """Return the seconds from the click on the queue's link to the button below its last row."""
    from playwright.sync_api import sync_playwright

    took = []
    with sync_playwright() as playwright:
        context = launch(playwright)
        page = new_page(context)
        page.goto(f"{address}/queue?lang=en")
        last = page.locator('[class*="st-key-following_"]').first  # below the rows
        last.wait_for()
        for _ in range(5):
            page.get_by_role("link", name="System").click()
            page.locator(".zd-card").first.wait_for()
            began = time.perf_counter()
            page.locator('[data-testid="stSidebarNav"], nav, header').get_by_role("link", name="Queue").first.click()
            last.wait_for()
            took.append(time.perf_counter() - began)
        assert context.browser is not None
        context.browser.close()
    return took


def summed(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "median": round(1000 * statistics.median(ordered), 1),
        "p99": round(1000 * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 1),
    }


if __name__ == "__main__":
    main()
