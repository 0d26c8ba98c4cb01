"""Measure the time of a job outside text encoder, steps and decoding: `bench overhead`.

Jobs of one image run through a studio as an app has it, over a temporary folder: queue row, worker process, progress,
preview, file and history row, each as durable as always. The parts that a client can't see from outside (encoding, file,
row) are measured again in this process, on the image that was just made. All values are medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

from PIL import Image

from core.bench.executors import running_studio
from core.cli.console import DONE, obstacle, whole_number
from core.history.store import History
from core.storage.database import Database
from core.studio import Studio
from core.types import GeneratedImage, Job

PROMPT = "a red house at sunset, snowy mountains"
LOOK_SECONDS = 0.002
MODEL = ("text encoder", "steps", "decode")  # the parts that plain diffusers has, too
PARTS = {
    "submit": "check the request, write the queue row (fsync)",
    "wake-up": "until the worker has claimed the job (fsync)",
    **dict.fromkeys(MODEL, ""),
    "encode": "PNG with its metadata",
    "write": "file and history row (fsync)",
    "rest": "progress, previews, checks of the output, end of the job (fsync)",
    "seen": "until a client that looks every 2 ms sees the end",
}


def run(arguments: argparse.Namespace, configs: Path) -> int:
    """Print a table and, as the last line, JSON."""
    runs = whole_number("--runs", arguments.runs, 1, 1000)
    values: dict[str, Any] = {"model.id": arguments.model, "generation.prompt": PROMPT}
    if arguments.side:
        side = whole_number("--side", arguments.side, 64, 4096)
        values |= {"generation.width": side, "generation.height": side}
    if arguments.steps:
        values["generation.num_inference_steps"] = whole_number("--steps", arguments.steps, 1, 200)
    found: dict[str, list[float]] = defaultdict(list)
    with running_studio(configs, {}) as studio, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        probe = History(Database(Path(folder) / "studio.db"), Path(folder))
        _measure(studio, probe, {**values, "generation.seed": 0})  # loads the model
        for seed in range(1, runs + 1):
            for part, seconds in _measure(studio, probe, {**values, "generation.seed": seed}).items():
                found[part].append(seconds)
    report = {part: statistics.median(found[part]) for part in (*PARTS, "total")}
    report["overhead"] = report["total"] - sum(report[part] for part in MODEL)
    print(_table(report, runs))
    print(json.dumps({"runs": runs, "seconds": report}))
    return DONE


def _measure(studio: Studio, probe: History, values: dict[str, Any]) -> dict[str, float]:
    """Run one job; return the seconds of each part."""
    request = studio.requests.new(values)
    clock, began = time.time(), time.perf_counter()
    job = studio.queue.submit(request)
    submitted = time.perf_counter()
    while (job := studio.queue.get(job.id)).state.active:
        if trouble := obstacle(studio.worker.status(), [job.state]):
            raise trouble
        time.sleep(LOOK_SECONDS)
    seen = time.perf_counter()
    if job.error is not None:
        raise job.error
    started, finished = _at(job.started_at) - clock, _at(job.finished_at) - clock  # after the beginning
    record = studio.history.get(job.image_ids[0])
    parts = {
        "submit": submitted - began,
        "wake-up": max(0.0, started - (submitted - began)),
        "text encoder": record.timings["text"],
        "steps": record.timings["steps"],
        "decode": record.timings["decode"],
        **_saving(studio, probe, job),
        "seen": max(0.0, seen - began - finished),
        "total": seen - began,
    }
    known = sum(parts[part] for part in (*MODEL, "encode", "write"))
    return {**parts, "rest": max(0.0, finished - started - known)}


def _saving(studio: Studio, probe: History, job: Job) -> dict[str, float]:
    """Return the seconds to encode and to write the image of a job, measured by doing it again."""
    record = studio.history.get(job.image_ids[0])
    with Image.open(studio.history.file(record.id)) as image:
        image.load()
        again = GeneratedImage(
            image=image.convert("RGB"),
            request=record.request,
            rendered_size=record.rendered_size,
            timings=record.timings,
            effective=record.effective,
            decisions=record.decisions,
        )
    began = time.perf_counter()
    pending = probe.prepare(again, None)
    encoded = time.perf_counter()
    probe.commit(pending)
    return {"encode": encoded - began, "write": time.perf_counter() - encoded}


def _at(moment: datetime | None) -> float:
    assert moment is not None
    return moment.timestamp()


def _table(report: dict[str, float], runs: int) -> str:
    rows = [f"{part:13}{1000 * report[part]:8.1f} ms  {what}".rstrip() for part, what in PARTS.items()]
    share = report["overhead"] / (report["total"] - report["overhead"])
    ends = [
        f"{'total':13}{1000 * report['total']:8.1f} ms",
        f"{'overhead':13}{1000 * report['overhead']:8.1f} ms  {share:.0%} of text encoder, steps and decode",
    ]
    return "\n".join([f"medians of {runs} jobs of one image", *rows, *ends])
