"""Is this folder or file a model that may be loaded? Answered from names, sizes and headers, before any memory is taken.

What this module does not know: torch, diffusers, the catalogue.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from core.errors import ModelFileError
from core.model.families import FAMILIES
from core.model.families.base import Family
from core.model.formats import SAFETENSORS, BadFile, Tensor, is_pickle, read_header

MANIFEST = ".zdarkroom.json"  # what the studio's own download knows of its files
VARIANTS = (
    "bf16",
    "fp16",
    "",
)  # of weights that are stored more than once: 16 bits before 32, which take twice the space


def _either(labels: Iterable[str]) -> dict[str, str]:
    """A list of families in both languages."""
    names = sorted(set(labels))
    return {"en": " or ".join(names), "zh": "、".join(names)}


_WHOLE = _either(family.label for family in FAMILIES.values() if family.checkpoint is not None)
_OTHERS = _either(family.label for family in FAMILIES.values() if family.checkpoint is None and family.plain is None)
_NETWORKS = _either(FAMILIES[family.plain].label for family in FAMILIES.values() if family.plain is not None)
_AGAIN = {"en": "copy or download the model again", "zh": "请重新复制或下载模型"}
PROBLEMS = {
    "folder": {
        "en": "there is no such folder; give the path of a diffusers folder or the id of a model in the catalogue",
        "zh": "没有这个文件夹；请给出 diffusers 文件夹的路径或目录中的模型编号",
    },
    "missing": {
        "en": f"the file is missing; {_AGAIN['en']}",
        "zh": f"缺少此文件；{_AGAIN['zh']}",
    },
    "json": {
        "en": "the file is not valid JSON; copy or download it again",
        "zh": "不是有效的 JSON；请重新复制或下载",
    },
    "pipeline": {
        "en": f"this pipeline can't be used; those that can: {', '.join(FAMILIES)}",
        "zh": f"无法使用此管线；可用的有：{', '.join(FAMILIES)}",
    },
    "foreign": {
        "en": "it names a class of its own, whose code would have to be run; only the libraries' own classes are allowed. "
        "Get the model from its publisher's repository",
        "zh": "其中指定了自带的类，需要运行其代码；只允许使用库自身的类。请从发布者的仓库获取模型",
    },
    "truncated": {
        "en": "the file is shorter than its header says; copy or download it again",
        "zh": "文件比文件头所述的短；请重新复制或下载",
    },
    "longer": {
        "en": "the file is longer than its header says; copy or download it again",
        "zh": "文件比文件头所述的长；请重新复制或下载",
    },
    "header": {
        "en": "this is not a safetensors file; get the model in the safetensors format",
        "zh": "这不是 safetensors 文件；请使用 safetensors 格式的模型",
    },
    "gguf": {
        "en": "this is not a GGUF file of version 2 or 3; download it again",
        "zh": "这不是版本 2 或 3 的 GGUF 文件；请重新下载",
    },
    "quantisation": {
        "en": "it is quantised in a way that can't be read; take Q4_0 to Q8_0, Q2_K to Q6_K, BF16 or F16",
        "zh": "无法读取其量化方式；请选用 Q4_0 至 Q8_0、Q2_K 至 Q6_K、BF16 或 F16",
    },
    "pickle": {
        "en": "pickle files can run code and are refused; remove it and use safetensors",
        "zh": "pickle 文件可能执行代码，已拒绝；请删除并改用 safetensors",
    },
    "outside": {
        "en": "it lies outside the folders that may be used; add its folder to models.folders, or move it there",
        "zh": "位于允许的文件夹之外；请将其文件夹加入 models.folders，或将其移入允许的文件夹",
    },
    "download": {
        "en": "the weights are not on this machine; download them on the Models page or with `models get`, or give a folder",
        "zh": "本机没有权重；请在模型页或用 `models get` 下载，或给出文件夹路径",
    },
    "kind": {
        "en": "a model is a diffusers folder, one .safetensors or one .gguf file",
        "zh": "模型应为 diffusers 文件夹、单个 .safetensors 或单个 .gguf 文件",
    },
    "tensors": {
        "en": f"this file holds no whole {_WHOLE['en']}, and no transformer or ControlNet of {_OTHERS['en']}; "
        "of other models give the diffusers folder",
        "zh": f"此文件中没有完整的 {_WHOLE['zh']}，也没有 {_OTHERS['zh']} 的变换器或 ControlNet；其他模型请给出 diffusers 文件夹",
    },
    "kin": {
        "en": f"this is another kind of model ({{kind}}); of whole models in one file {_WHOLE['en']} can be used",
        "zh": f"这是另一类模型（{{kind}}）；单文件的完整模型只能使用 {_WHOLE['zh']}",
    },
    "frame": {
        "en": "this {kind} is not built as the published one is, and the file does not say how: that is told by a diffusers "
        "folder of the same shape, and none is on this machine. Add one with `models add`, or name it as base",
        "zh": "此 {kind} 的结构与已发布的不同，而文件本身并未说明；需由同结构的 diffusers 文件夹说明，而本机没有。"
        "请用 `models add` 添加，或以 base 指定",
    },
    "lacks": {
        "en": "the file lacks {parts}, which a diffusers folder of the same shape has, such as {needs}, and none is on this "
        "machine: download one first, or name it as base",
        "zh": "文件缺少 {parts}，须取自同结构的 diffusers 文件夹（如 {needs}），而本机没有：请先下载一个，或以 base 指定",
    },
    "base": {
        "en": "the rest comes from a diffusers folder of the same family and shape, such as {needs}, and none is on this machine: "
        "download one first, or name it as base",
        "zh": "其余部分须取自同系列、同结构的 diffusers 文件夹（如 {needs}），而本机没有：请先下载一个，或以 base 指定",
    },
    "network": {
        "en": f"this is no ControlNet for {_NETWORKS['en']}; only these can be used",
        "zh": f"这不是用于 {_NETWORKS['zh']} 的 ControlNet；只能使用这些",
    },
    "places": {
        "en": "it has another number of control layers than the published ones, and does not say where they belong; "
        "give a diffusers folder, whose config.json does",
        "zh": "其控制层数与已发布的不同，且未说明各层位置；请使用带有 config.json 的 diffusers 文件夹",
    },
}


def problem(model: str, file: str, name: str, **values: str) -> ModelFileError:
    """The error for one of PROBLEMS; `values` fill its braces."""
    words = {language: text.format(**values) if values else text for language, text in PROBLEMS[name].items()}
    return ModelFileError(model=model, file=file, problem=words)


# -- a folder ----------------------------------------------------------------------------------------------------------


def check_folder(folder: Path, model: str) -> None:
    """Raise ModelFileError naming the first file that is missing, unsafe, truncated or unreadable."""
    if not os.path.isdir(folder):  # False, where Path.is_dir raises, for a name that no file system takes
        raise problem(model, str(folder), "folder")
    refuse_pickles(folder, model)
    family = family_of(folder, model)
    for component, part in family.parts.items():
        config = read_json(folder, f"{component}/{part.config}", model)
        if "auto_map" in config:  # transformers' way to name code that comes with the weights
            raise problem(model, f"{component}/{part.config}", "foreign")
    for name in weight_names(folder, model):
        check_weights(folder / name, name, model)


def family_of(folder: Path, model: str) -> Family:
    """What the folder says it is, when each of its classes is one that belongs there; ModelFileError otherwise."""
    index = read_json(folder, "model_index.json", model)
    name = index.get("_class_name")
    family = FAMILIES.get(name) if isinstance(name, str) else None  # a list names a pipeline's own file
    if family is None:
        raise problem(model, "model_index.json", "pipeline")
    for component, named in index.items():
        if component.startswith("_") or component in family.unused or not isinstance(named, list):
            continue
        part = family.parts.get(component)
        if part is None or named[:1] != [part.library] or named[1:] not in [[one] for one in part.classes]:
            raise problem(model, f"model_index.json ({component})", "foreign")
    return family


def refuse_pickles(folder: Path, model: str) -> None:
    """ModelFileError for the first pickle. Of every file, by content: what a library would open is its affair, and changes."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and is_pickle(path):
            raise problem(model, path.relative_to(folder).as_posix(), "pickle")


def read_json(folder: Path, name: str, model: str) -> dict[str, Any]:
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


# -- which files are the weights ---------------------------------------------------------------------------------------


def weight_names(folder: Path, model: str) -> list[str]:
    """The weight files that are read, relative to the folder; ModelFileError when a part has none."""
    family, variant = family_of(folder, model), variant_of(folder, model)
    return [name for part in family.weighty for name in files_of_part(folder, part, variant, model)]


def variant_of(folder: Path, model: str) -> str:
    """Of the stored variants the first of VARIANTS that every part has: "bf16", "fp16", or "" for files without a mark."""
    family = family_of(folder, model)
    for variant in variants_of(folder, family.weighty):
        return variant
    lacking = next(part for part in family.weighty if not _stored(folder, part, ""))
    raise problem(model, f"{lacking}/*.safetensors", "missing")


def variants_of(folder: Path, parts: Iterable[str]) -> list[str]:
    """Those of VARIANTS that every one of the parts has; the part "" is the folder itself."""
    return [variant for variant in VARIANTS if all(_stored(folder, part, variant) for part in parts)]


def is_variant(name: str, variant: str) -> bool:
    """Whether a weight file's or index's name is of this variant: `model.fp16.safetensors`, `model.fp16-00001-of-00002...`."""
    stem = _plain_index(name).removesuffix(".index.json").removesuffix(SAFETENSORS)
    mark = re.sub(r"-\d+-of-\d+$", "", stem.partition(".")[2])
    return mark == variant  # any other mark, such as non_ema, is of no variant that is read


def _stored(folder: Path, part: str, variant: str) -> list[Path]:
    names = sorted((folder / part).glob(f"*{SAFETENSORS}")) + sorted((folder / part).glob(f"*{SAFETENSORS}.index*"))
    names += sorted((folder / part).glob("*.index.*.json"))
    return [path for path in names if is_variant(path.name, variant)]


def _plain_index(name: str) -> str:
    """diffusers writes `model.safetensors.index.fp16.json` where transformers writes `model.fp16.safetensors.index.json`."""
    head, found, tail = name.partition(f"{SAFETENSORS}.index.")
    mark = tail.removesuffix(".json").removesuffix("json")
    return f"{head}.{mark}{SAFETENSORS}.index.json" if found and mark else name


def files_of_part(folder: Path, part: str, variant: str, model: str) -> list[str]:
    """The shards that the part's index names, or its single file; relative to the folder."""
    stored = _stored(folder, part, variant)
    index = next((path for path in stored if path.suffix == ".json"), None)
    if index is None:
        return [next(path for path in stored if path.suffix == SAFETENSORS).relative_to(folder).as_posix()]
    name = index.relative_to(folder).as_posix()
    shards = read_json(folder, name, model).get("weight_map")
    names = sorted(set(shards.values())) if isinstance(shards, dict) else []
    if not names:
        raise problem(model, name, "json")
    if any(not isinstance(shard, str) or Path(shard).name != shard for shard in names):
        raise problem(model, name, "outside")
    return [(Path(part) / shard).as_posix() for shard in names]


# -- one file ----------------------------------------------------------------------------------------------------------


def check_weights(path: Path, name: str, model: str) -> Mapping[str, Tensor]:
    """The tensors of a weight file; ModelFileError when it is missing, no such file, or not as long as it must be."""
    if not path.is_file():
        raise problem(model, name, "missing")
    try:
        return read_header(path)
    except BadFile as bad:
        raise problem(model, name, bad.kind) from None


# -- where it may lie --------------------------------------------------------------------------------------------------


def check_place(path: Path, allowed: Iterable[Path], model: str) -> None:
    """Raise ModelFileError unless the path, its links followed, lies in one of the allowed folders."""
    real = Path(os.path.realpath(path))
    roots = [Path(os.path.realpath(root)) for root in allowed]
    if not any(real == root or root in real.parents for root in roots):
        raise problem(model, str(path), "outside")
