"""Compare one call of each API of the running app with plain diffusers behind FastAPI: `bench overhead --http`.

All are servers of their own on this machine, and take turns. Plain diffusers is there twice, see `plain_server`: in a thread of
FastAPI's, which is what one would write, and in the main thread, which is quicker. A call ends when the client has the image's
bytes; the native one queues a job, follows its event stream to the end and fetches the file. Each seed has its own prompt, so
that no side reuses a prompt's embeddings. The pixels are compared. Then several clients call at once: images per second. The
app's queue, history and files are as durable as always (fsync included).
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from core.bench.load import OWN_SETTINGS, free_port, running_app, running_server
from core.cli.console import DONE, FAILED, SOURCE, whole_number
from core.cli.generate import pair
from core.config.options import SCHEMA
from core.config.thread_environment import waiting
from core.errors import StudioError
from core.models.catalog import Catalog
from core.types import ModelInfo, guidance_of

PROMPT = "a red house at sunset, snowy mountains"
CALL_SECONDS = 600.0
AT_ONCE = 20  # clients that call at once
ROUNDS = 3  # of so many calls at once on each side
PLAIN, IN_MAIN = "plain diffusers", "the same, main thread"
DTYPE = "float32"  # of both sides

Call = Callable[[int], bytes]  # the file of the image of a seed


def run(arguments: argparse.Namespace, configs: Path) -> int:
    """Print a table and, as the last line, JSON. Exit code 1 when a pixel differs from plain diffusers'."""
    runs = whole_number("--runs", arguments.runs, 1, 1000)
    info = Catalog(configs).find(arguments.model)
    side = whole_number("--side", arguments.side or str(info.trained_side), 64, info.max_side)
    steps = whole_number("--steps", arguments.steps or str(info.default_steps), 1, 200)
    given = {SCHEMA.find(key, SOURCE).key: value for key, value in map(pair, arguments.set)}
    settings = {**OWN_SETTINGS, "model.id": info.id, "model.dtype": DTYPE, **given}
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        running_app(Path(folder), settings, configs) as (port, _),
        _plain_server(info, Path(folder), "thread") as plain_port,
        _plain_server(info, Path(folder), "main") as main_port,
    ):
        calls: dict[str, Call] = {
            PLAIN: lambda seed: _plain(plain_port, info, side, steps, seed),
            IN_MAIN: lambda seed: _plain(main_port, info, side, steps, seed),
            "A1111": lambda seed: _a1111(port, side, steps, seed),
            "OpenAI": lambda seed: _openai(port, side, steps, seed),
            "native": lambda seed: _native(port, side, steps, seed),
        }
        seconds, same = _one_by_one(calls, runs)
        rates = _at_once(calls, min(AT_ONCE, 2 * runs))
    report: dict[str, Any] = {"runs": runs, "side": side, "steps": steps, "load": psutil.getloadavg()[0]}
    report |= {"identical": same, "seconds": seconds, "images_per_second": rates}
    print(_table(report))
    print(json.dumps(report))
    return DONE if same else FAILED


def _one_by_one(calls: Mapping[str, Call], runs: int) -> tuple[dict[str, float], bool]:
    """Return the median seconds of each kind of call, and whether all have the same pixels."""
    took: dict[str, list[float]] = defaultdict(list)
    same = True
    for turn in range(runs + 1):  # the first one warms up
        pixels = set()
        for name in list(calls)[:: 1 if turn % 2 else -1]:
            began = time.perf_counter()
            file = calls[name](turn + 1)
            took[name].append(time.perf_counter() - began)
            with Image.open(io.BytesIO(file)) as image:
                pixels.add(image.convert("RGB").tobytes())
        same = same and len(pixels) == 1
    return {name: statistics.median(took[name][1:]) for name in calls}, same


def _at_once(calls: Mapping[str, Call], clients: int) -> dict[str, float]:
    """Return the images per second of both kinds of plain diffusers and of the native API under so many clients, medians."""
    rates: dict[str, list[float]] = {PLAIN: [], IN_MAIN: [], "native": []}
    with ThreadPoolExecutor(clients) as pool:
        for turn in range(ROUNDS):
            for name in list(rates)[:: 1 if turn % 2 else -1]:
                began = time.perf_counter()
                list(pool.map(calls[name], range(1000 * turn + 1, 1000 * turn + 1 + clients)))
                rates[name].append(clients / (time.perf_counter() - began))
    return {name: statistics.median(found) for name, found in rates.items()}


# -- the calls -----------------------------------------------------------------------------------------------------------


def _plain(port: int, info: ModelInfo, side: int, steps: int, seed: int) -> bytes:
    guidance = guidance_of(info.default_cfg_scale, info.cfg_offset)
    body = {**_sized(side, seed), "num_inference_steps": steps, "guidance_scale": guidance}
    return base64.b64decode(_post(port, "/", body)["image"])


def _a1111(port: int, side: int, steps: int, seed: int) -> bytes:
    return base64.b64decode(_post(port, "/sdapi/v1/txt2img", {**_sized(side, seed), "steps": steps})["images"][0])


def _openai(port: int, side: int, steps: int, seed: int) -> bytes:
    body = {"prompt": _prompt(seed), "size": f"{side}x{side}", "seed": seed, "num_inference_steps": steps}
    answer = _post(port, "/v1/images/generations", {**body, "response_format": "b64_json"})
    return base64.b64decode(answer["data"][0]["b64_json"])


def _native(port: int, side: int, steps: int, seed: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CALL_SECONDS)
    try:
        client = {"X-Client-Id": f"seed {seed}", "Content-Type": "application/json"}  # a client has at most 20 streams
        body = json.dumps({**_sized(side, seed), "num_inference_steps": steps})
        job = json.loads(_said(connection, "POST", "/api/v1/jobs", body, client))
        stream = _said(connection, "GET", f"/api/v1/jobs/{job['id']}/events", None, client).decode()
        last = json.loads(stream.rpartition("data: ")[2])
        return _said(connection, "GET", f"/api/v1/images/{last['images'][0]['id']}", None, client)
    finally:
        connection.close()


def _sized(side: int, seed: int) -> dict[str, Any]:
    return {"prompt": _prompt(seed), "width": side, "height": side, "seed": seed}


def _prompt(seed: int) -> str:
    return f"{PROMPT}, {seed}"


def _post(port: int, path: str, body: Mapping[str, Any]) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CALL_SECONDS)
    try:
        return json.loads(_said(connection, "POST", path, json.dumps(body), {"Content-Type": "application/json"}))
    finally:
        connection.close()


def _said(
    connection: http.client.HTTPConnection, method: str, path: str, body: str | None, headers: Mapping[str, str]
) -> bytes:
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status >= 400:
        raise StudioError(detail=f"{path}: {answer.status} {content[:200]!r}")
    return content


@contextmanager
def _plain_server(info: ModelInfo, folder: Path, where: str) -> Iterator[int]:
    """The port of plain diffusers with this model, while the block runs. Raises StudioError."""
    port = free_port()
    command = [sys.executable, "-m", "core.bench.plain_server", str(info.path), DTYPE, str(port), where]
    with running_server(command, waiting(os.environ), (port, "/openapi.json"), folder / f"plain-{where}.log"):
        yield port


def _table(report: Mapping[str, Any]) -> str:
    seconds, rates = report["seconds"], report["images_per_second"]
    rows = [
        f"{name:24}{1000 * took:8.0f} ms"
        + "".join(f"{1000 * (took - seconds[plain]):+10.0f} ms{took / seconds[plain] - 1:+9.1%}" for plain in (PLAIN, IN_MAIN))
        for name, took in seconds.items()
    ]
    return "\n".join(
        (
            f"one call, medians of {report['runs']}: {report['side']} px, {report['steps']} steps, {DTYPE}, "
            f"{os.cpu_count()} cores, load {report['load']:.1f}, {'the same' if report['identical'] else 'OTHER'} pixels",
            f"{'':35}{'against plain':>22}{'in the main thread':>22}",
            *rows,
            f"{min(AT_ONCE, 2 * report['runs'])} calls at once, images/s: "
            + ", ".join(f"{name} {rate:.2f}" for name, rate in rates.items())
            + f"; native against them {rates['native'] / rates[PLAIN]:.2f} and {rates['native'] / rates[IN_MAIN]:.2f}",
        )
    )
