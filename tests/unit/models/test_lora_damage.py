"""Damaged, hostile and foreign files in the LoRA folder: each is a clear problem of its own and never takes the list down."""

from __future__ import annotations

import json
import os
import struct
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from core.errors import LoraFileError
from core.models.lora_library import LoraLibrary, describe
from tests.examples import examples

NAME = "transformer.layers.0.attention.to_q"
PAIR = {f"{NAME}.lora_A.weight": torch.ones(2, 240), f"{NAME}.lora_B.weight": torch.ones(240, 2)}


@pytest.fixture
def files(tmp_path: Path) -> LoraLibrary:
    folder = tmp_path / "loras"
    folder.mkdir()
    save_file(
        PAIR,
        folder / "good.safetensors",
        metadata={"ss_tag_frequency": '{"a": {"ink print": 9, "house": 8, "rare": 1}}'},
    )
    return LoraLibrary(folder, tmp_path / "shipped")


def _with_header(path: Path, header: bytes, data: bytes = b"") -> None:
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def _nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def _many(count: int) -> bytes:
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return json.dumps({f"lora_unet_{number}.lora_down.weight": entry for number in range(count)}).encode()


HEADERS = {
    "deep nesting": _nested(100_000),
    "deep arrays": b'{"a":{"dtype":"F32","shape":' + b"[" * 50_000 + b"]" * 50_000 + b',"data_offsets":[0,0]}}',
    "deep metadata": json.dumps({"__metadata__": {"lora_adapter_metadata": "[" * 100_000}}).encode(),
    "too many tensors": _many(40_000),
    "a list": b"[1, 2]",
    "a number": b"7",
    "null tensors": b'{"x.lora_A.weight": null}',
    "negative shape": b'{"x.lora_A.weight": {"dtype": "F32", "shape": [-1, 4], "data_offsets": [0, 0]}}',
    "huge shape": b'{"x.lora_A.weight": {"dtype": "F32", "shape": [9223372036854775807, 4], "data_offsets": [0, 0]}}',
    "text as shape": b'{"x.lora_A.weight": {"dtype": "F32", "shape": "aa", "data_offsets": [0, 0]}}',
    "infinite offsets": b'{"x.lora_A.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 1e999]}}',
    "unknown dtype": b'{"x.lora_A.weight": {"dtype": "F3", "shape": [0, 1], "data_offsets": [0, 0]}}',
    "metadata as a list": b'{"__metadata__": [1], "x.lora_A.weight": {"dtype": "F32", "shape": [0, 1], "data_offsets": [0, 0]}}',
    "empty": b"{}",
    "no text": b"\xff\xfe{}",
    "long name": json.dumps({"a" * 100_000: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}).encode(),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_bad_header_is_a_problem_of_its_file_alone(files: LoraLibrary, kind: str) -> None:
    _with_header(files.folder / "bad.safetensors", HEADERS[kind])
    found = {info.name: info.problem for info in files.all()}
    assert found["good"] is None and isinstance(found["bad"], LoraFileError)
    assert found["bad"].message("en") and found["bad"].message("zh")
    with pytest.raises(LoraFileError):
        files.header("bad")
    assert describe(files.folder / "bad.safetensors")["use"] != "yes"


@settings(max_examples=examples(150), deadline=None)
@given(st.data())
def test_flipped_bytes_and_cuts_never_crash(tmp_path_factory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("damage")
    save_file(
        PAIR,
        folder / "a.safetensors",
        metadata={"lora_adapter_metadata": '{"transformer.r": 2, "transformer.lora_alpha": 2}'},
    )
    whole = bytearray((folder / "a.safetensors").read_bytes())
    header = 8 + int.from_bytes(whole[:8], "little")
    for place in data.draw(st.lists(st.integers(0, header - 1), max_size=4)):
        whole[place] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(whole))))
    (folder / "a.safetensors").write_bytes(bytes(whole[:cut]))
    (info,) = LoraLibrary(folder, folder / "none").all()
    if cut is not None and cut < len(whole):
        assert info.problem is not None
    assert describe(folder / "a.safetensors")["use"]


LONG = "a" * 1_000_000
NOTES = {
    "nested quantifier": {"transformer.target_modules": "(a+)+$", "transformer.r": 2},
    "expression for alpha": {"transformer.alpha_pattern": {"(a|a)*b": 2.0}},
    "long expression": {"transformer.target_modules": LONG, "transformer.rank_pattern": {LONG: 2}},
}


@pytest.mark.parametrize("kind", NOTES)
def test_metadata_is_never_used_as_a_pattern(files: LoraLibrary, kind: str) -> None:
    save_file(PAIR, files.folder / "noted.safetensors", metadata={"lora_adapter_metadata": json.dumps(NOTES[kind])})
    began = time.process_time()
    info = files.find("noted")
    assert time.process_time() - began < 5, "no pattern runs over it"
    assert (info.problem is None) is (kind != "expression for alpha")


def test_links_out_of_the_folder_are_refused(files: LoraLibrary, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8), "red").save(secret)
    (files.folder / "good.png").symlink_to(secret)
    save_file(PAIR, tmp_path / "elsewhere.safetensors")
    (files.folder / "linked.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    (files.folder / "inner.safetensors").symlink_to(files.folder / "good.safetensors")
    found = {info.name: info for info in files.all()}
    assert files.preview("good") is None and not found["good"].preview
    assert "link" in found["linked"].problem.message("en") and found["inner"].problem is None


def test_a_preview_is_a_decoded_image_or_nothing(files: LoraLibrary) -> None:
    image = files.folder / "good.png"
    image.write_bytes(b"root:x:0:0:root:/root:/bin/bash\n")
    assert files.preview("good") is None
    Image.new("RGB", (40, 30), "red").save(image)
    os.utime(image, ns=(1, 1))
    with image.open("ab") as file:
        file.write(b"appended secret")
    preview = files.preview("good")
    assert preview is not None and preview[:4] == b"RIFF" and b"secret" not in preview
    image.write_bytes(b"<svg onload=alert(1)>")
    assert files.preview("good") is None


def test_trigger_words_come_from_the_trainer(files: LoraLibrary) -> None:
    assert files.find("good").triggers == ("ink print", "house")
    save_file(
        PAIR,
        files.folder / "said.safetensors",
        metadata={"modelspec.trigger_phrase": "inkprint, 版画", "modelspec.title": "Ink\x00"},
    )
    info = files.find("said")
    assert info.triggers == ("inkprint", "版画") and info.title == "Ink"


def test_peft_config_beside_the_file_gives_the_scale(files: LoraLibrary) -> None:
    folder = files.folder / "mine"
    folder.mkdir()
    named = {f"base_model.model.{name.removeprefix('transformer.')}": tensor for name, tensor in PAIR.items()}
    save_file(named, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 8, "target_modules": "(a+)+$"}))
    (layer,) = files.header("adapter_model").layers.values()
    assert (layer.alpha, layer.rank) == (8.0, 2)
