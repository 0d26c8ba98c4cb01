"""How much memory loading takes, on random weights of more than 2 GB, and what a switch of models leaves behind."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from diffusers import ZImageTransformer2DModel

from core.config.loader import PROJECT_ROOT
from core.models.single_file import SHIPPED_FRAMES
from tests.models import tiny_models
from tests.models.test_checkpoints import of_true_size

SHAPE = {"dim": 1920, "n_heads": 15, "n_kv_heads": 15, "n_layers": 24, "n_refiner_layers": 1, "cap_feat_dim": 128}
MOST = 1.15  # times the weights as they are held
DRIFT = 0.05

# In a process of its own, as the worker is one: what a test has in memory would hide what is measured.
CHILD = """
import json, sys
from core.config.loader import PROJECT_ROOT, load_settings
from core.inference import memory
from core.models.catalog import Catalog
from core.inference.generator import Generator
from core.models.model_paths import ModelPaths
from pathlib import Path
import psutil, torch
folder, dtype = sys.argv[1:]
options = {**load_settings().request_options(), "model.dtype": dtype}
generator = Generator(Catalog(PROJECT_ROOT / "configs", ModelPaths(Path(folder).parent)))
rss = lambda: psutil.Process().memory_info().rss
load = lambda model: generator.load(model, options, lambda progress: None)
load("demo")
before = rss()
found = {"before": before, "switches": []}
for turn in range(2):
    memory.start_peak("cpu")
    large = load(folder)
    parts = [part for part in large.pipeline.components.values() if isinstance(part, torch.nn.Module)]
    weights = [weight for part in parts for weight in part.parameters()]
    for weight in weights:  # what is only mapped is not read yet: an image would read all of it
        weight.view(torch.uint8).max()
    peak = memory.read_peak("cpu")
    held = sum(weight.numel() * weight.element_size() for weight in weights)
    del large, parts, weights, weight
    load("demo")
    found["switches"].append({"peak": peak, "held": held, "after": rss()})
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The embedded model with a transformer of 1.1 thousand million random parameters, 2.1 GB in bfloat16."""
    folder = tiny_models.z_image(tmp_path_factory.mktemp("large") / "model")
    with torch.device("meta"):
        transformer = ZImageTransformer2DModel(
            **SHAPE, in_channels=16, axes_dims=[32, 48, 48], axes_lens=[1536, 512, 512]
        )
    transformer = transformer.to(torch.bfloat16).to_empty(device="cpu")
    for weight in transformer.parameters():
        weight.data.normal_(0, 0.02)
    for old in (folder / "transformer").glob("*.safetensors"):
        old.unlink()
    transformer.save_pretrained(folder / "transformer", max_shard_size="1GB")
    del transformer
    yield folder
    for path in (folder / "transformer").iterdir():
        path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_loading_takes_little_more_than_the_weights_and_a_switch_gives_it_back(large, dtype):
    assert sum(path.stat().st_size for path in large.rglob("*.safetensors")) > 2e9
    measure(large, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_so_does_a_checkpoint_in_one_file(tmp_path, dtype):
    """SD 1.5 in its true size, stored in float16."""
    measure(of_true_size(SHIPPED_FRAMES[0], tmp_path / "any.safetensors"), dtype)


def measure(large, dtype):
    """Load it twice in a process of its own, and the embedded model after it."""
    ran = subprocess.run(
        [sys.executable, "-c", CHILD, str(large), dtype], cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=900
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    before = found["before"]
    for turn in found["switches"]:
        above = (turn["peak"] - before) / turn["held"]
        left = (turn["after"] - before) / before
        print(f"{dtype}: held {turn['held'] / 1e9:.2f} GB, peak {above:.3f} times that, after the switch {left:+.1%}")
    assert all(turn["peak"] - before <= MOST * turn["held"] for turn in found["switches"])
    assert all(abs(turn["after"] - before) <= DRIFT * before for turn in found["switches"])
