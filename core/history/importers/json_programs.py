"""Read programs that write one flat JSON object, or one text chunk a value: Easy Diffusion, Draw Things, StableStudio ...

Each is known by names that only it uses. An object of any other program is read as far as its names are the usual ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.history.importers import common
from core.storage.embedded_texts import COMMENT, DESCRIPTION, PARAMETERS, SOFTWARE
from core.types import FoundParameters

_NAMES: dict[str, tuple[str, ...]] = {  # field -> names in lower case without "_", " " and "-"
    "prompt": ("prompt", "positiveprompt", "positive", "c", "text"),
    "negative_prompt": ("negativeprompt", "negative", "uc", "nprompt"),
    "steps": ("numinferencesteps", "steps", "inferencesteps", "numsteps"),
    "cfg_scale": ("cfgscale", "guidancescale", "cfg", "scale", "guidance"),
    "seed": ("seed", "noiseseed"),
    "sampler": ("samplername", "sampler", "scheduler", "samplername"),
    "model": (
        "usestablediffusionmodel",
        "stablediffusionmodel",
        "modelname",
        "model",
        "basemodel",
        "checkpoint",
        "modelid",
    ),
    "width": ("width", "w"),
    "height": ("height", "h"),
}
_SIZES = ("size", "resolution")
_TOLD = (
    "steps",
    "cfg_scale",
    "seed",
    "sampler",
    "model",
    "width",
)  # an object with a prompt and two of these is one of parameters


def read(texts: Mapping[str, str]) -> FoundParameters | None:
    """Return what a flat object of parameters says; None when no text is one."""
    chunks = {_plain(name) for name in texts}
    if "usestablediffusionmodel" in chunks or {"stablediffusionmodel", "prompt"} <= chunks:
        return _found("Easy Diffusion", texts)
    for name in (PARAMETERS, "UserComment", COMMENT, DESCRIPTION, "metadata", "sd_metadata", "generation_data"):
        data = common.parsed(texts.get(name))
        result = _object(data, texts) if data is not None else None
        if result is not None:
            return result
    return None


def _object(data: Mapping[str, Any], texts: Mapping[str, str]) -> FoundParameters | None:
    names = {_plain(name) for name in data}
    if texts.get("CreatorTool", "").startswith("Draw Things") or {"c", "uc", "seed"} <= names:
        return _found("Draw Things", data)
    if "usestablediffusionmodel" in names:
        return _found("Easy Diffusion", data)
    if "cfgScale" in data and isinstance(data.get("prompts"), list):
        return _found("StableStudio", data)
    if {"Model", "resolution"} <= set(data) and "num_inference_steps" in data:
        return _found("Hugging Face Space", data)
    hits = sum(any(name in names for name in _NAMES[field]) for field in _TOLD) + any(name in names for name in _SIZES)
    if hits < 2 or not ({"prompt", "positiveprompt", "prompts"} & names):
        return None
    software = (
        common.first_of(data, "software", "Software", "app", "generator", "tool")
        or texts.get(SOFTWARE)
        or "unknown program"
    )
    return _found(str(software)[:60], data)


def _found(program: str, data: Mapping[str, Any]) -> FoundParameters:
    by_name = {_plain(name): name for name in reversed(list(data))}
    selected = {
        field: next(
            (by_name[name] for name in names if name in by_name and data[by_name[name]] not in (None, "")), None
        )
        for field, names in _NAMES.items()
    }
    raw = {field: data[name] if name is not None else None for field, name in selected.items()}
    if isinstance(data.get("prompts"), list):
        raw |= _weighted(data["prompts"])
    if isinstance(raw["sampler"], dict):
        raw["sampler"] = common.first_of(raw["sampler"], "name", "id")
    negative = next((by_name[name] for name in _NAMES["negative_prompt"] if name in by_name), None)
    if raw["negative_prompt"] is None and negative is not None:
        raw["negative_prompt"] = data[negative] or ""
    size = next((data[by_name[name]] for name in _SIZES if name in by_name), None)
    if raw["width"] is None and size is not None:
        raw["width"], raw["height"] = common.size_of(size)
    loras = _loras(data)
    used = [name for field, name in selected.items() if name and field not in ("sampler", "model")]
    return common.found(program, raw, common.without(data, *used), loras)


def _plain(name: str) -> str:
    return str(name).lower().replace("_", "").replace(" ", "").replace("-", "")


def _weighted(prompts: list[Any]) -> dict[str, str]:
    """Return the texts of StableStudio's prompts: those of a negative weight are the negative prompt."""
    sides: dict[str, list[str]] = {"prompt": [], "negative_prompt": []}
    for entry in prompts:
        if isinstance(entry, dict) and isinstance(entry.get("text"), str):
            weight = common.real(entry.get("weight", 1))
            sides["negative_prompt" if weight is not None and weight < 0 else "prompt"].append(entry["text"])
    return {side: "\n".join(texts) for side, texts in sides.items()}


def _loras(data: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """Return file and weight of Draw Things' `v2.loras` or `lora`, or of Easy Diffusion's `use_lora_model` and `lora_alpha`."""
    inner = data.get("v2")
    for entries in (inner.get("loras") if isinstance(inner, dict) else None, data.get("lora"), data.get("loras")):
        if isinstance(entries, list):
            found = [
                (common.first_of(one, "file", "name", "model"), common.first_of(one, "weight", "strength", "scale"))
                for one in entries
                if isinstance(one, dict)
            ]
            return [(file, weight) for file, weight in found if isinstance(file, str)]
    names, weights = _as_list(data.get("use_lora_model")), _as_list(data.get("lora_alpha"))
    return [(name, weights[k] if k < len(weights) else 1.0) for k, name in enumerate(names) if isinstance(name, str)]


def _as_list(value: Any) -> list[Any]:
    if isinstance(value, str) and value.strip().startswith("["):  # a PNG chunk holds Python's form of a list
        value = [part.strip(" '\"") for part in value.strip(" []").split(",")]
    return value if isinstance(value, list) else [value] if value not in (None, "", "None") else []
