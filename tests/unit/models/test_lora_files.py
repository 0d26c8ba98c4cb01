"""LoRA files are judged by content, by header, and before anything is loaded."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from core.config.loader import PROJECT_ROOT, load_settings
from core.config.lora_syntax import LoraSpec
from core.errors import LoraFileError, UnknownLoraError
from core.models.catalog import Catalog
from core.models.lora_library import LoraLibrary, lora_files
from core.models.model_paths import ModelPaths
from tests.options import measured

DIM = 240  # of the embedded model


@pytest.fixture
def files(tmp_path: Path) -> LoraLibrary:
    return LoraLibrary(tmp_path / "own", tmp_path / "shipped")


@pytest.fixture(scope="module")
def demo():
    return Catalog(PROJECT_ROOT / "configs", ModelPaths(Path("/nowhere"))).find("demo")


def pair(
    name: str, into: int = DIM, out: int = DIM, rank: int = 2, ends: tuple[str, str] = ("lora_A", "lora_B")
) -> dict:
    return {f"{name}.{ends[0]}.weight": torch.zeros(rank, into), f"{name}.{ends[1]}.weight": torch.zeros(out, rank)}


def write(files: LoraLibrary, name: str, tensors: dict, **notes: str) -> Path:
    path = files.folder / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata=notes or None)
    return path


GOOD = pair("transformer.layers.0.attention.to_q")


def said(files: LoraLibrary, name: str) -> str:
    problem = files.find(name).problem
    return problem.message("en") if problem else ""


def test_a_good_one_is_described(files: LoraLibrary, demo) -> None:
    path = write(files, "ink", GOOD)
    Image.new("RGB", (900, 600), "red").save(path.parent / "ink.webp")
    (info,) = files.all()
    assert (info.name, info.kind, info.width, info.rank, info.own, info.preview) == (
        "ink",
        "transformer",
        DIM,
        2,
        True,
        True,
    )
    assert info.digest == hashlib.sha256(path.read_bytes()).hexdigest() and info.problem is None
    with Image.open(io.BytesIO(files.preview("ink") or b"")) as preview:
        assert (preview.format, preview.size) == ("WEBP", (512, 341))
    assert info.fits(demo)
    files.check([LoraSpec("ink", 1.0)], demo)


def test_a_hash_is_kept_until_the_file_changes(files: LoraLibrary) -> None:
    path = write(files, "ink", GOOD)
    first, _ = files.digests("ink")
    write(files, "ink", pair("transformer.layers.0.attention.to_q", rank=3))
    assert files.digests("ink")[0] == hashlib.sha256(path.read_bytes()).hexdigest() != first
    kept = json.loads((files.folder / ".digests.json").read_text())
    assert list(kept) == [str(path)]


def test_a_misspelt_name_gets_the_nearest(files: LoraLibrary, demo) -> None:
    write(files, "ink-print", GOOD)
    with pytest.raises(UnknownLoraError, match=r"ink-prnt; the nearest is ink-print.*lora\.folder"):
        files.check([LoraSpec("ink-prnt", 1.0)], demo)


def test_a_pickle_is_refused_by_content(files: LoraLibrary) -> None:
    write(files, "a", GOOD)
    (files.folder / "b.safetensors").write_bytes(pickle.dumps({"x": 1}))
    torch.save({"x": torch.zeros(1)}, files.folder / "c.pt")
    assert "pickle" in said(files, "b") and "pickle" in said(files, "c") and not said(files, "a")


@pytest.mark.parametrize("cut", [1, 7, 40, -1])
def test_a_truncated_file_is_named(files: LoraLibrary, cut: int) -> None:
    path = write(files, "a", GOOD)
    path.write_bytes(path.read_bytes()[:cut])
    assert "shorter" in said(files, "a") or "not a safetensors" in said(files, "a")


def test_a_longer_file_and_no_safetensors_are_named(files: LoraLibrary) -> None:
    path = write(files, "a", GOOD)
    path.write_bytes(path.read_bytes() + b"x")
    (files.folder / "b.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0" + b"not json, at all")
    (files.folder / "c.safetensors").write_bytes(b"GGUF\x03\0\0\0" + bytes(16))
    assert (
        "longer" in said(files, "a")
        and "not a safetensors" in said(files, "b")
        and "not a safetensors" in said(files, "c")
    )


@pytest.mark.parametrize(
    ("tensors", "word"),
    [
        ({"layers.0.attention.to_q.weight": torch.zeros(4, 4)}, "whole model"),
        ({**GOOD, "layers.0.attention.to_q.weight": torch.zeros(4, 4)}, "whole model"),
        ({"transformer.layers.0.attention.to_q.lora_A.weight": torch.zeros(2, 4)}, "whole model"),
        (pair("transformer.layers.0.attention.to_q") | {"transformer.layers.0.x.lora_B.weight": torch.zeros(4, 3)}, "whole model"),
        ({"lora_unet_mid_block.lokr_w1": torch.zeros(2, 2)}, "not those of a LoRA"),
        ({"lora_unet_layers_0_attention_to_q.oft_blocks": torch.zeros(2, 2, 2)}, "OFT"),
        ({"lora_unet_layers_0_attention_to_q.a1.weight": torch.zeros(2, 2)}, "GLoRA"),
        (pair("transformer.double_blocks.0.img_attn.qkv"), "made for FLUX"),
        (pair("transformer.blocks.0.self_attn.q"), "made for Wan"),
        ({"emb_params": torch.zeros(2, 768)}, "textual inversion"),
        ({"control_model.input_blocks.0.0.weight": torch.zeros(4, 4, 3, 3)}, "ControlNet"),
    ],
)  # fmt: skip
def test_what_is_no_lora_is_named(files: LoraLibrary, tensors: dict, word: str) -> None:
    write(files, "a", tensors)
    assert word in said(files, "a")


@pytest.mark.parametrize(
    ("notes", "refused"),
    [
        (
            {
                "transformer.r": 4,
                "transformer.lora_alpha": 4,
                "transformer.bias": "none",
                "transformer.use_dora": False,
            },
            False,
        ),
        ({"transformer.init_lora_weights": True, "transformer.megatron_core": "megatron.core"}, False),
        ({"transformer.init_lora_weights": "pissa"}, True),
        ({"transformer.init_lora_weights": "olora"}, True),
        ({"transformer.layer_replication": [[0, 4]]}, True),
        ({"transformer.use_qalora": True}, True),
        ({"transformer.alpha_pattern": {"(a+)+$": 4}}, True),
        ({"transformer.qalora_group_size": 16, "transformer.future_option": {"a": [1]}}, False),
        ({"transformer.target_modules": "(a+)+$", "transformer.modules_to_save": ["x"]}, False),
        (["r"], True),
    ],
)
def test_metadata_that_tensors_do_not_give_is_refused(files: LoraLibrary, notes, refused: bool) -> None:
    write(files, "a", GOOD, lora_adapter_metadata=json.dumps(notes))
    assert ("metadata" in said(files, "a")) is refused


NAMINGS = {
    "diffusers": ("transformer.layers.0.attention.to_q", ("lora_A", "lora_B")),
    "old diffusers": ("transformer.layers.0.attention.to_q", ("lora.down", "lora.up")),
    "ComfyUI": ("diffusion_model.layers.0.attention.to_q", ("lora_A", "lora_B")),
    "kohya": ("lora_unet_layers_0_attention_to_q", ("lora_down", "lora_up")),
    "peft": ("base_model.model.transformer.layers.0.attention.to_q", ("lora_A", "lora_B")),
}


@pytest.mark.parametrize("naming", NAMINGS)
def test_the_ways_of_naming_are_one(files: LoraLibrary, demo, naming: str) -> None:
    name, ends = NAMINGS[naming]
    alpha = {f"{name}.alpha": torch.tensor(2.0)} if naming == "kohya" else {}
    write(files, "right", pair(name, ends=ends) | alpha)
    write(files, "wide", pair(name, into=3840, out=3840, ends=ends) | alpha)
    write(files, "odd", pair(name, out=DIM + 8, ends=ends) | alpha)
    files.check([LoraSpec("right", 1.0)], demo)
    with pytest.raises(LoraFileError, match=r"another model \(transformer 3840; demo is transformer 240\)"):
        files.check([LoraSpec("wide", 1.0)], demo)
    with pytest.raises(LoraFileError, match=r"layers[._]0[._]attention[._]to_q has another shape"):
        files.check([LoraSpec("odd", 1.0)], demo)


@pytest.mark.parametrize(
    "name", ["lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k", "unet.mid_block.x.attn2.to_v"]
)
def test_one_for_a_u_net_does_not_fit(files: LoraLibrary, demo, name: str) -> None:
    write(files, "sd", pair(name, into=768, out=320, ends=("lora_down", "lora_up")))
    info = files.find("sd")
    assert (info.kind, info.width) == ("unet", 768)
    with pytest.raises(LoraFileError, match="another model"):
        files.check([LoraSpec("sd", 1.0)], demo)


def test_layers_that_the_model_lacks_do_not_fit(files: LoraLibrary, demo) -> None:
    write(files, "a", pair("transformer.layers.99.attention.to_q"))
    with pytest.raises(LoraFileError, match="none of its layers"):
        files.check([LoraSpec("a", 1.0)], demo)


def test_names_that_cannot_be_written_and_names_that_are_there_twice(files: LoraLibrary) -> None:
    write(files, "a,b", GOOD)
    write(files, "one/ink", GOOD)
    write(files, "two/ink", GOOD)
    problems = [info.problem.message() if info.problem else "" for info in files.all()]
    assert "rename" in problems[0] and problems[1] == "" and "same name" in problems[2]


def test_only_the_users_own_are_removed(files: LoraLibrary) -> None:
    own = write(files, "own", GOOD)
    Image.new("RGB", (8, 8)).save(own.with_suffix(".png"))
    shipped = files._shipped / "theirs.safetensors"
    shipped.parent.mkdir()
    save_file(GOOD, shipped)
    files.remove("own")
    assert not own.exists() and not own.with_suffix(".png").exists()
    with pytest.raises(LoraFileError, match="belongs to the program"):
        files.remove("theirs")
    assert shipped.exists()


@pytest.mark.option("lora.folder")
def test_the_folder_is_where_the_settings_say(tmp_path: Path) -> None:
    assert lora_files(load_settings(overrides={"lora.folder": str(tmp_path)})).folder == tmp_path
    measured("lora.folder", "a folder: LoRAs are looked for there; auto: in models/loras of the output folder")
    assert (
        lora_files(load_settings(overrides={"output.directory": str(tmp_path)})).folder == tmp_path / "models" / "loras"
    )


def test_a_lora_is_known_by_a1111s_hash_whatever_its_name_and_header(files: LoraLibrary) -> None:
    plain = write(files, "a", GOOD)
    other = write(files, "b", GOOD, ss_output_name="b")
    data = plain.read_bytes()
    digest = hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()
    assert files.digests("a")[1] == files.digests("b")[1] == digest
    assert files.digests("a")[0] != files.digests("b")[0]
    other.unlink()
    assert files.named("renamed", digest[:12].upper()) == "a"
    assert (files.named("a", "0" * 12), files.named("renamed", "0" * 12), files.named("x", "")) == ("a", "renamed", "x")


def test_the_shipped_one_is_small_and_fits_the_embedded_model(demo, tmp_path: Path) -> None:
    (info,) = LoraLibrary(tmp_path).all()
    assert (info.name, info.own, info.preview, info.problem) == ("ink-print", False, True, None)
    assert info.bytes < 500_000 and info.fits(demo)
    LoraLibrary(tmp_path).check([LoraSpec("ink-print", 1.0)], demo)
