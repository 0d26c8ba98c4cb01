"""Loading a model: what it tells of the bytes that it has read, and how it is cancelled."""

from __future__ import annotations

import pytest

from core.config.loader import PROJECT_ROOT
from core.errors import Cancelled
from core.inference import weight_reading
from core.inference.generator import Generator
from core.inference.pipeline_reading import read_pipeline
from core.models.catalog import Catalog
from core.models.model_paths import ModelPaths
from core.models.part_sources import files_of, weights_by_part
from core.types import Phase


@pytest.fixture
def catalog(tmp_path):
    return Catalog(PROJECT_ROOT / "configs", ModelPaths(tmp_path))


@pytest.fixture(autouse=True)
def each_call_tells(monkeypatch):
    monkeypatch.setattr(weight_reading, "SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(weight_reading, "TELL_SECONDS", 0.0)


def test_loading_tells_the_bytes_read_of_all_weight_files(catalog, request_of):
    told = []
    Generator(catalog).load("demo", request_of().options, told.append)
    reading = [one for one in told if one.total_bytes]
    files = {file for _, file in weights_by_part(*files_of(catalog.find("demo")))}
    assert {one.total_bytes for one in reading} == {sum(file.stat().st_size for file in files)}
    read = [one.read_bytes for one in reading]
    assert read == sorted(read) and 0 < read[-1] <= reading[-1].total_bytes
    assert {one.phase for one in reading} == {Phase.LOADING} and {one.fraction for one in reading} == {0.0}


def test_loading_can_be_cancelled_and_begun_again(catalog, request_of):
    asked = iter([False, False, True])
    generator = Generator(catalog)
    with pytest.raises(Cancelled):
        generator.load("demo", request_of().options, lambda progress: None, lambda: next(asked))
    assert generator.loaded is None
    generator.load("demo", request_of().options, lambda progress: None)
    assert generator.loaded.model == "demo"


def test_cancelling_is_heard_although_a_library_raises_an_error_of_its_own(catalog, request_of):
    def read(info, dtypes):
        try:
            return read_pipeline(info, dtypes)
        except Exception as error:
            raise OSError("Unable to load weights") from error

    with pytest.raises(Cancelled):
        Generator(catalog, read).load("demo", request_of().options, lambda progress: None, lambda: True)


def test_bytes_that_are_copied_out_of_a_file_count(tmp_path):
    file, told = tmp_path / "a.gguf", []
    file.write_bytes(bytes(1000))
    watch = weight_reading.LoadWatch(lambda read, total: told.append((read, total)), lambda: False)
    weight_reading.count_copied(500)  # without a watch it says nothing
    with watch.over([file, file]):
        weight_reading.count_copied(400)
        weight_reading.count_copied(900)
    assert [total for _, total in told] == [1000, 1000] and told[0][0] >= 400 and told[-1][0] == 1000
