"""A model folder is judged before any memory is taken; the error names the file and the cure."""

import json
import pickle
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save_file

from core.errors import ModelFileError
from core.models.families import FAMILIES
from core.models.validation import check_folder
from tests.pipelines import Z_IMAGE

PARTS = FAMILIES[Z_IMAGE].parts
CONFIGS = {name: part.config for name, part in PARTS.items()}
WEIGHTS = FAMILIES[Z_IMAGE].weighty


@pytest.fixture
def folder(tmp_path):
    """A folder with all the files of a ZImagePipeline, each as small as can be."""
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "ZImagePipeline"}))
    for component in CONFIGS:
        (tmp_path / component).mkdir()
        (tmp_path / component / CONFIGS[component]).write_text("{}")
    for component in WEIGHTS:
        save_file({"weight": np.ones((8, 8), np.float32)}, tmp_path / component / "model.safetensors")
    return tmp_path


def refusal(folder):
    with pytest.raises(ModelFileError) as caught:
        check_folder(folder, "mine")
    assert "\n" not in caught.value.message("zh")
    return caught.value.message("en")


def test_a_complete_folder_passes(folder):
    check_folder(folder, "mine")


@pytest.mark.parametrize("name", ["model_index.json", *(f"{part}/{file}" for part, file in CONFIGS.items())])
def test_missing_config(folder, name):
    (folder / name).unlink()
    assert name in refusal(folder)


@pytest.mark.parametrize("component", WEIGHTS)
def test_missing_weights(folder, component):
    (folder / component / "model.safetensors").unlink()
    assert f"{component}/*.safetensors: the file is missing" in refusal(folder)


@pytest.mark.parametrize("keep", [0, 4, 8, 40, 300])
def test_truncated_weights(folder, keep):
    path = folder / "transformer" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert "transformer/model.safetensors: the file is shorter" in refusal(folder)


def test_missing_shard(folder):
    weights = folder / "transformer" / "model.safetensors"
    weights.rename(weights.with_name("part-1.safetensors"))
    index = {"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors"}}
    (folder / "transformer" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "part-2.safetensors: the file is missing" in refusal(folder)


def test_a_name_is_no_proof(folder):
    (folder / "vae" / "weights.bin").write_bytes(b"anything")
    check_folder(folder, "mine")


class Malice:
    def __reduce__(self):
        return (print, ("this must never run",))


@pytest.mark.parametrize(
    "name", ["vae/weights.bin", "vae/notes.txt", "transformer/config.json", "extra.ckpt", "logo.png"]
)
@pytest.mark.parametrize("protocol", range(6))
def test_pickle_under_any_name(folder, name, protocol, capsys):
    (folder / name).write_bytes(pickle.dumps(Malice(), protocol))
    assert f"{name}: pickle files can run code" in refusal(folder)
    assert capsys.readouterr().out == ""


def test_pickle_under_a_safe_name(folder):
    (folder / "vae" / "model.safetensors").write_bytes(pickle.dumps({"a": 1}))
    assert "vae/model.safetensors: pickle files can run code" in refusal(folder)


def test_torch_archive_under_a_safe_name(folder):
    with zipfile.ZipFile(folder / "vae" / "model.safetensors", "w") as archive:
        archive.writestr("data.pkl", "x")
    assert "vae/model.safetensors: pickle files can run code" in refusal(folder)


@pytest.mark.parametrize("protocol_byte", [2, 3, 4, 5])
def test_a_header_length_that_looks_like_a_pickle_is_no_pickle(folder, protocol_byte):
    length = 0x80 + 256 * protocol_byte  # the first two bytes of the file are those of a pickle
    header = b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'.ljust(length)
    (folder / "vae" / "model.safetensors").write_bytes(length.to_bytes(8, "little") + header + b"\0")
    check_folder(folder, "mine")


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe"])
def test_broken_json(folder, content):
    (folder / "vae" / "config.json").write_bytes(content)
    assert "vae/config.json: the file is not valid JSON" in refusal(folder)


@pytest.mark.parametrize("named", ["FluxPipeline", ["mine", "MyPipeline"], None, 7])
def test_another_pipeline(folder, named):
    (folder / "model_index.json").write_text(json.dumps({"_class_name": named}))
    assert "this pipeline can't be used; those that can: ZImagePipeline, StableDiffusionPipeline" in refusal(folder)


@pytest.mark.parametrize(
    ("component", "named"),
    [
        ("transformer", ["my_code", "ZImageTransformer2DModel"]),
        ("transformer", ["diffusers", "UNet2DConditionModel"]),
        ("vae", ["diffusers"]),
        ("planner", ["diffusers", "AutoencoderKL"]),
    ],
)
def test_a_class_of_its_own(folder, component, named):
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "ZImagePipeline", component: named}))
    assert f"model_index.json ({component}): it names a class of its own" in refusal(folder)


def test_code_that_a_configuration_names(folder):
    (folder / "text_encoder" / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "modeling.Mine"}}))
    assert "text_encoder/config.json: it names a class of its own" in refusal(folder)


def test_a_shard_that_points_out_of_its_folder(folder):
    index = {"weight_map": {"a": "../vae/model.safetensors"}}
    (folder / "transformer" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "it lies outside the folders" in refusal(folder)


def test_a_file_with_more_than_its_header_says(folder):
    path = folder / "vae" / "model.safetensors"
    path.write_bytes(path.read_bytes() + b"more")
    assert "vae/model.safetensors: the file is longer" in refusal(folder)


def test_garbage_header(folder):
    (folder / "vae" / "model.safetensors").write_bytes((16).to_bytes(8, "little") + b"not json at all!")
    assert "not a safetensors file" in refusal(folder)


def test_no_folder(tmp_path):
    assert "there is no such folder" in refusal(tmp_path / "nothing")
