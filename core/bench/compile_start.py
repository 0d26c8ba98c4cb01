"""Compare compiling at the first start with compiling at the second, which finds the kernels of the first: `bench compile`.

Each start is a process of its own with Z-Image's architecture scaled down, over a cache that is empty at first.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from core.bench import random_weights
from core.cli.console import DONE, whole_number
from core.config.compile_cache import cache_variables
from core.config.loader import PROJECT_ROOT
from core.config.options import SCHEMA
from core.inference.generator import Generator
from core.models.catalog import Catalog
from core.types import GenerationRequest

SIDE = 64  # px of the one image; sizes are dynamic


def run(arguments: argparse.Namespace, configs: Path) -> int:
    """Print a line for each pair of starts and, last, medians as one line of JSON."""
    runs = whole_number("--runs", arguments.runs, 1, 100)
    pairs = []
    for _ in range(runs):
        pairs.append(pair_of_starts(configs))
        print(", ".join(f"{one['seconds']:.1f} s ({one['misses']} compiled, {one['hits']} found)" for one in pairs[-1]), flush=True)
    report = {
        "first_seconds": statistics.median(first["seconds"] for first, _ in pairs),
        "second_seconds": statistics.median(second["seconds"] for _, second in pairs),
        "ratio": round(statistics.median(second["seconds"] / first["seconds"] for first, second in pairs), 3),
        "compiled": [max(pair[k]["misses"] for pair in pairs) for k in (0, 1)],
        "runs": runs,
    }
    print(json.dumps(report))
    return DONE


def pair_of_starts(configs: Path) -> list[dict[str, Any]]:
    """Return what two processes measured, one after the other, over one cache that was empty before."""
    with tempfile.TemporaryDirectory() as folder:
        variables = {**os.environ, **cache_variables(Path(folder), {})}
        command = [sys.executable, "-m", __name__, str(configs)]
        ran = [
            subprocess.run(command, cwd=PROJECT_ROOT, env=variables, capture_output=True, text=True, check=True)
            for _ in range(2)
        ]
    return [json.loads(one.stdout.splitlines()[-1]) for one in ran]


def measure_start(configs: Path) -> dict[str, Any]:
    """Return the seconds that compiling the blocks took, and how many of Inductor's graphs were compiled and were found."""
    from torch._dynamo.utils import counters

    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        random_weights.write_folder(model, random_weights.SCALED)
        generator = Generator(Catalog(configs), read=partial(random_weights.read_random, random_weights.SCALED, "cpu"))
        options = {option.key: option.default for option in SCHEMA.request_options()} | {"compile.enabled": True}
        generator.generate(
            GenerationRequest(
                prompt="x", model=str(model), width=SIDE, height=SIDE, num_inference_steps=1, seed=1, options=options
            )
        )
        assert generator.loaded is not None
        warm = generator.loaded.compiled.warm
    found = counters["inductor"]
    return {
        "seconds": round(sum(warm.values()), 3),
        "misses": found["fxgraph_cache_miss"],
        "hits": found["fxgraph_cache_hit"],
    }


if __name__ == "__main__":
    print(json.dumps(measure_start(Path(sys.argv[1]))))
