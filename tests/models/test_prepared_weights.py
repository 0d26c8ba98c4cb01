"""Prepared weights: written once in the form in which they are used, read instead of the original, removed without loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.config.loader import PROJECT_ROOT
from core.errors import Cancelled
from core.inference import pipeline_reading, prepared_weights, weight_reading
from core.inference.generator import Generator, build_generator
from core.models.catalog import Catalog
from core.models.model_paths import ModelPaths
from core.models.prepared_files import FOLDER, prepared_files, remove_prepared
from core.models.weight_files import read_header
from tests.models import tiny_models

HALF = {"model.dtype": "bfloat16"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_models.z_image(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(autouse=True)
def small_parts_too(monkeypatch):
    monkeypatch.setattr(prepared_weights, "SMALLEST", 0)
    monkeypatch.setattr(prepared_weights, "SPARE", 0)


@pytest.fixture
def made(tmp_path, folder, request_of):
    """Return a function that loads the tiny model in a new generator, and its image with the decisions about preparing."""

    def run(changed=HALF, prepares=True, watch=None):
        generator = Generator(Catalog(PROJECT_ROOT / "configs", ModelPaths(tmp_path)), prepares=prepares)
        request = request_of(model=str(folder), width=64, height=64, num_inference_steps=2, changed=dict(changed))
        image = generator.generate(request).images[0]
        told = [one.reason["en"] for one in image.decisions if one.option == prepared_weights.OPTION]
        return np.asarray(image.image), told, generator

    return run


@pytest.mark.by_default("int8")
@pytest.mark.parametrize("quantization", ["none", "int8", "int8_dynamic", "fp8_storage"])
def test_second_load_reads_prepared_parts_and_draws_the_same_pixels(made, tmp_path, quantization, monkeypatch):
    changed = {**HALF, "memory.quantization": quantization}
    plain, nothing, _ = made(changed, prepares=False)
    first, wrote, before = made(changed)
    assert not nothing and len(wrote) == 1 and "written once" in wrote[0]
    forms = {one.part: one.form for one in prepared_files(tmp_path)}
    quantised = dict.fromkeys(("text_encoder", "transformer"), f"bfloat16-{quantization}")
    assert forms == ({"transformer": "bfloat16"} if quantization == "none" else quantised), (
        "stored in float16: nothing to gain"
    )
    weights = dict(before.loaded.pipeline.transformer.named_parameters())

    originals = []

    def read_part(part, *given, read=pipeline_reading.read_part):
        originals.append(part)
        return read(part, *given)

    monkeypatch.setattr(pipeline_reading, "read_part", read_part)
    second, read, after = made(changed)
    assert len(read) == 1 and "read from prepared weights" in read[0]
    assert set(originals) == {"text_encoder", "transformer", "vae"} - set(forms)
    assert np.array_equal(plain, first) and np.array_equal(plain, second)
    again = dict(after.loaded.pipeline.transformer.named_parameters())
    assert {name: (type(one.data), one.dtype) for name, one in again.items()} == {
        name: (type(one.data), one.dtype) for name, one in weights.items()
    }


@pytest.mark.slow
def test_what_is_used_as_it_is_stored_is_not_written(made, tmp_path):
    _, told, _ = made({"model.dtype": "float32"})
    assert told == [] and prepared_files(tmp_path) == []


@pytest.mark.slow
def test_small_parts_are_not_written(made, tmp_path, monkeypatch):
    monkeypatch.setattr(prepared_weights, "SMALLEST", 10**9)
    assert made()[1] == [] and prepared_files(tmp_path) == []


@pytest.mark.slow
def test_a_damaged_file_is_removed_and_the_original_read(made, tmp_path):
    plain = made()[0]
    file = next(one.path for one in prepared_files(tmp_path) if one.part == "transformer")
    values = torch.full((8192,), float("nan")).to(torch.bfloat16).view(torch.uint8).numpy().tobytes()
    with file.open("r+b") as stream:
        stream.seek(-len(values), 2)
        stream.write(values)
    again, told, _ = made()
    assert np.array_equal(plain, again)
    assert len(told) == 1 and "written once" in told[0], "it was not read from the damaged file, and is written anew"


def test_too_little_disk_space_says_so(made, tmp_path, monkeypatch):
    monkeypatch.setattr(prepared_weights, "SPARE", 10**18)
    assert "GB are free" in made()[1][0] and prepared_files(tmp_path) == []


def test_a_disk_that_refuses_does_not_fail_the_load(made, tmp_path):
    (tmp_path / FOLDER).write_text("a file where the folder would be")
    assert "could not be written" in made()[1][0]


@pytest.mark.slow
def test_writing_is_shown_and_cancelled(tmp_path, folder, request_of, monkeypatch):
    monkeypatch.setattr(weight_reading, "SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(weight_reading, "TELL_SECONDS", 0.0)
    generator = Generator(Catalog(PROJECT_ROOT / "configs", ModelPaths(tmp_path)), prepares=True)
    writing, told = [], []

    def count(size, count=prepared_weights.count_copied):
        writing.append(size)
        count(size)

    monkeypatch.setattr(prepared_weights, "count_copied", count)
    with pytest.raises(Cancelled):
        generator.load(str(folder), request_of(changed=HALF).options, told.append, lambda: bool(writing))
    assert generator.loaded is None and list((tmp_path / FOLDER).iterdir()) == [], "nothing half written stays"
    generator.load(str(folder), request_of(changed=HALF).options, told.append)
    tensors = [tensor for one in prepared_files(tmp_path) for tensor in read_header(one.path).values()]
    written = sum(tensor.bytes for tensor in tensors)
    assert any(one.total_bytes == written and one.read_bytes for one in told), "what is written is counted by itself"


@pytest.mark.slow
def test_other_versions_write_anew_and_remove_what_they_supersede(made, tmp_path, monkeypatch):
    made()
    before = {one.path for one in prepared_files(tmp_path)}
    monkeypatch.setattr("core.models.prepared_files.FORMAT", "of another version")
    assert "written once" in made()[1][0]
    after = {one.path for one in prepared_files(tmp_path)}
    assert len(after) == len(before) and not after & before


def test_removing_gives_the_disk_space_back(made, tmp_path, folder):
    made()
    size = sum(one.bytes for one in prepared_files(tmp_path))
    assert remove_prepared(tmp_path, "another model") == 0
    assert remove_prepared(tmp_path, str(folder)) == size > 0 and prepared_files(tmp_path) == []


@pytest.mark.option("models.prepare")
def test_the_setting_decides(tmp_path):
    values = {"models.store": str(tmp_path), "models.folders": (), "model.id": "demo", "lora.folders": ()}
    kept = [
        build_generator(PROJECT_ROOT / "configs", {**_defaults(), **values, "models.prepare": one})._prepared_in
        for one in ("auto", "never")
    ]
    assert kept == [tmp_path, None]


def _defaults():
    from core.config.options import SCHEMA

    return {option.key: option.default for option in SCHEMA.options.values()}
