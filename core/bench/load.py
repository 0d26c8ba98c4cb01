"""Call the running app from several clients at once and measure it: `bench load --clients 10`.

The app runs as a process of its own over a temporary folder, with the settings of `--set` (such as worker.executor=ray or
storage.database=...). Each client is a thread with one connection: it queues jobs, moves one to the front, cancels one, reads
the queue, follows the others as event streams, fetches their images, and generates over A1111's and OpenAI's API. Afterwards
every job is looked at: an image that is lost or stored twice is an error.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from core.cli.console import DONE, FAILED, SOURCE, whole_number
from core.cli.generate import pair
from core.config.loader import PROJECT_ROOT
from core.config.options import SCHEMA
from core.errors import StudioError
from core.i18n import localize

PROMPT = "a red house at sunset, snowy mountains"
JOBS = 4  # of each round of each client: the first is moved, the second cancelled
START_SECONDS = 180.0
CALL_SECONDS = 600.0
OWN_SETTINGS = {  # of the app under test, whatever the settings of this folder say
    "server.host": "127.0.0.1",
    "access.token": "",
    "storage.database": "",
    "storage.images": "",
    "service.queue_per_client": 1000,
    "service.queue_total": 100000,
}
_REFUSALS = {"move": (409,), "cancel": (409,)}  # the job has begun, or ended, meanwhile


class Calls:
    """Seconds and failures of every kind of call. Thread-safe."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.errors: list[str] = []
        self._guard = threading.Lock()

    def add(self, kind: str, seconds: float) -> None:
        """Count a call."""
        with self._guard:
            self.seconds[kind].append(seconds)

    def fail(self, text: str) -> None:
        """Note an error."""
        with self._guard:
            self.errors.append(text[:200])


class Client:
    """One client: what it calls, in order, over one connection."""

    def __init__(self, port: int, number: int, size: tuple[int, int], model: str, calls: Calls) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CALL_SECONDS)
        self._headers = {"X-Client-Id": f"load {number}", "Content-Type": "application/json"}
        self._dice = random.Random(number)
        self._side, self._steps = size
        self._model = model
        self._calls = calls
        self.jobs: list[str] = []
        self.cancelled: set[str] = set()
        self.direct = 0  # images of A1111's and OpenAI's API

    def run(self, rounds: int) -> None:
        """Do so many rounds; an error ends them and is noted."""
        try:
            for turn in range(rounds):
                self._round(turn)
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            self._calls.fail(f"{type(error).__name__}: {error}")
        finally:
            self._connection.close()

    def _round(self, turn: int) -> None:
        own: dict[str, Any] = {"prompt": PROMPT, "width": self._side, "height": self._side, "model": self._model}
        order = {**own, "num_inference_steps": self._steps}
        queued = [
            self.call("submit", "POST", "/api/v1/jobs", {**order, "seed": self._seed()})["id"] for _ in range(JOBS)
        ]
        self.jobs += queued
        self.call("move", "PATCH", f"/api/v1/jobs/{queued[0]}", {"position": 1})
        self.call("cancel", "DELETE", f"/api/v1/jobs/{queued[1]}")
        self.cancelled.add(queued[1])
        self.call("queue", "GET", "/api/v1/queue?limit=50")
        for job in (queued[0], *queued[2:]):
            self._follow(job)
            for image in self.call("job", "GET", f"/api/v1/jobs/{job}")["images"]:
                self.call("thumbnail", "GET", f"/api/v1/thumbnails/{image['id']}")
                self.call("image", "GET", f"/api/v1/images/{image['id']}")
        if turn % 2:
            body: dict[str, Any] = {"prompt": PROMPT, "size": f"{self._side}x{self._side}", "model": self._model}
            self.direct += len(self.call("OpenAI", "POST", "/v1/images/generations", body)["data"])
        else:
            body = {**own, "steps": self._steps, "seed": self._seed()}
            del body["model"]
            self.direct += len(self.call("A1111", "POST", "/sdapi/v1/txt2img", body)["images"])

    def _seed(self) -> int:
        return self._dice.randrange(2**32)

    def call(self, kind: str, method: str, path: str, body: Any = None) -> Any:
        """Call, count the seconds, and return the JSON of the answer; {} for a refusal that was to be expected."""
        data = None if body is None else json.dumps(body)
        began = time.perf_counter()
        self._connection.request(method, path, data, self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        self._calls.add(kind, time.perf_counter() - began)
        if answer.status in _REFUSALS.get(kind, ()):
            return {}
        if answer.status >= 400:
            self._calls.fail(f"{kind}: {answer.status} {content[:150]!r}")
        return json.loads(content) if "json" in (answer.headers.get("Content-Type") or "") else {}

    def _follow(self, job: str) -> None:
        """Read the event stream of a job to its end; the seconds are those to its first event."""
        began = time.perf_counter()
        self._connection.request("GET", f"/api/v1/jobs/{job}/events", headers=self._headers)
        answer = self._connection.getresponse()
        first = answer.readline()
        self._calls.add("first event", time.perf_counter() - began)
        rest = answer.read()
        if answer.status != 200 or b"event: end" not in first + rest:
            self._calls.fail(f"events: {answer.status} without an end")


def run(arguments: argparse.Namespace, configs: Path) -> int:
    """Print a table and, as the last line, JSON. Exit code 1 when a call failed, or an image is lost or stored twice."""
    clients = whole_number("--clients", arguments.clients, 1, 200)
    rounds = whole_number("--runs", arguments.runs, 1, 1000)
    size = (
        whole_number("--side", arguments.side or "128", 64, 4096),
        whole_number("--steps", arguments.steps or "2", 1, 200),
    )
    given = {SCHEMA.find(key, SOURCE).key: value for key, value in map(pair, arguments.set)}
    settings = {**OWN_SETTINGS, "model.id": arguments.model, **given}
    calls = Calls()
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        running_app(Path(folder), settings, configs) as app,
    ):
        port, process = app
        warm = Client(port, 0, size, arguments.model, Calls())
        warm.run(1)  # the model is loaded
        before, began = _memory(process), time.perf_counter()
        running = [Client(port, number, size, arguments.model, calls) for number in range(1, clients + 1)]
        threads = [threading.Thread(target=client.run, args=(rounds,)) for client in running]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - began
        images = _check(Client(port, 0, size, arguments.model, Calls()), running, calls)
        report = _report(calls, clients, seconds, images, _memory(process) - before)
    print(_table(report))
    print(json.dumps(report))
    return FAILED if calls.errors else DONE


def _check(client: Client, ran: Sequence[Client], calls: Calls) -> int:
    """Note every image that is lost or stored twice; return how many there are."""
    seen: list[str] = []
    for one in ran:
        for job_id in one.jobs:
            job = client.call("check", "GET", f"/api/v1/jobs/{job_id}")
            ids = [image["id"] for image in job["images"]]
            cancelled = job_id in one.cancelled and job["state"] == "cancelled"
            if not cancelled and (job["state"] != "done" or len(ids) != 1):
                calls.fail(f"job {job_id}: {job['state']} with {len(ids)} images")
            seen += ids
    if len(set(seen)) != len(seen):
        calls.fail(f"{len(seen) - len(set(seen))} images belong to two jobs")
    return len(seen) + sum(one.direct for one in ran)


def _report(calls: Calls, clients: int, seconds: float, images: int, grown: int) -> dict[str, Any]:
    kinds = {
        kind: {
            "calls": len(took),
            "median_ms": round(1000 * statistics.median(took), 1),
            "p99_ms": round(1000 * sorted(took)[min(len(took) - 1, int(0.99 * len(took)))], 1),
        }
        for kind, took in calls.seconds.items()
    }
    return {
        "clients": clients,
        "seconds": round(seconds, 1),
        "images": images,
        "images_per_second": round(images / seconds, 2),
        "memory_growth_mb": round(grown / 1e6, 1),
        "errors": calls.errors[:20],
        "kinds": kinds,
    }


def _table(report: Mapping[str, Any]) -> str:
    rows = [
        f"{kind:12}{one['calls']:8}{one['median_ms']:12.1f}{one['p99_ms']:12.1f}"
        for kind, one in report["kinds"].items()
    ]
    return "\n".join(
        (
            f"{report['clients']} clients, {report['images']} images in {report['seconds']} s: "
            f"{report['images_per_second']} images/s; memory {report['memory_growth_mb']:+} MB; "
            f"{len(report['errors'])} errors",
            f"{'call':12}{'calls':>8}{'median ms':>12}{'p99 ms':>12}",
            *rows,
            *report["errors"],
        )
    )


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_app(folder: Path, settings: Mapping[str, Any], configs: Path) -> Iterator[tuple[int, psutil.Process]]:
    """Start the app on a free port, and yield its URL once its worker is ready; stop it with the block. Raises StudioError."""
    port = free_port()
    settings = {**settings, "server.port": port, "output.directory": folder}
    environment = {f"ZDARKROOM_{key.upper().replace('.', '__')}": str(value) for key, value in settings.items()}
    command = [sys.executable, "-m", "ui.serve"]
    with running_server(command, environment, (port, "/_stcore/health"), folder / "app.log") as process:
        yield port, process


@contextmanager
def running_server(
    command: Sequence[str], environment: Mapping[str, str], ready: tuple[int, str], log: Path
) -> Iterator[psutil.Process]:
    """Start a server, and yield once the port and path of `ready` answer 200; stop it with the block. Raises StudioError."""
    with log.open("w") as sink:
        server = subprocess.Popen(
            command, cwd=PROJECT_ROOT, env={**os.environ, **environment}, stdout=sink, stderr=sink
        )
    try:
        _wait_for(ready, server, log)
        yield psutil.Process(server.pid)
    finally:
        server.terminate()
        try:
            server.wait(timeout=60)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait_for(ready: tuple[int, str], server: subprocess.Popen[bytes], log: Path) -> None:
    port, path = ready
    end = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < end:
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        time.sleep(0.5)
    message = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["?"])[-1]
    raise StudioError(detail=localize("bench.load.not_started", said=message[:300]))


def _memory(process: psutil.Process) -> int:
    """Return the bytes of the app, its workers left out: what is served must not grow."""
    return int(process.memory_info().rss)
