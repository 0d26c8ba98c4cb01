"""Read A1111's text `parameters`, which Forge, SD.Next, Civitai, stable-diffusion.cpp, Fooocus and many others write, too."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from core.config import control_units
from core.config.lora_syntax import read_uses, split_prompt
from core.errors import OptionError
from core.history.importers import common
from core.storage.embedded_texts import DESCRIPTION, PARAMETERS, SOFTWARE
from core.storage.infotext import Infotext, read_infotext, well_formed
from core.types import FoundParameters
from core.types.history import NamedLora

LONGEST = 1_000_000  # characters of text that are read
_USED = ("steps", "cfg scale", "seed", "size", "version", "app", "lora weights")
RESOURCES, CIVITAI_DATA = "Civitai resources", "Civitai metadata"


def read(texts: Mapping[str, str]) -> FoundParameters | None:
    """Return what `parameters` says, or the description where only that has A1111's fields."""
    text = texts.get(PARAMETERS)
    if text is None or len(text) > LONGEST:
        text = _with_fields(texts.get(DESCRIPTION), texts.get("Comment"))
    if text is None:
        return None
    info = read_infotext(text.removeprefix("\ufeff").replace("\r\n", "\n"))
    if not info.fields and text.lstrip()[:1] in ("{", "["):
        return None  # JSON of a program that no reader knows
    return _found(info, _program(info, texts.get(SOFTWARE, "")))


def _with_fields(*texts: str | None) -> str | None:
    return next((text for text in texts if text and len(text) <= LONGEST and read_infotext(text).fields), None)


def _found(info: Infotext, program: str) -> FoundParameters:
    fields = {name.lower(): value for name, value in reversed(list(info.fields.items()))}
    width, height = common.size_of(fields.get("size", ""))
    prompt, loras, usable = _loras(info.prompt)
    if not loras:
        loras, usable = list(_weights(fields.get("lora weights", ""))) or list(_resources(info.fields)), True
    raw = {
        "prompt": prompt.rstrip("\n"),
        "negative_prompt": info.negative_prompt.rstrip("\n") if info.fields or info.negative_prompt else None,
        "steps": _first_word(fields.get("steps")),
        "cfg_scale": _first_word(fields.get("cfg scale")),
        "seed": _first_word(fields.get("seed")),
        "sampler": fields.get("sampler"),
        "model": fields.get("model") or _checkpoint(info.fields),
        "width": width,
        "height": height,
    }
    rest = {name: value for name, value in info.fields.items() if name.lower() not in _USED}
    result = common.found(program, raw, rest, loras, usable)
    for name in (RESOURCES, CIVITAI_DATA):  # what other tools look up by: kept whole
        if name in info.fields:
            kept = well_formed(info.fields[name])[: common.LONGEST_LISTED]
            result = FoundParameters(program, result.values, {**result.unused, name: kept}, result.facts)
    return _with_control_units(result, info.fields)


def _with_control_units(result: FoundParameters, fields: Mapping[str, str]) -> FoundParameters:
    """Add the units of the ControlNet extension; what of one has no equivalent here stays listed under its name."""
    units, unused = [], dict(result.unused)
    for name in control_units.FIELDS:
        read = control_units.read_unit(fields[name]) if name in fields else None
        if read is None:
            continue
        units.append(well_formed(str(read[0])))
        if read[1]:
            unused[name] = common.shown(read[1])
        else:
            unused.pop(name, None)
    if not units:
        return result
    return replace(result, values={**result.values, control_units.KEY: tuple(units)}, unused=unused)


def _first_word(value: str | None) -> str | None:
    return value.replace(",", " ").split(" ")[0] if value else value


def _program(info: Infotext, software: str) -> str:
    """Return the true name of the program, by its version, its own fields, or what else the file says."""
    fields = info.fields
    version, app = fields.get("Version", "").strip(), fields.get("App", "").strip()
    lower = version.lower()
    if app:
        return "SD.Next" if app.lower().startswith("sd.next") else app[:40]
    for start, name in _VERSIONS:
        if lower.startswith(start):
            return name
    if lower[:1] == "f" and lower[1:2].isdigit():
        return _forge(lower)
    if software.startswith("Fooocus"):
        return "Fooocus"
    if RESOURCES in fields or CIVITAI_DATA in fields:
        return "Civitai"
    if "Backend" in fields and "Pipeline" in fields:
        return "SD.Next"
    if "RNG" in fields and "Version" not in fields and "Guidance" in fields:
        return "stable-diffusion.cpp"
    return "A1111"


_VERSIONS = (
    ("z darkroom", "Z Darkroom"),
    ("stable-diffusion.cpp", "stable-diffusion.cpp"),
    ("fooocus", "Fooocus"),
    ("comfyui", "ComfyUI"),
    ("swarmui", "SwarmUI"),
    ("sd.next", "SD.Next"),
    ("invokeai", "InvokeAI"),
    ("reforge", "reForge"),
    ("easyreforge", "EasyReforge"),
    ("forge", "Forge"),
    ("classic", "Forge Classic"),
    ("neo", "Forge Neo"),
)


def _forge(version: str) -> str:
    """Tell the forks of Forge by their versions: f2.0.1v1.10.1 is Forge, f1.0.0v2-v1.10.1 reForge, f1.0.0-v1.10.1 EasyReforge."""
    own, dash, _ = version.partition("-v")
    if not dash or "-" in own:
        return "Forge"
    number = own[1:].partition("v")
    return "reForge" if number[1] and number[2].isdigit() else "EasyReforge" if not number[1] else "Forge"


def _loras(prompt: str) -> tuple[str, list[Any], bool]:
    """Return the prompt without its tags, what they name, and whether the option can say it; otherwise tags stay in the prompt."""
    plain, tags = split_prompt(well_formed(prompt))
    if not tags:
        return prompt, [], True
    try:
        specs = read_uses(tags, "A1111")
    except OptionError:
        pairs = [(parts[0], parts[1] if len(parts) > 1 and parts[1] else 1.0) for parts in (t.split(":") for t in tags)]
        return prompt, [(common.file_stem(name), weight) for name, weight in pairs], False
    return plain, [NamedLora(common.file_stem(spec.name), spec.weight, spec.parts) for spec in specs], True


def _weights(text: str) -> Iterator[tuple[str, str]]:
    """Yield name and weight of `Lora weights: "a: 0.5, b: 1"`, which Fooocus writes."""
    for part in text.split(","):
        name, colon, weight = part.rpartition(":")
        if colon and name.strip():
            yield name.strip(), weight.strip()


def _resources(fields: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Yield name and weight of the LoRAs among Civitai's resources that have a name."""
    for resource in _civitai_list(fields):
        if str(resource.get("type", "")).lower() in ("lora", "lycoris", "locon", "dora") and resource.get("modelName"):
            yield str(resource["modelName"]), resource.get("weight", 1.0)


def _checkpoint(fields: Mapping[str, str]) -> str | None:
    """Return the name of the checkpoint among Civitai's resources."""
    kinds = ("checkpoint", "model")
    return next((r.get("modelName") for r in _civitai_list(fields) if str(r.get("type", "")).lower() in kinds), None)


def _civitai_list(fields: Mapping[str, str]) -> list[dict[str, Any]]:
    try:
        data = json.loads(fields.get(RESOURCES, "[]"))
    except (ValueError, RecursionError):
        return []
    return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []
