"""Float32 weights of a downloaded model become bfloat16 in place, as PyTorch rounds them."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from core.config.loader import PROJECT_ROOT
from core.errors import ModelFileError
from core.models.catalog import Catalog
from core.models.model_paths import EMBEDDED, ModelPaths
from core.models.shrink import float32_files, rounded, shrink
from core.models.validation import MANIFEST

FILE = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def downloaded(tmp_path):
    """A download of the embedded model under another id, with a float32 transformer and its manifest."""
    configs, folder = tmp_path / "configs", tmp_path / "store" / "toy"
    shutil.copytree(PROJECT_ROOT / "configs", configs)
    (configs / "models" / "toy.yaml").write_text("id: toy\npipeline: ZImagePipeline\nhuggingface: owner/toy\n")
    shutil.copytree(EMBEDDED, folder)
    weights = {name: weight.float() for name, weight in load_file(folder / FILE).items()}
    save_file(weights, folder / FILE, {"format": "pt"})
    (folder / MANIFEST).write_text(json.dumps({"files": {FILE: {"size": 1, "sha256": "0"}}}))
    return Catalog(configs, ModelPaths(tmp_path / "store")), folder, weights


def test_rounding_is_torchs():
    special = [0.0, -0.0, 1.0, 1 + 2**-8, 1 + 3 * 2**-8, 3.4e38, -3.4e38, 1e-45, np.inf, -np.inf, np.nan]
    values = np.concatenate([np.float32(special), np.random.default_rng(1).normal(0, 1, 5000).astype(np.float32)])
    wanted = torch.from_numpy(values).to(torch.bfloat16)
    found = torch.from_numpy(rounded(values).view(np.int16)).view(torch.bfloat16)
    assert torch.equal(found[~found.isnan()], wanted[~wanted.isnan()]) and torch.equal(found.isnan(), wanted.isnan())


def test_weights_become_bfloat16_and_the_model_stays_whole(downloaded):
    catalog, folder, weights = downloaded
    before, told = (folder / FILE).stat().st_size, []
    vae = hashlib.sha256((folder / "vae/diffusion_pytorch_model.safetensors").read_bytes()).hexdigest()
    freed = shrink(catalog.find("toy"), lambda done, total: told.append((done, total)))
    assert freed == before - (folder / FILE).stat().st_size > 0.4 * before and told[-1] == (before, before)
    found = load_file(folder / FILE)
    assert all(torch.equal(found[name], weight.to(torch.bfloat16)) for name, weight in weights.items())
    with safe_open(folder / FILE, "pt") as opened:
        assert opened.metadata() == {"format": "pt"}
    manifest = json.loads((folder / MANIFEST).read_text())["files"][FILE]
    assert manifest == {"size": (folder / FILE).stat().st_size, "sha256": hashlib.sha256((folder / FILE).read_bytes()).hexdigest()}
    assert hashlib.sha256((folder / "vae/diffusion_pytorch_model.safetensors").read_bytes()).hexdigest() == vae
    assert catalog.find("toy").problem is None and float32_files(catalog.find("toy")) == []
    assert shrink(catalog.find("toy")) == 0


def test_stopping_leaves_the_file_as_it_was(downloaded):
    catalog, folder, _ = downloaded
    before = (folder / FILE).read_bytes()

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shrink(catalog.find("toy"), stop)
    assert (folder / FILE).read_bytes() == before and not list(folder.rglob("*.part"))


def test_files_of_others_are_refused(downloaded):
    with pytest.raises(ModelFileError, match="downloaded into the models folder"):
        shrink(downloaded[0].find("demo"))
