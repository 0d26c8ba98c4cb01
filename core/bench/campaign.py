"""Measure a whole machine within a time budget, cell by cell: `bench campaign --minutes 10`.

Z-Image-Turbo's architecture with random weights, on a GPU at its true size, on a CPU scaled down. At each size plain diffusers and
the studio take turns, then the studio runs with one change at a time: compiled, quantised, other attention kernels, and, on a GPU,
each memory tier with no more memory than its name says. Each cell is written as it ends; another run of the command goes on where
the budget ended the one before, and a complete campaign is drawn as a table and a plot.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from core.bench import plots, speed
from core.cli.console import DONE, whole_number
from core.config.loader import load_settings
from core.history.store import History
from core.inference import memory_tiers, residency
from core.inference.generator import Generator
from core.models.fingerprint import versions
from core.storage.database import Database
from core.types import GenerationRequest, ModelInfo

ARCHITECTURE = "z-image-turbo"
SIDES = {"cuda": (512, 1024, 1536, 2048), "cpu": (128, 256)}  # px
CHANGES: Mapping[str, Mapping[str, Any]] = {
    "compiled": {"compile.enabled": True},
    "fp8": {"memory.quantization": "fp8"},
    "fp8 storage": {"memory.quantization": "fp8_storage"},
    "int8": {"memory.quantization": "int8"},
    "int8 dynamic": {"memory.quantization": "int8_dynamic"},
    "cuDNN attention": {"transformer.attention_backend": "_native_cudnn"},
    "flash attention": {"transformer.attention_backend": "_native_flash"},
}
TIERS = (24, 16, 12, 8, 6, 4)  # GB, measured at the second size
PLAIN, DEFAULT = "plain diffusers", "default"
FOLDER = "campaign"  # in the output folder: cells.json, table.md, plot.svg


@dataclass
class Cells:
    """The figures of cells by name, written to a file after each; those of another machine or other versions are begun anew."""

    file: Path
    made_on: Mapping[str, Any]
    found: dict[str, dict[str, Any]] = field(default_factory=dict)

    @staticmethod
    def open(file: Path, made_on: Mapping[str, Any]) -> Cells:
        """Return the cells of a file, or none where they are of another machine."""
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            found = kept["cells"] if kept["made_on"] == made_on else {}
        except (OSError, ValueError, KeyError, TypeError):
            found = {}
        return Cells(file, made_on, found)

    def put(self, name: str, figures: Mapping[str, Any]) -> None:
        """Add a cell and write the file."""
        self.found[name] = dict(figures)
        half = self.file.with_suffix(".part")
        half.write_text(json.dumps({"made_on": self.made_on, "cells": self.found}, indent=1), encoding="utf-8")
        half.replace(self.file)
        print(speed.line(name, figures), flush=True)


class Budget:
    """The time that a run may take; a cell begins only if the longest one before it would still fit."""

    def __init__(self, seconds: float) -> None:
        self._began = self._cell = time.monotonic()
        self._seconds, self._longest = seconds, 0.0

    def allows(self) -> bool:
        """Return True if another cell may begin. Call it before each."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._cell)
        self._cell = now
        return now - self._began + self._longest < self._seconds


def run(arguments: argparse.Namespace, configs: Path) -> int:
    """Measure the cells that are missing, print a line for each and, last, all of them as one line of JSON."""
    budget = Budget(60.0 * whole_number("--minutes", arguments.minutes, 1, 10_000))
    runs = whole_number("--runs", arguments.runs, 1, 1000)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    output = load_settings(configs, os.environ).output_directory / FOLDER
    output.mkdir(parents=True, exist_ok=True)
    asked = argparse.Namespace(**{**vars(arguments), "architecture": ARCHITECTURE, "random_weights": True})
    made_on = {"device": _device_name(device), "versions": dict(versions()), "runs": runs, "steps": arguments.steps}
    cells = Cells.open(output / "cells.json", made_on)
    sides = SIDES[device] if arguments.side is None else (whole_number("--side", arguments.side, 64, 4096),)
    tiers = {side: TIERS if device == "cuda" and side == sides[min(1, len(sides) - 1)] else () for side in sides}
    with tempfile.TemporaryDirectory() as folder, speed.model_of(asked, configs, Path(folder)) as (generator, info):
        for side in sides:
            _measure_side(cells, budget, generator, info, asked, side, tiers[side], runs, Path(folder))
    names = [name for side in sides for name in _names(side, tiers[side])]
    left = [name for name in names if name not in cells.found]
    if left:
        print(f"{len(left)} of {len(names)} cells are left: run the same command again to go on ({cells.file})")
    else:
        _draw(cells, output)
        print(f"table and plot: {output}")
    print(json.dumps({"made_on": made_on, "cells": cells.found, "left": left}, ensure_ascii=False))
    return DONE


def _device_name(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def _names(side: int, tiers: tuple[int, ...]) -> Iterator[str]:
    """Yield the names of a size's cells."""
    yield from (f"{side}px {name}" for name in (PLAIN, DEFAULT, *CHANGES, *map(_tier, tiers)))


def _measure_side(
    cells: Cells, budget: Budget, generator: Generator, info: ModelInfo, asked: argparse.Namespace, side: int,
    tiers: tuple[int, ...], runs: int, folder: Path,
) -> None:  # fmt: skip
    """Measure the cells of one size that are missing, as far as the budget goes."""
    if all(name in cells.found for name in _names(side, tiers)) or not budget.allows():
        return
    asked.side = str(side)
    request = speed.request_of(asked, info)
    history = History(Database(folder / f"bench{side}.db"), folder)
    loaded = generator.load(request.model, request.options, lambda progress: None)
    plain = speed.plain_diffusers(loaded, folder)
    contestants = {"diffusers": plain, "studio": speed.studio_generator(generator, history, {}, folder)}
    measured = speed.take_turns(contestants, request, runs)
    report = speed.summary(measured, request, loaded)
    shares = speed.roofline(asked, plain, request, loaded, report)["share_of_peak"]
    cells.put(f"{side}px {PLAIN}", {**report["diffusers"], "share_of_peak": shares["diffusers"]})
    figures = {**report["studio"], "share_of_peak": shares["studio"], "largest_distance": report["max_pixel_distance"]}
    cells.put(f"{side}px {DEFAULT}", figures)
    del plain, loaded, contestants  # a change may load the model again, and two need not fit
    for name, changed in {**CHANGES, **{_tier(size): _as_if(size) for size in tiers}}.items():
        cell = f"{side}px {name}"
        if cell in cells.found:
            continue
        if not budget.allows():
            return
        moved: list[int] = []
        contestant = _counting(speed.studio_generator(generator, history, changed, folder), generator, moved)
        row = speed.vary(contestant, request, measured["studio"], runs)
        bus = {"bus_bytes": (moved[-1] - moved[0]) // (len(moved) - 1)} if len(moved) > 1 else {}
        cells.put(cell, {**row, **bus})


def _tier(gigabytes: int) -> str:
    return f"tier of {gigabytes} GB"


def _as_if(gigabytes: int) -> dict[str, Any]:
    """Return the options of a tier on a GPU that has no more memory than that: PyTorch may not have the rest."""
    total = torch.cuda.get_device_properties(0).total_memory
    reserved = max(0, int((total - gigabytes * memory_tiers.GIGA) / memory_tiers.MEGA))
    return {"memory.tier": f"{gigabytes}gb", "memory.reserved_mb": reserved}


def _counting(contestant: speed.Contestant, generator: Generator, moved: list[int]) -> speed.Contestant:
    """Let a contestant note after each image how many bytes of weights have been copied to the device so far."""

    def generate(request: GenerationRequest) -> speed.Measure:
        measure = contestant(request)
        held = residency.of(generator.loaded.pipeline) if generator.loaded else None
        moved.append(sum(held.moved.values()) if held is not None else 0)
        return measure

    return generate


# -- what is shown -----------------------------------------------------------------------------------------------------


def _draw(cells: Cells, output: Path) -> None:
    """Write the cells as a table in Markdown, and the seconds of those that ran as a plot."""
    rows = [(name, one) for name, one in cells.found.items() if "total" in one]
    lines = ["| generated with | seconds | share of the peak | peak memory | weights moved | largest distance of 255 |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for name, one in cells.found.items():
        if "total" not in one:
            lines.append(f"| {name} | {one['refused']} | | | | |")
            continue
        share = f"{one['share_of_peak']:.0%}" if "share_of_peak" in one else ""
        peak = f"{one['peak_memory_bytes'] / 1e9:.1f} GB" if one.get("peak_memory_bytes") else ""
        moved = f"{one['bus_bytes'] / 1e9:.2f} GB" if "bus_bytes" in one else ""
        lines.append(f"| {name} | {one['total']:.2f} | {share} | {peak} | {moved} | {one.get('largest_distance', '')} |")
    (output / "table.md").write_text("\n".join([*lines, ""]), encoding="utf-8")
    svg = plots.bars("seconds", [(name, f"{one['total']:.2f}") for name, one in rows])
    (output / "plot.svg").write_text(svg, encoding="utf-8")
