"""What open tabs cost the server: its processor time while tabs watch a running job, in percent of one core.

    python -m tests.benchmarks.polling                      ten tabs for 60 s on the Generate page
    python -m tests.benchmarks.polling --tabs 3 --seconds 5 --page queue

The job draws in the worker, a process of its own, and the tabs live in Chromium: neither is counted. The figure of the
server alone, with no tab open, is measured first. Needs Chromium, Playwright, the embedded model and a machine that has
nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
from playwright.sync_api import sync_playwright

from tests.browser.chromium import launch, new_page, running_app

ENDLESS = {  # at work for longer than any measuring; a batch, because its job is the dearest to look at
    "prompts": ["a {red|blue} house, day"] * 4, "num_images": 64, "num_inference_steps": 100, "width": 512, "height": 512,
}  # fmt: skip
LIMIT = 10.0  # percent of one core, all tabs together


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tabs", type=int, default=10)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--page", choices=("", "queue"), default="", help="the page that the tabs show")
    selected = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_app(Path(folder)) as address, sync_playwright() as playwright:
        with httpx.Client(base_url=f"{address}/api/v1", timeout=60) as http:
            job_id = http.post("/jobs", json=ENDLESS).raise_for_status().json()["id"]
            while http.get(f"/jobs/{job_id}").json()["state"] != "running":
                time.sleep(0.5)
            server = server_of(address)
            alone = share(server, selected.seconds)
            context = launch(playwright)
            polls: list[str] = []
            context.on("request", lambda asked: polls.append(asked.url) if "/pulse?" in asked.url else None)
            for _ in range(selected.tabs):
                tab = new_page(context)
                tab.goto(f"{address}/{selected.page}?lang=en&job={job_id}")
                tab.locator(".st-key-queue_switches" if selected.page else ".st-key-pulse .words").wait_for()
            time.sleep(3)  # the last tab's own files are delivered
            polls.clear()
            watched = share(server, selected.seconds, tab.wait_for_timeout)
            state = http.get(f"/jobs/{job_id}").json()["state"]
            assert context.browser is not None
            context.browser.close()
            http.delete(f"/jobs/{job_id}")
    tabs = watched - alone
    rate = len(polls) / selected.seconds
    report = {"tabs": selected.tabs, "seconds": selected.seconds, "page": selected.page or "generate", "job": state,
              "alone_percent": round(alone, 2), "tabs_percent": round(tabs, 2), "limit_percent": LIMIT,
              "polls_per_second": round(rate, 1)}  # fmt: skip
    print(f"{selected.tabs} tabs: {tabs:.1f}% of one core (limit {LIMIT:g}%); the server with no tab open: {alone:.1f}%")
    print(
        f"they looked {rate:.1f} times a second: on a machine that is busy with other things it is less than they would"
    )
    print(json.dumps(report))


def server_of(address: str) -> psutil.Process:
    """Return the process that listens at this address."""
    port = int(address.rsplit(":", 1)[1])
    return next(
        child
        for child in psutil.Process().children(recursive=True)
        if any(
            found.laddr.port == port and found.status == psutil.CONN_LISTEN for found in child.net_connections("tcp")
        )
    )


def share(process: psutil.Process, seconds: float, wait: Callable[[float], object] | None = None) -> float:
    """Return its own processor time over this long, in percent of one core. `wait` takes milliseconds."""
    before, began = process.cpu_times(), time.monotonic()
    if wait is not None:  # Playwright tells of requests only while it waits itself
        wait(1000 * seconds)
    else:
        time.sleep(seconds)
    after = process.cpu_times()
    spent = after.user + after.system - before.user - before.system
    return 100 * spent / (time.monotonic() - began)


if __name__ == "__main__":
    main()
