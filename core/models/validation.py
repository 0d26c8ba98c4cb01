"""Check whether a folder or file is a model that may be loaded, by names, sizes and headers, before memory is allocated."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from core.errors import ModelFileError
from core.i18n import filled, localize
from core.models.families import FAMILIES
from core.models.families.base import Family
from core.models.weight_files import SAFETENSORS, BadFile, Tensor, read_header

MANIFEST = ".zdarkroom.json"  # what the studio's own download knows of its files
VARIANTS = (
    "bf16",
    "fp16",
    "",
)  # of weights that are stored more than once: 16 bits before 32, which take twice the space

WEIGHT_NAMES = ("diffusion_pytorch_model", "model")  # what the libraries look for in a part's folder


def _either(labels: Iterable[str]) -> dict[str, str]:
    """Return a list of families in both languages."""
    names = sorted(set(labels))
    return {"en": " or ".join(names), "zh": "、".join(names)}


_MODELS = _either(
    family.label
    for family in FAMILIES.values()
    if family.plain is None and type(family).detect_file is not Family.detect_file
)
_NETWORKS = _either(FAMILIES[family.plain].label for family in FAMILIES.values() if family.plain is not None)
_AGAIN = localize("models.validation.again")
PROBLEMS = {
    "folder": localize("models.validation.problems.folder"),
    "missing": localize("models.validation.problems.missing", again=_AGAIN),
    "json": localize("models.validation.problems.json"),
    "pipeline": localize("models.validation.problems.pipeline", families=", ".join(FAMILIES)),
    "foreign": localize("models.validation.problems.foreign"),
    "truncated": localize("models.validation.problems.truncated"),
    "longer": localize("models.validation.problems.longer"),
    "header": localize("models.validation.problems.header"),
    "empty": localize("models.validation.problems.empty"),
    "lfs": localize("models.validation.problems.lfs"),
    "web_page": localize("models.validation.problems.web_page"),
    "json_answer": localize("models.validation.problems.json_answer"),
    "text_answer": localize("models.validation.problems.text_answer"),
    "archive": localize("models.validation.problems.archive"),
    "unfinished": localize("models.validation.problems.unfinished"),
    "rename": localize("models.validation.problems.rename"),
    "shards": localize("models.validation.problems.shards"),
    "shard_lacks": localize("models.validation.problems.shard_lacks"),
    "decoder_alone": localize("models.validation.problems.decoder_alone"),
    "scheme": localize("models.validation.problems.scheme"),
    "scheme_broken": localize("models.validation.problems.scheme_broken"),
    "part_absent": localize("models.validation.problems.part_absent"),
    "part_alone": localize("models.validation.problems.part_alone"),
    "no_model": localize("models.validation.problems.no_model", models=_MODELS),
    "ema": localize("models.validation.problems.ema"),
    "weights_missing": localize("models.validation.problems.weights_missing"),
    "one_shard": localize("models.validation.problems.one_shard"),
    "weights_unknown": localize("models.validation.problems.weights_unknown"),
    "weights_values": localize("models.validation.problems.weights_values"),
    "decayed": localize("models.validation.problems.decayed"),
    "weights_shape": localize("models.validation.problems.weights_shape"),
    "quantised_folder": localize("models.validation.problems.quantised_folder"),
    "only_pickle": localize("models.validation.problems.only_pickle"),
    "parts": localize("models.validation.problems.parts"),
    "gguf": localize("models.validation.problems.gguf"),
    "quantisation": localize("models.validation.problems.quantisation"),
    "pickle": localize("models.validation.problems.pickle"),
    "outside": localize("models.validation.problems.outside"),
    "download": localize("models.validation.problems.download"),
    "kind": localize("models.validation.problems.kind"),
    "tensors": localize("models.validation.problems.tensors", models=_MODELS, networks=_NETWORKS),
    "kin": localize("models.validation.problems.kin", models=_MODELS),
    "frame": localize("models.validation.problems.frame"),
    "lacks": localize("models.validation.problems.lacks"),
    "base": localize("models.validation.problems.base"),
    "network": localize("models.validation.problems.network", networks=_NETWORKS),
    "places": localize("models.validation.problems.places"),
}


def problem(model: str, file: str, name: str, /, **values: str) -> ModelFileError:
    """Return the error for one of PROBLEMS; `values` fill its braces."""
    words = {language: filled(text, values) if values else text for language, text in PROBLEMS[name].items()}
    error = ModelFileError(model=model, file=file, problem=words)
    error.kind = name
    return error


# -- a folder ----------------------------------------------------------------------------------------------------------


def check_folder(folder: Path, model: str, elsewhere: Collection[str] = ()) -> None:
    """Raise ModelFileError naming the first file that is missing, unsafe, truncated or unreadable.

    Files that no loader reads, such as a pickle beside the safetensors, are not judged, nor are the weights of parts
    that are read from `elsewhere`.
    """
    if not os.path.isdir(folder):  # False, where Path.is_dir raises, for a name that no file system takes
        raise problem(model, str(folder), "folder")
    family = family_of(folder, model)
    for component, part in family.parts.items():
        check_config(folder, f"{component}/{part.config}", model)
        if not part.weights:
            refuse_pointers(folder, component, model)
    for name in weight_names(folder, model, elsewhere):
        check_weights(folder / name, name, model)


def check_config(folder: Path, name: str, model: str) -> dict[str, Any]:
    """Return a part's configuration; ModelFileError where it names code of its own, an adapter, or a foreign quantisation."""
    config = read_json(folder, name, model)
    if "auto_map" in config:  # transformers' way to name code that comes with the weights
        raise problem(model, name, "foreign")
    quantised = config.get("quantization_config")
    if isinstance(quantised, dict):
        missing = missing_for_quantised(quantised)
        if missing is not None:
            method = str(quantised.get("quant_method", "?"))
            reasons = {language: {"scheme": method, "reason": text} for language, text in missing.items()}
            words = {
                language: PROBLEMS["quantised_folder"][language].format(**reasons[language]) for language in reasons
            }
            raise ModelFileError(model=model, file=name, problem=words)
    return config


QUANTISERS = {
    "bitsandbytes": "bitsandbytes",
    "torchao": "torchao",
    "sdnq": "sdnq",
    "gguf": "gguf",
}


def missing_for_quantised(config: Mapping[str, Any]) -> Mapping[str, str] | None:
    """Return what a part that was saved quantised needs and this machine lacks; None when diffusers can read it here."""
    method = str(config.get("quant_method", ""))
    if method == "nunchaku_lite":
        return localize("models.validation.nunchaku_runs_downloaded_code")
    package = QUANTISERS.get(method)
    if package is None:
        return localize(
            "models.validation.known_are_take_the_model_in",
            quantisers=", ".join(QUANTISERS),
            quantisers_2="、".join(QUANTISERS),
        )
    if find_spec(package) is None:
        return localize("models.validation.it_needs_the_package_which_is", package=package)
    return None


def family_of(folder: Path, model: str) -> Family:
    """Return what the folder says it is, when each of its classes is one that belongs there; ModelFileError otherwise."""
    index = read_json(folder, "model_index.json", model)
    name = index.get("_class_name")
    family = FAMILIES.get(name) if isinstance(name, str) else None  # a list names a pipeline's own file
    if family is None:
        raise problem(model, "model_index.json", "pipeline")
    for component, named in index.items():
        if component.startswith("_") or component in family.unused or not isinstance(named, list):
            continue
        if named == [None, None]:  # a part that the pipeline can do without
            continue
        part = family.parts.get(component)
        if part is None or named[:1] != [part.library] or named[1:] not in [[one] for one in (*part.classes, *part.generic)]:
            raise problem(model, f"model_index.json ({component})", "foreign")
    return family


def refuse_pointers(folder: Path, part: str, model: str) -> None:
    """Raise ModelFileError for a Git LFS pointer in place of a tokenizer's file."""
    for path in sorted((folder / part).glob("*")):
        if path.is_file() and not path.name.startswith("."):
            with path.open("rb") as file:
                if file.read(42).startswith(b"version https://git-lfs.github.com/spec/"):
                    raise problem(model, path.relative_to(folder).as_posix(), "lfs")


def read_json(folder: Path, name: str, model: str) -> dict[str, Any]:
    """Return a configuration; a byte order mark before it is skipped. ModelFileError when it is missing or no JSON."""
    path = folder / name
    if not path.is_file():
        raise problem(model, name, "missing")
    text = path.read_bytes()
    if text.startswith(b"version https://git-lfs.github.com/spec/"):
        raise problem(model, name, "lfs")
    if text.lstrip()[:1] == b"<":
        raise problem(model, name, "web_page")
    try:
        data = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise problem(model, name, "json") from None
    if not isinstance(data, dict):
        raise problem(model, name, "json")
    return data


# -- which files are the weights ---------------------------------------------------------------------------------------


def weight_names(folder: Path, model: str, elsewhere: Collection[str] = ()) -> list[str]:
    """Return the weight files that are read, relative to the folder; ModelFileError when a part has none.

    Parts that lie `elsewhere` are left out.
    """
    selected = variants_by_part(folder, model, elsewhere)
    return [name for part, variant in selected.items() for name in files_of_part(folder, part, variant, model)]


def variants_by_part(folder: Path, model: str, elsewhere: Collection[str] = ()) -> dict[str, str]:
    """Return each part's variant: "bf16", "fp16" or "". One that all parts have comes first, then each part's own first."""
    weighty = [part for part in family_of(folder, model).weighty if part not in elsewhere]
    return choose_variants(folder, weighty, model)


def choose_variants(folder: Path, parts: Iterable[str], model: str) -> dict[str, str]:
    """Return the variant of each of these parts; the part "" is the folder itself."""
    names = tuple(parts)
    for variant in variants_of(folder, names):
        return dict.fromkeys(names, variant)
    return {part: _own_variant(folder, part, model) for part in names}


def _own_variant(folder: Path, part: str, model: str) -> str:
    found = next(iter(variants_of(folder, (part,))), None)
    if found is None:
        pickled = [path for path in (folder / part).glob("*") if path.suffix in PICKLED]
        raise problem(model, f"{part}/*.safetensors".removeprefix("/"), "only_pickle" if pickled else "missing")
    return found


PICKLED = (".bin", ".ckpt", ".pt", ".pth")  # how weights end that are never opened


def unread_weights(folder: Path) -> list[str]:
    """Return the weight files of a folder that are not opened, since they are pickles or another program's."""
    endings = (*PICKLED, ".msgpack", ".h5", ".onnx", ".onnx_data")
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.name.endswith(endings))
    return sorted(path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))


def variants_of(folder: Path, parts: Iterable[str]) -> list[str]:
    """Return those of VARIANTS that every one of the parts has; the part "" is the folder itself."""
    return [variant for variant in VARIANTS if all(_stored(folder, part, variant) for part in parts)]


def is_variant(name: str, variant: str) -> bool:
    """Return True for a file name of this variant: `model.fp16.safetensors`, `model.fp16-00001-of-00002...`."""
    stem = _plain_index(name).removesuffix(".index.json").removesuffix(SAFETENSORS)
    mark = re.sub(r"-\d+-of-\d+$", "", stem.partition(".")[2])
    return mark == variant  # any other mark, such as non_ema, is of no variant that is read


def _stored(folder: Path, part: str, variant: str) -> list[Path]:
    names = _listed(folder, part)
    return [path for path in names if is_variant(path.name, variant)]


def _listed(folder: Path, part: str) -> list[Path]:
    """Weight files and indexes; a name that begins with a dot is some system's own."""
    names = sorted((folder / part).glob(f"*{SAFETENSORS}")) + sorted((folder / part).glob(f"*{SAFETENSORS}.index*"))
    names += sorted((folder / part).glob("*.index.*.json"))
    return [path for path in names if not path.name.startswith(".")]


def _plain_index(name: str) -> str:
    """The libraries write `model.safetensors.index.fp16.json`; others write `model.fp16.safetensors.index.json`."""
    head, found, tail = name.partition(f"{SAFETENSORS}.index.")
    mark = tail.removesuffix(".json").removesuffix("json")
    return f"{head}.{mark}{SAFETENSORS}.index.json" if found and mark else name


def files_of_part(folder: Path, part: str, variant: str, model: str) -> list[str]:
    """Return the shards that the part's index names, or its single file; relative to the folder."""
    stored = _stored(folder, part, variant)
    index = next((path for path in stored if path.suffix == ".json"), None)
    if index is None:
        plain = [path for path in stored if path.suffix == SAFETENSORS]
        named = [path for path in plain if path.name.partition(".")[0] in WEIGHT_NAMES]
        first = (named or plain)[0]
        return [path.relative_to(folder).as_posix() for path in _shards_like(first, plain, model)]
    name = index.relative_to(folder).as_posix()
    shards = read_json(folder, name, model).get("weight_map")
    values = list(shards.values()) if isinstance(shards, dict) else []
    if not values or any(not isinstance(shard, str) for shard in values):
        raise problem(model, name, "json")
    if any(Path(shard).name != shard for shard in values):
        raise problem(model, name, "outside")
    return [(Path(part) / shard).as_posix() for shard in sorted(set(values))]


_SHARD = re.compile(r"(.*)-(\d+)-of-(\d+)(\.safetensors)")


def _shards_like(first: Path, files: Iterable[Path], model: str) -> list[Path]:
    """Return all shards of the set that a file belongs to, whose index is lost; the file itself when it is whole."""
    found = _SHARD.fullmatch(first.name)
    if found is None:
        return [first]
    stem, count = found[1], int(found[3])
    wanted = [first.with_name(f"{stem}-{one:0{len(found[2])}}-of-{found[3]}{found[4]}") for one in range(1, count + 1)]
    there = set(files)
    missing = next((path.name for path in wanted if path not in there), None)
    if missing is not None:
        raise problem(model, missing, "shards")
    return wanted


def is_found_by(library: str, folder: Path, variant: str) -> bool:
    """Return True when a library finds a part's weights itself: by an index, or by the one name that it looks for."""
    name = {"diffusers": WEIGHT_NAMES[0], "transformers": WEIGHT_NAMES[1]}[library] + SAFETENSORS
    looked_for = [name, f"{name}.index.json"]
    if variant:
        looked_for = [f"{name.removesuffix(SAFETENSORS)}.{variant}{SAFETENSORS}", f"{name}.index.{variant}.json"]
    return any(path.name in looked_for for path in _stored(folder, "", variant))


def check_index(folder: Path, variant: str, model: str) -> None:
    """Raise ModelFileError when a shard lacks a tensor that the part's index has in it."""
    index = next((path for path in _stored(folder, "", variant) if path.suffix == ".json"), None)
    if index is None:
        return
    for name, shard in read_json(folder, index.name, model)["weight_map"].items():
        if name not in check_weights(folder / shard, shard, model):
            raise problem(model, shard, "shard_lacks", name=name, index=index.name)


# -- one file ----------------------------------------------------------------------------------------------------------


def check_weights(path: Path, name: str, model: str) -> Mapping[str, Tensor]:
    """Return the tensors of a weight file; ModelFileError when it is missing, no such file, or of the wrong length."""
    if not path.is_file():
        raise problem(model, name, "missing")
    try:
        return read_header(path)
    except BadFile as bad:
        raise problem(model, name, bad.kind, **bad.values) from None
    except OSError:
        raise problem(model, name, "missing") from None


# -- where it may lie --------------------------------------------------------------------------------------------------


def check_place(path: Path, allowed: Iterable[Path], model: str) -> None:
    """Raise ModelFileError unless the path, its links followed, lies in one of the allowed folders."""
    real = Path(os.path.realpath(path))
    roots = [Path(os.path.realpath(root)) for root in allowed]
    if not any(real == root or root in real.parents for root in roots):
        raise problem(model, str(path), "outside")
