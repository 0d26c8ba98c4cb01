"""Compare loading prepared weights with loading their float32 original and with reading the same bytes: `bench prepared`.

A transformer with Z-Image's own layers and random float32 weights is written to the output folder, loaded once, which writes the
prepared weights, and then, in turns, read plainly, loaded from its prepared weights, and loaded from its original. The system is
asked to forget the files before each turn. A load ends when every page of the weights is in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil
import torch

from core.bench import random_weights
from core.cli.console import DONE, SOURCE, whole_number
from core.config.loader import load_settings
from core.config.options import SCHEMA
from core.errors import OptionError
from core.i18n import localize
from core.inference import memory, residency
from core.inference.generator import Generator
from core.models.catalog import Catalog
from core.models.model_paths import ModelPaths
from core.models.prepared_files import prepared_files
from core.models.weight_files import read_header

LAYER_BYTES = 0.37e9  # of one layer of Z-Image's transformer in bfloat16
CHUNK = 16 << 20
SPARE = 5  # GB that stay free on the disk
NAME = "large"


def run(arguments: argparse.Namespace, configs: Path) -> int:
    """Print a line for each turn and, last, medians as one line of JSON."""
    runs = whole_number("--runs", arguments.runs, 1, 100)
    size = whole_number("--gigabytes", arguments.gigabytes, 1, 100)
    output = load_settings(configs, os.environ).output_directory
    output.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(output).free / 1e9) < 3 * size + SPARE:
        allowed = localize("bench.prepared.disk", needed=3 * size + SPARE, free=free)
        raise OptionError(source=SOURCE, key="--gigabytes", value=str(size), allowed=allowed)
    with tempfile.TemporaryDirectory(dir=output, prefix="bench-") as name:
        report = measure(configs, Path(name), max(1, round(size * 1e9 / LAYER_BYTES)), runs)
    print(json.dumps(report))
    return DONE


def measure(configs: Path, folder: Path, layers: int, runs: int, shape: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Return the medians of `runs` turns with a transformer of so many layers, written below `folder`.

    `shape` changes the configuration of Z-Image's transformer, for tests.
    """
    transformer = {**random_weights.FULL["transformer"], **shape, "n_layers": layers, "n_refiner_layers": 1}
    model = folder / NAME
    random_weights.write_folder(model, {**random_weights.SCALED, "transformer": transformer})
    original = model / "transformer" / "diffusion_pytorch_model.safetensors"
    _fill(original)
    places = ModelPaths(folder)
    options = {option.key: option.default for option in SCHEMA.request_options()} | {"model.dtype": "bfloat16"}
    catalog = Catalog(configs, places)
    prepares, reads = Generator(catalog, prepares=True), Generator(catalog)
    first = _loaded(prepares, model, options)
    (prepared,) = [one.path for one in prepared_files(folder) if one.part == "transformer"]
    turns: dict[str, list[tuple[float, float]]] = {"read": [], "prepared": [], "original": []}
    for _ in range(runs):
        turns["read"].append((_cold([prepared], lambda: _read(prepared)), 0.0))
        for kind, generator in (("prepared", prepares), ("original", reads)):
            _forget([prepared, original])
            turns[kind].append(_loaded(generator, model, options))
        print(", ".join(f"{kind} {found[-1][0]:.2f} s" for kind, found in turns.items()), flush=True)
    seconds = {kind: statistics.median(one for one, _ in found) for kind, found in turns.items()}
    ratios = [one / read for (one, _), (read, _) in zip(turns["prepared"], turns["read"], strict=True)]
    sizes = {"prepared": prepared.stat().st_size, "original": original.stat().st_size}
    return {
        "gigabytes": {kind: round(size / 1e9, 2) for kind, size in sizes.items()},
        "first_load_seconds": round(first[0], 2),
        "seconds": {kind: round(one, 3) for kind, one in seconds.items()},
        "prepared_to_read": round(statistics.median(ratios), 3),
        "prepared_to_original": round(seconds["prepared"] / seconds["original"], 3),
        "seconds_per_gigabyte": round(seconds["prepared"] / (sizes["prepared"] / 1e9), 3),
        "peak_to_weights": {kind: round(max(peak for _, peak in turns[kind]), 3) for kind in sizes},
        "runs": runs,
    }


def _fill(file: Path) -> None:
    """Write random float32 weights of a file's names and shapes in its place."""
    names = read_header(file)
    header, end = {}, 0
    for name, tensor in names.items():
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [end, end + 4 * tensor.values]}
        end += 4 * tensor.values
    words = json.dumps(header).encode()
    noise = torch.randn(16_000_000, generator=torch.Generator().manual_seed(0)) * 0.02
    with file.open("wb") as stream:
        stream.write(len(words).to_bytes(8, "little") + words)
        for number, tensor in enumerate(names.values()):
            left = tensor.values
            while left:
                start = (number * 7919 + left) % 1000  # no two tensors are alike
                piece = noise[start : start + min(left, len(noise) - 1000)]
                stream.write(memoryview(piece.numpy()))
                left -= len(piece)


def _loaded(generator: Generator, model: Path, options: dict[str, Any]) -> tuple[float, float]:
    """Load a model from nothing; return seconds until all weights are in memory, and the peak of memory by their bytes."""
    generator.unload()
    before = psutil.Process().memory_info().rss
    memory.start_peak("cpu")
    began = time.perf_counter()
    loaded = generator.load(str(model), options, lambda progress: None)
    weights = [one for part in residency.modules(loaded.pipeline).values() for one in part.parameters()]
    for weight in weights:
        weight.detach().reshape(-1).view(torch.uint8)[::4096].max()
    seconds = time.perf_counter() - began
    held = sum(weight.nbytes for weight in weights)
    peak = ((memory.read_peak("cpu") or 0) - before) / held
    del loaded, weights, weight
    generator.unload()
    return seconds, peak


def _read(file: Path) -> None:
    """Read a file from its beginning to its end."""
    buffer = bytearray(CHUNK)
    with file.open("rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass


def _cold(files: Iterable[Path], what: Callable[[], None]) -> float:
    """Return the seconds of `what` after the system was asked to forget the files."""
    _forget(files)
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def _forget(files: Iterable[Path]) -> None:
    """Ask the system to drop files from its cache; where it can't be asked, they stay."""
    if not hasattr(os, "posix_fadvise"):
        return
    for file in files:
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
