"""Read Fooocus' own scheme (the interface's English names or the older sentence-like ones), Fooocus-MRE and RuinedFooocus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from core.history.importers import common
from core.storage.embedded_texts import COMMENT, PARAMETERS, SOFTWARE
from core.types import FoundParameters

_NAMES = {
    "prompt": ("prompt", "Prompt"),
    "negative_prompt": ("negative_prompt", "Negative Prompt", "Negative"),
    "steps": ("steps", "Steps"),
    "cfg_scale": ("guidance_scale", "Guidance Scale", "cfg", "CFG"),
    "seed": ("seed", "Seed"),
    "sampler": ("sampler", "Sampler", "sampler_name"),
    "model": ("base_model", "Base Model", "base_model_name"),
}
_SIZES = ("resolution", "Resolution")
_MARKS = (
    "base_model",
    "Base Model",
    "base_model_name",
    "fooocus_v2_expansion",
    "Fooocus V2 Expansion",
)  # only Fooocus has these
_KEPT = (
    "sampler",
    "Sampler",
    "sampler_name",
    "base_model",
    "Base Model",
    "base_model_name",
)  # without an equivalent here


def read(texts: Mapping[str, str]) -> FoundParameters | None:
    """Return what the JSON says; None when it is not of this family."""
    for name in (PARAMETERS, COMMENT, "UserComment"):
        data = common.parsed(texts.get(name))
        if data is not None and (program := _program(data, texts)):
            return _found(program, data)
    return None


def _program(data: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    software = str(data.get("software") or data.get("Software") or "")
    version = str(data.get("version") or data.get("Version") or "")
    for text in (software, version, texts.get(SOFTWARE, "")):
        if text.lower().startswith("ruinedfooocus"):
            return "RuinedFooocus"
        if text.lower().startswith("fooocus-mre"):
            return "Fooocus-MRE"
        if text.lower().startswith("fooocus"):
            return "Fooocus"
    if data.get("metadata_scheme") == "fooocus" or "fooocus_scheme" in texts or any(mark in data for mark in _MARKS):
        return "Fooocus"
    return ""


def _found(program: str, data: Mapping[str, Any]) -> FoundParameters:
    raw = {field: common.first_of(data, *names) for field, names in _NAMES.items()}
    for field in ("prompt", "negative_prompt"):
        if isinstance(raw[field], list):
            raw[field] = "\n".join(map(str, raw[field]))
    size = common.first_of(data, *_SIZES)
    raw["width"], raw["height"] = (
        common.size_of(size)
        if size
        else (common.first_of(data, "width", "Width"), common.first_of(data, "height", "Height"))
    )
    loras, used = _loras(data)
    names = {name for names in _NAMES.values() for name in names if name not in _KEPT}
    rest = common.without(data, *names, *_SIZES, "width", "height", "Width", "Height")
    return common.found(program, raw, rest, loras, lora_names=used)


def _loras(data: Mapping[str, Any]) -> tuple[list[tuple[Any, Any]], list[str]]:
    """Return file and weight of each LoRA, and the names of the entries they came from.

    `loras` is a list of [name, weight, hash], or RuinedFooocus' [hash, "weight - name"] or "Loras:<name:weight>,...";
    `lora_combined_1` and "LoRA 1" are "name : weight"; "LoRA [name] weight" has the name in its key.
    """
    found, used = [], []
    for name, value in data.items():
        lower = str(name).lower()
        if lower == "loras":
            entries = list(_listed(value))
        elif lower.startswith(("lora_combined_", "lora ")) and isinstance(value, str) and ":" in value:
            file, _, weight = value.rpartition(":")
            entries = [(file.strip(), weight.strip())]
        elif lower.startswith("lora [") and lower.endswith("] weight"):
            entries = [(str(name)[6:-8], value)]
        else:
            continue
        used.append(str(name))
        found += [entry for entry in entries if common.file_stem(str(entry[0])).lower() not in ("", "none")]
    unique = {common.file_stem(str(file)): (file, weight) for file, weight in reversed(found)}
    return list(reversed(unique.values())), used


def _listed(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, str):
        for part in value.removeprefix("Loras:").split(">"):
            name, colon, weight = part.strip(" ,<").rpartition(":")
            if colon:
                yield name, weight
    for entry in value if isinstance(value, list) else []:
        if isinstance(entry, list) and len(entry) >= 2:
            weight, dash, name = str(entry[1]).partition(" - ")
            if dash and common.real(weight) is not None:  # RuinedFooocus: the hash, then "weight - name"
                yield name, weight
                continue
            first_is_weight = common.real(entry[0]) is not None and common.real(entry[1]) is None
            yield (entry[1], entry[0]) if first_is_weight else (entry[0], entry[1])
        elif isinstance(entry, dict):
            yield common.first_of(entry, "name", "lora", "model"), common.first_of(entry, "weight", "strength")
