"""`compare`: generate the same prompts and seeds with several models and settings; print the table, then one JSON line.

Each --model begins a column; a --set or --profile before the first one is for all columns, after it for that column.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.benchmark import plan, results_table
from core.benchmark.report import BenchmarkReport, cancel, jobs, report
from core.cli.console import DONE, FAILED, SOURCE, STOPPED, ProgressLine, complain, obstacle
from core.cli.generate import CANCEL_SECONDS, POLL_SECONDS, OutFileError, pair
from core.config.loader import load_settings
from core.errors import OptionError, StorageError
from core.studio import Studio
from core.studio.bootstrap import build_studio
from core.types import Benchmark, JobState

FORMATS = (".csv", ".png", ".json")


@dataclass
class Columns:
    """The values of --model, --profile and --set, in the order of the command line."""

    models: list[str] = field(default_factory=list)
    settings: list[list[str]] = field(default_factory=lambda: [[]])  # for all columns, then of each
    profiles: list[str] = field(default_factory=lambda: [""])


class ColumnAction(argparse.Action):
    """Records the order of flags, which argparse would lose."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        columns: Columns | None = getattr(namespace, "columns", None)
        if columns is None:
            namespace.columns = columns = Columns()
        if option == "--model":
            columns.models.append(values)
            columns.settings.append([])
            columns.profiles.append("")
        elif option == "--profile":
            columns.profiles[-1] = values
        else:
            columns.settings[-1].append(values)


def run(arguments: argparse.Namespace, language: str, configs: Path) -> int:
    """Generate, measure, print; return 1 when an image failed. Raises StudioError when it cannot start."""
    specs = read_columns(arguments.columns or Columns())
    outs = [_checked(Path(out)) for out in arguments.out]
    seeds = plan.read_seeds(" ".join(arguments.seed), SOURCE)
    settings = load_settings(configs, os.environ)
    settings.raise_problems()
    studio = build_studio(settings)
    benchmark = plan.start(studio, specs, arguments.prompt, seeds, source=SOURCE)
    studio.start()
    try:
        stopped = not _follow(studio, benchmark, ProgressLine(language, not arguments.no_progress))
        found = report(studio, benchmark)
        _print(studio, found, outs, language)
    finally:
        studio.stop()
    return STOPPED if stopped else DONE if found.complete else FAILED


def read_columns(columns: Columns) -> list[plan.ColumnSpec]:
    """Return a ColumnSpec for each --model, with the values of all columns below its own."""
    (shared, *own), (profile, *profiles) = columns.settings, columns.profiles
    return [
        plan.ColumnSpec(model, profiles[k] or profile, dict(map(pair, (*shared, *own[k]))))
        for k, model in enumerate(columns.models)
    ]


def _checked(out: Path) -> Path:
    """Return a file of --out; its kind and its folder are looked at before any work is done."""
    if out.suffix.lower() not in FORMATS:
        raise OptionError(source=SOURCE, key="--out", value=out.name, allowed="*" + ", *".join(FORMATS))
    folder = out.absolute().parent
    if out.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OutFileError(path=out)
    return out


def _follow(studio: Studio, benchmark: Benchmark, line: ProgressLine) -> bool:
    """Wait until nothing is in work any more; False when Ctrl+C cancelled it. Raises what `obstacle` names."""
    try:
        while active := [job for job in jobs(studio, benchmark) if job.state.active]:
            if trouble := obstacle(studio.worker.status(), [job.state for job in active]):
                with suppress(StorageError):  # a full disk does not take the cancellation either
                    cancel(studio, benchmark)
                raise trouble
            line.show(min(active, key=lambda job: job.state is JobState.QUEUED))
            time.sleep(POLL_SECONDS)
        return True
    except KeyboardInterrupt:
        cancel(studio, benchmark)
        deadline = time.monotonic() + CANCEL_SECONDS
        while any(job.state.active for job in jobs(studio, benchmark)) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return False
    finally:
        line.clear()


def _print(studio: Studio, found: BenchmarkReport, outs: Sequence[Path], language: str) -> None:
    """Print errors, then the table, then all of it as one line of JSON; the files of --out."""
    for one in found.columns:
        if one.error is not None:
            print(f"{one.column.name}: ", end="", file=sys.stderr)
            complain(one.error, language)
    votes = studio.benchmarks.votes(found.benchmark.id)
    print(results_table.text(found, language))
    for out in outs:
        _write(out, _content(studio, found, out, results_table.as_json(found, votes)))
    print(json.dumps(results_table.as_json(found, votes)))


def _content(studio: Studio, found: BenchmarkReport, out: Path, data: Mapping[str, Any]) -> bytes:
    if out.suffix.lower() == ".png":
        return results_table.draw(studio, found)
    if out.suffix.lower() == ".json":
        return json.dumps(data, ensure_ascii=False, indent=1).encode()
    return results_table.csv(found, studio.benchmarks.votes(found.benchmark.id))


def _write(out: Path, data: bytes) -> None:
    """Whole or not there."""
    part = out.with_name(f".{out.name}.part")
    try:
        part.write_bytes(data)
        part.replace(out)
    except OSError as error:
        raise OutFileError(path=out) from error
    finally:
        part.unlink(missing_ok=True)
