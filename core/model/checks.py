"""Is this folder a model that may be loaded? Answered from names, sizes and headers, before any memory is taken.

What this module does not know: torch, diffusers, the catalogue.
"""

from __future__ import annotations

import json
import math
import os
import struct
from pathlib import Path

from core.errors import ModelFileError

COMPONENTS = ("scheduler", "text_encoder", "tokenizer", "transformer", "vae")  # of a ZImagePipeline
CONFIGS = {
    "scheduler": "scheduler_config.json",
    "text_encoder": "config.json",
    "tokenizer": "tokenizer_config.json",
    "transformer": "config.json",
    "vae": "config.json",
}
WEIGHTS = ("text_encoder", "transformer", "vae")
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")  # pickle protocols; torch's zip

PROBLEMS = {
    "folder": {
        "en": "there is no such folder; give the path of a diffusers folder or the id of a model in the catalogue",
        "zh": "没有这个文件夹；请给出 diffusers 文件夹的路径或目录中的模型编号",
    },
    "missing": {
        "en": "the file is missing; copy or download the model again",
        "zh": "缺少此文件；请重新复制或下载模型",
    },
    "json": {
        "en": "the file is not valid JSON; copy or download it again",
        "zh": "不是有效的 JSON；请重新复制或下载",
    },
    "pipeline": {
        "en": "this is not a ZImagePipeline; only Z-Image folders can be used",
        "zh": "这不是 ZImagePipeline；只能使用 Z-Image 文件夹",
    },
    "truncated": {
        "en": "the file is shorter than its header says; copy or download it again",
        "zh": "文件比文件头所述的短；请重新复制或下载",
    },
    "header": {
        "en": "this is not a safetensors file; get the model in the safetensors format",
        "zh": "这不是 safetensors 文件；请使用 safetensors 格式的模型",
    },
    "pickle": {
        "en": "pickle files can run code and are refused; remove it and use safetensors",
        "zh": "pickle 文件可能执行代码，已拒绝；请删除并改用 safetensors",
    },
    "download": {
        "en": "the weights are not on this machine; download them with the Hugging Face tools or give a folder's path",
        "zh": "本机没有权重；请用 Hugging Face 工具下载，或给出文件夹路径",
    },
}


def problem(model: str, file: str, name: str) -> ModelFileError:
    """The error for one of PROBLEMS."""
    return ModelFileError(model=model, file=file, problem=PROBLEMS[name])


def check_folder(folder: Path, model: str) -> None:
    """Raise ModelFileError naming the first file that is missing, unsafe, truncated or unreadable."""
    if not os.path.isdir(folder):  # False, where Path.is_dir raises, for a name that no file system takes
        raise problem(model, str(folder), "folder")
    _refuse_pickles(folder, model)
    index = _json(folder, "model_index.json", model)
    if index.get("_class_name") != "ZImagePipeline":
        raise problem(model, "model_index.json", "pipeline")
    for component in COMPONENTS:
        _json(folder, f"{component}/{CONFIGS[component]}", model)
    for component in WEIGHTS:
        for name in _weight_files(folder, component, model):
            check_safetensors(folder / name, name, model)


def _refuse_pickles(folder: Path, model: str) -> None:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix in PICKLE_SUFFIXES or (path.suffix == ".safetensors" and _is_pickle(path)):
            raise problem(model, name, "pickle")


def _is_pickle(path: Path) -> bool:
    """By content. A safetensors header's length may look like a pickle's first bytes; its JSON's brace tells them apart."""
    with path.open("rb") as file:
        head = file.read(9)
    return head.startswith(PICKLE_STARTS) and head[8:9] != b"{"


def _json(folder: Path, name: str, model: str) -> dict[str, object]:
    path = folder / name
    if not path.is_file():
        raise problem(model, name, "missing")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError):
        raise problem(model, name, "json") from None
    if not isinstance(data, dict):
        raise problem(model, name, "json")
    return data


def _weight_files(folder: Path, component: str, model: str) -> list[str]:
    """The safetensors of a component: the shards that its index names, or the single file."""
    index = next((folder / component).glob("*.safetensors.index.json"), None)
    if index is not None:
        name = index.relative_to(folder).as_posix()
        shards = _json(folder, name, model).get("weight_map")
        names = sorted(set(shards.values())) if isinstance(shards, dict) else []
        return [f"{component}/{shard}" for shard in names]
    single = sorted((folder / component).glob("*.safetensors"))
    if not single:
        raise problem(model, f"{component}/*.safetensors", "missing")
    return [f"{component}/{single[0].name}"]


def check_safetensors(path: Path, name: str, model: str) -> None:
    """The header must be JSON and the file exactly as long as its tensors need (8 bytes length, header, data)."""
    if not path.is_file():
        raise problem(model, name, "missing")
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise problem(model, name, "truncated")
        (length,) = struct.unpack("<Q", start)
        if length > 100_000_000:  # the format's own limit for a header
            raise problem(model, name, "header")
        if length > size - 8:
            raise problem(model, name, "truncated")
        raw = file.read(length)
    try:
        header = json.loads(raw)
        end = max((entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"), default=0)
    except (ValueError, UnicodeDecodeError, TypeError, KeyError, AttributeError, IndexError):
        raise problem(model, name, "header") from None
    if size < 8 + length + end:
        raise problem(model, name, "truncated")


def count_parameters(folder: Path) -> dict[str, int]:
    """The parameters of each component of a checked folder, by the headers of its weights: their dtype does not matter."""
    return {
        component: sum(_parameters(folder / name) for name in _weight_files(folder, component, folder.name))
        for component in WEIGHTS
    }


def _parameters(path: Path) -> int:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return sum(math.prod(entry["shape"]) for key, entry in header.items() if key != "__metadata__")
