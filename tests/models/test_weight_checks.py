"""Weights that can't be right are refused when they are read, files that changed on the disk when they are loaded again."""

from __future__ import annotations

import os
import shutil

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from core.config.loader import PROJECT_ROOT, load_settings
from core.errors import ModelFileError
from core.inference.generator import Generator
from core.inference.weight_checks import check_values
from core.models.catalog import Catalog
from core.models.model_paths import EMBEDDED, ModelPaths

WEIGHTS = "diffusion_pytorch_model.safetensors"


def module(values: torch.Tensor | nn.Parameter) -> nn.Module:
    made = nn.Module()
    made.register_parameter("weight", values if isinstance(values, nn.Parameter) else nn.Parameter(values, requires_grad=False))
    return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [float("nan"), -1e38, float("inf")])
def test_values_that_no_training_makes_are_refused(tmp_path, dtype, value):
    values = torch.full((8, 4), 0.02, dtype=dtype)
    check_values("vae", tmp_path, module(values))
    values[3, 1] = value
    if dtype is torch.float16 and value == value:  # what float16 can't hold: `precision.auto_retry` takes another precision
        check_values("vae", tmp_path, module(values))
        return
    with pytest.raises(ModelFileError, match="weight of the vae holds"):
        check_values("vae", tmp_path, module(values))


def test_scales_of_quantised_blocks_are_looked_at(tmp_path):
    from diffusers.quantizers.gguf.utils import GGUFParameter

    kind = gguf.GGMLQuantizationType.Q8_0
    data = gguf.quants.quantize(np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32), kind)
    good = GGUFParameter(torch.from_numpy(data.copy()), quant_type=kind)
    check_values("transformer", tmp_path, module(good))
    data[2, 34:36] = np.frombuffer(np.float16(np.nan).tobytes(), np.uint8)
    with pytest.raises(ModelFileError, match="nan"):
        check_values("transformer", tmp_path, module(GGUFParameter(torch.from_numpy(data), quant_type=kind)))


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    """A copy of the embedded model, and what loads it with a store of its own."""
    root = tmp_path_factory.mktemp("decay")
    shutil.copytree(EMBEDDED, root / "model")
    options = load_settings().request_options()

    def load():
        """As after a restart."""
        generator = Generator(Catalog(PROJECT_ROOT / "configs", ModelPaths(root / "store")))
        return generator.load(str(root / "model"), options, lambda progress: None)

    return root, load


def test_damage_that_leaves_plausible_numbers_is_noticed_at_the_next_load(box):
    root, load = box
    file = root / "model" / "transformer" / WEIGHTS
    assert not [one for one in load().decisions if one.option == "model.id"]
    data, stat = bytearray(file.read_bytes()), file.stat()
    begin = 8 + int.from_bytes(data[:8], "little")
    for place in range(begin, len(data), 10_000):
        data[place] ^= 1  # the last bit of a mantissa
    file.write_bytes(data)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(ModelFileError, match="first loaded"):
        load()
    os.utime(file)
    (note,) = [one for one in load().decisions if one.option == "model.id"]
    assert file.name in note.reason["en"], "replaced, as its time says: it is used, and said"
    assert not [one for one in load().decisions if one.option == "model.id"]


def test_damaged_weights_of_a_model_are_named(box):
    root, load = box
    file = root / "model" / "vae" / WEIGHTS
    tensors = load_file(file)
    name = max(tensors, key=lambda key: tensors[key].numel())
    tensors[name].view(-1)[7] = float("nan")
    save_file(tensors, file)
    with pytest.raises(ModelFileError) as refused:
        load()
    assert name in refused.value.message("en") and name in refused.value.message("zh")
