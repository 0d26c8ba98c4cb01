"""`verify`: generate ten images in a row with the real queue and worker, and check each."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from core.cli.console import DONE, FAILED, STOPPED, ProgressLine, obstacle, whole_number
from core.cli.generate import POLL_SECONDS, pair
from core.config.loader import load_settings
from core.studio import Studio, self_test
from core.studio.bootstrap import build_studio
from core.studio.diagnostics import unasked
from core.types import Job, JobState


def run(arguments: argparse.Namespace, language: str, configs: Path) -> int:
    """Generate, print a row for each image and one for each check; exit code 1 when a check did not pass."""
    images = whole_number("--images", arguments.images, 1, 1000)
    values = dict(map(pair, arguments.set))
    if arguments.model:
        values["model.id"] = arguments.model
    steps = self_test.STEPS if arguments.all else self_test.STEPS[:1]
    with tempfile.TemporaryDirectory() as folder:  # the user's history is no place for tests
        settings = load_settings(configs, os.environ, {**values, "output.directory": folder})
        settings.raise_problems()
        studio = build_studio(settings)
        studio.start()
        try:
            passed = [_step(studio, step, images, language) for step in steps]
        except KeyboardInterrupt:
            return STOPPED
        finally:
            studio.stop()
    print(_WORDS[language]["yes" if all(passed) else "no"])
    return DONE if all(passed) else FAILED


def _step(studio: Studio, step: self_test.Step, images: int, language: str) -> bool:
    jobs = [studio.queue.submit(request) for request in self_test.requests(studio, step, {}, images)]
    words = _WORDS[language]
    print(f"{words[step.key]}\n{'#':>3} {words['head']}")
    line = ProgressLine(language, sys.stderr.isatty())
    ended = [_row(studio, number, _wait(studio, job, line), language) for number, job in enumerate(jobs, start=1)]
    checks = self_test.judge(studio, step, ended)
    print(_table(checks, language))
    return all(check.passed for check in checks)


def _wait(studio: Studio, job: Job, line: ProgressLine) -> Job:
    try:
        while job.state.active:
            if trouble := obstacle(studio.worker.status(), [job.state]):
                raise trouble
            line.show(job)
            time.sleep(POLL_SECONDS)
            job = studio.queue.get(job.id)
        return job
    finally:
        line.clear()


def _row(studio: Studio, number: int, job: Job, language: str) -> Job:
    """Prints the image's row."""
    if job.state is not JobState.DONE or not job.image_ids:
        words = job.error.message(language) if job.error else str(job.state)
        print(f"{number:>3} {words}", flush=True)
        return job
    record, look = studio.history.get(job.image_ids[0]), studio.images.stats(job.image_ids[0])
    size = f"{look.width}x{look.height}"
    peak = f"{record.peak_memory_bytes / 1e6:.0f}" if record.peak_memory_bytes else "-"
    seconds = sum(record.timings.values())
    verdict = unasked(look.fault, record.request.prompt) or "ok"
    print(
        f"{number:>3} {record.request.seed:>10} {size:>10} {seconds:>8.2f} {peak:>8} {look.light:>6.0f} "
        f"{look.chroma:>6.0f}  {verdict}",
        flush=True,
    )
    return job


def _table(checks: Sequence[self_test.Check], language: str) -> str:
    marks = {True: "+", False: "-"}
    return "\n".join(f"  {marks[check.passed]} {check.name[language]}: {check.found[language]}" for check in checks)


_WORDS = {
    "en": {
        "stable": "1 Stable",
        "quality": "2 Quality",
        "speed": "3 Speed",
        "control": "4 Control",
        "head": f"{'seed':>10} {'size':>10} {'seconds':>8} {'peak MB':>8} {'light':>6} {'colour':>6}  look",
        "yes": "Verified: every check passed.",
        "no": "Not verified: a check did not pass, see - above.",
    },
    "zh": {
        "stable": "1 稳定",
        "quality": "2 质量",
        "speed": "3 速度",
        "control": "4 控制",
        "head": f"{'种子':>8} {'尺寸':>8} {'秒':>7} {'峰值 MB':>6} {'亮度':>4} {'彩度':>4}  外观",
        "yes": "验证通过：所有检查均合格。",
        "no": "验证未通过：有检查不合格，见上方 - 号。",
    },
}
