"""A model folder is judged before any memory is taken; the error names the file and the cure."""

import json
import pickle
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save_file

from core.errors import ModelFileError
from core.models import validation
from core.models.families import FAMILIES
from core.models.validation import check_folder, family_of, variants_by_part
from core.models.weight_files import is_pickle_data
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


def is_accepted(folder):
    try:
        check_folder(folder, "mine")
    except ModelFileError:
        return False
    return True


def test_a_complete_folder_passes(folder):
    assert is_accepted(folder) and family_of(folder, "mine").pipeline == Z_IMAGE


@pytest.mark.parametrize("name", ["model_index.json", *(f"{part}/{file}" for part, file in CONFIGS.items())])
def test_missing_config(folder, name):
    (folder / name).unlink()
    assert name in refusal(folder)


@pytest.mark.parametrize("component", WEIGHTS)
def test_missing_weights(folder, component):
    (folder / component / "model.safetensors").unlink()
    assert f"{component}/*.safetensors: the file is missing" in refusal(folder)


@pytest.mark.parametrize("keep", [4, 8, 40, 300])
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
    assert is_accepted(folder)


class Malice:
    def __reduce__(self):
        return (print, ("this must never run",))


@pytest.mark.parametrize("protocol", range(6))
def test_pickle_that_is_read_is_refused(folder, protocol, capsys):
    (folder / "vae" / "model.safetensors").write_bytes(pickle.dumps(Malice(), protocol))
    assert "vae/model.safetensors: pickle files can run code" in refusal(folder)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["vae/weights.bin", "vae/notes.txt", "extra.ckpt", "logo.png", ".mdl", "vae/.msc"])
def test_file_that_no_loader_reads_is_not_judged(folder, name):
    (folder / name).write_bytes(pickle.dumps(Malice()))
    assert is_accepted(folder)


def test_only_pickles_are_named(folder):
    (folder / "vae" / "model.safetensors").rename(folder / "vae" / "diffusion_pytorch_model.bin")
    assert "vae/*.safetensors: its weights are there only as a pickle" in refusal(folder)


@pytest.mark.parametrize(
    "text",
    [
        "cff-version: 1.2.0\nmessage: cite it\n",
        "(c) 2025 Somebody\nAll rights reserved.\n",
        "colours were tuned with 4 steps\nuse cfg 1\n",
        "5dd87b1f0d0f5f5a9f7c6c9d3d1d2a6e7a8b9c0d\n",
        "citation\nfor\nme",
        "N.",
    ],
)
def test_text_is_no_pickle(text):
    assert not is_pickle_data(text.encode())


@pytest.mark.parametrize("value", [Malice(), {"a": 1}, [{"Path": "x", "Revision": "y"}]])
@pytest.mark.parametrize("protocol", range(6))
def test_pickle_is_known_by_its_operations(value, protocol):
    assert is_pickle_data(pickle.dumps(value, protocol))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "git lfs pull"),
        (b"<!DOCTYPE html><html><title>Sign in</title></html>", "this is a web page"),
        (b'{"error":"Unauthorized","message":"log in"}', "an error message in JSON"),
        (b"", "the file is empty"),
        (b"Invalid username or password.", "a message that was saved"),
        (b"PK\3\4" + bytes(99), "an archive"),
        (bytes(range(250)), "not a safetensors file"),
    ],
)
def test_file_that_stands_for_weights_is_called_what_it_is(folder, content, words):
    (folder / "vae" / "model.safetensors").write_bytes(content)
    assert words in refusal(folder)


@pytest.mark.parametrize("name", ["vae/config.json", "tokenizer/tokenizer.json"])
def test_pointer_in_place_of_a_small_file(folder, name):
    (folder / name).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n")
    assert f"{name}: this is a Git LFS pointer" in refusal(folder)


def test_byte_order_mark_before_json(folder):
    (folder / "vae" / "config.json").write_bytes(b"\xef\xbb\xbf{}")
    assert is_accepted(folder)


def test_parts_of_different_variants(folder):
    (folder / "transformer" / "model.safetensors").rename(folder / "transformer" / "model.bf16.safetensors")
    check_folder(folder, "mine")
    assert variants_by_part(folder, "mine") == {"text_encoder": "", "transformer": "bf16", "vae": ""}


@pytest.mark.parametrize("scheduler", ["UniPCMultistepScheduler", "HeunDiscreteScheduler", "LCMScheduler"])
def test_schedulers_of_the_library_pass(folder, scheduler):
    index = {
        "_class_name": "StableDiffusionPipeline",
        "scheduler": ["diffusers", scheduler],
        "tokenizer": ["transformers", "AutoTokenizer"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    assert family_of(folder, "mine").pipeline == "StableDiffusionPipeline"


def test_pickle_under_a_safe_name(folder):
    (folder / "vae" / "model.safetensors").write_bytes(pickle.dumps({"a": 1}))
    assert "vae/model.safetensors: pickle files can run code" in refusal(folder)


def test_torch_archive_under_a_safe_name(folder):
    with zipfile.ZipFile(folder / "vae" / "model.safetensors", "w") as archive:
        archive.writestr("archive/data.pkl", "x")
    assert "vae/model.safetensors: pickle files can run code" in refusal(folder)


@pytest.mark.parametrize("protocol_byte", [2, 3, 4, 5])
def test_a_header_length_that_looks_like_a_pickle_is_no_pickle(folder, protocol_byte):
    length = 0x80 + 256 * protocol_byte  # the first two bytes of the file are those of a pickle
    header = b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'.ljust(length)
    (folder / "vae" / "model.safetensors").write_bytes(length.to_bytes(8, "little") + header + b"\0")
    assert is_accepted(folder)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe"])
def test_broken_json(folder, content):
    (folder / "vae" / "config.json").write_bytes(content)
    assert "vae/config.json: the file is not valid JSON" in refusal(folder)


@pytest.mark.parametrize("named", ["FluxPipeline", ["mine", "MyPipeline"], None, 7])
def test_another_pipeline(folder, named):
    (folder / "model_index.json").write_text(json.dumps({"_class_name": named}))
    assert "this pipeline can't be used; those that can: ZImagePipeline, " in refusal(folder)


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


@pytest.mark.parametrize(
    ("method", "words"),
    [("nunchaku_lite", "downloads and runs"), ("sdnq", "the package sdnq"), ("gptq", "known are bitsandbytes, torchao, sdnq")],
)
def test_a_folder_that_was_saved_quantised_says_what_it_lacks(monkeypatch, method, words):
    monkeypatch.setattr(validation, "find_spec", lambda package: None)
    reason = validation.missing_for_quantised({"quant_method": method})
    assert reason is not None and words in reason["en"] and reason["zh"]
