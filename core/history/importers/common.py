"""Help all readers: JSON that may be anything, values in the units of this studio, the check by the schema."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.config.lora_syntax import FORBIDDEN, KEY, LoraSpec, read_uses
from core.config.options import SCHEMA
from core.config.prompt_weights import CLIP_SKIP
from core.config.samplers import SAMPLER, SCHEDULE, parse_sampler, parse_schedule
from core.config.schema import AUTO
from core.errors import InputError, OptionError
from core.storage.infotext import VAE_DECODER, VARIATION_SEED, VARIATION_STRENGTH, well_formed
from core.types import FoundParameters, ImageParameters, NamedLora

LONGEST = 2_000_000  # characters of JSON that are read; real workflows have a tenth of it
LONGEST_VALUE = 300  # characters of a value that has no equivalent
LONGEST_LISTED = 20_000  # of a text that is kept whole, such as the prompt of a later pass
MOST_VALUES = 200  # such values
LARGEST_SEED = 2**64 - 1
LORAS = "LoRA"
WEIGHTS = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".onnx")
_KEYS = {  # field of ImageParameters -> option
    "prompt": "generation.prompt",
    "negative_prompt": "generation.negative_prompt",
    "seed": "generation.seed",
    "steps": "generation.num_inference_steps",
    "cfg_scale": "generation.cfg_scale",
    "width": "generation.width",
    "height": "generation.height",
}


def parsed(text: str | None) -> dict[str, Any] | None:
    """Return the JSON object in `text`, also one within a JSON string; None when there is none."""
    if text is None or len(text) > LONGEST:
        return None
    text = text.strip().strip("\0")
    if text[:1] not in ("{", '"'):
        return None
    try:
        data = json.loads(text, strict=False)
        if isinstance(data, str) and data.lstrip().startswith("{"):
            data = json.loads(data, strict=False)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def found(
    program: str,
    raw: Mapping[str, Any],
    rest: Mapping[str, Any],
    loras: Sequence[Any] = (),
    loras_usable: bool = True,
    lora_names: Sequence[str] = (),
) -> FoundParameters:
    """Build the result of a reader.

    `raw` has values by the field names of ImageParameters, in whatever type the file has; what is no such value is
    listed with `rest`,
    which has what has no equivalent here by the other program's names. `loras` are NamedLora or pairs of file name and weight; with
    `loras_usable` False they are named but not made the option (their text encoder weights differ). The entries `lora_names` of
    `rest` say the same as the option and are listed only where it can't be set.
    """
    unused = {
        str(name)[:100]: shown(value) for name, value in list(rest.items())[:MOST_VALUES] if value not in (None, "")
    }
    facts: dict[str, Any] = {
        "prompt": _text(raw.get("prompt")),
        "negative_prompt": _text(raw.get("negative_prompt")),
        "sampler": _text(raw.get("sampler")) or None,
        "model": model_name(raw.get("model")),
        "loras": tuple(_named(loras)),
    }
    numbers: dict[str, Any] = {
        "seed": _seed(raw.get("seed")),
        "steps": _whole(raw.get("steps"), 1),
        "cfg_scale": real(raw.get("cfg_scale")),
        "width": _whole(raw.get("width"), 1),
        "height": _whole(raw.get("height"), 1),
    }
    for name, value in numbers.items():
        if value is None and raw.get(name) not in (None, "", -1, "-1"):
            unused[_KEYS[name]] = shown(raw[name])
    parameters = ImageParameters(**facts, **numbers)
    result = checked(FoundParameters(program, {}, unused, parameters), loras_usable)
    if KEY in result.values:
        return replace(result, unused=without(result.unused, *lora_names))
    return result


def checked(result: FoundParameters, loras_usable: bool = True) -> FoundParameters:
    """Return `result` with those of its facts as values that the schema accepts; the others are listed."""
    values: dict[str, Any] = {}
    unused = dict(result.unused)
    for name, key in _KEYS.items():
        value = getattr(result.facts, name)
        if value is None or (name == "negative_prompt" and not value):
            continue
        try:
            option = SCHEMA.find(key, result.program)
            values[option.key] = option.check(value, result.program)
        except InputError:
            unused[key] = shown(value)
    _read_sampler(result, values, unused)
    _read_clip_skip(result, values, unused)
    _read_decoder(values, unused)
    _read_variation(result, values, unused)
    if result.facts.loras:
        uses = _uses(result.facts.loras) if loras_usable else None
        if uses is None:
            unused[LORAS] = shown(", ".join(_lora_text(lora) for lora in result.facts.loras))
        else:
            values[KEY] = uses
    return replace(result, values=values, unused=unused)


def _read_sampler(result: FoundParameters, values: dict[str, Any], unused: dict[str, str]) -> None:
    """Read the sampler and the schedule, which some programs write into one name; what is unknown here is listed."""
    sampler, schedule = result.facts.sampler, AUTO
    if sampler is not None:
        found = parse_sampler(sampler)
        if found is None:
            unused.setdefault("Sampler", shown(sampler))
            return
        values[SAMPLER], schedule = found
        for name in _SAMPLER_FIELDS:
            if name in unused and parse_sampler(unused[name]) == found:
                del unused[name]
    for name in _SCHEDULE_FIELDS:
        read = parse_schedule(unused[name]) if name in unused else None
        if read is not None:
            schedule = read if read != AUTO else schedule
            del unused[name]
    if sampler is not None or schedule != AUTO:
        values[SCHEDULE] = schedule


def _read_clip_skip(result: FoundParameters, values: dict[str, Any], unused: dict[str, str]) -> None:
    """Read A1111's "Clip skip"; programs that count otherwise have other names for it."""
    if _CLIP_SKIP_FIELD not in unused:
        return
    try:
        values[CLIP_SKIP] = SCHEMA.options[CLIP_SKIP].check(unused[_CLIP_SKIP_FIELD], result.program)
    except InputError:
        return
    del unused[_CLIP_SKIP_FIELD]


def _read_decoder(values: dict[str, Any], unused: dict[str, str]) -> None:
    """Read A1111's "VAE Decoder"."""
    if unused.get(VAE_DECODER) == "TAESD":
        values["vae.decoder"] = "tiny"
        del unused[VAE_DECODER]


def _read_variation(result: FoundParameters, values: dict[str, Any], unused: dict[str, str]) -> None:
    """Read A1111's variation seed with its strength; one of them alone says nothing."""
    fields = {VARIATION_SEED: "generation.variation_seed", VARIATION_STRENGTH: "generation.variation_strength"}
    if not fields.keys() <= unused.keys():
        return
    try:
        found = {key: SCHEMA.options[key].check(unused[name], result.program) for name, key in fields.items()}
    except InputError:
        return
    values |= found
    for name in fields:
        del unused[name]


_CLIP_SKIP_FIELD = "Clip skip"

# Names of the sampler and of the schedule in other programs; InvokeAI calls its samplers schedulers.
_SAMPLER_FIELDS = ("Sampler", "sampler", "sampler_name", "comfyuisampler", "scheduler", "Scheduler")
_SCHEDULE_FIELDS = ("Schedule type", "scheduler", "Scheduler")


def merged(first: FoundParameters, other: FoundParameters) -> FoundParameters:
    """Return `first` with what it does not know taken from `other`."""
    facts = {
        name: value if value not in (None, ()) else getattr(other.facts, name)
        for name, value in vars(first.facts).items()
    }
    unused = {**other.unused, **first.unused}
    return checked(FoundParameters(first.program, {}, unused, ImageParameters(**facts)))


def shown(value: Any) -> str:
    """Return a value as one short line."""
    text = value if isinstance(value, str) else _json(value)
    text = " ".join(well_formed(text[: 4 * LONGEST_VALUE]).split())
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def model_name(value: Any) -> str | None:
    """Return a model as a name: of an object its name, of a file its name without folder and extension."""
    if isinstance(value, Mapping):
        value = next((value[key] for key in ("name", "model_name", "modelFileName", "modelName") if key in value), None)
    if not isinstance(value, str) or not value.strip() or value.strip().lower() == "none":
        return None
    return file_stem(value) or None


def file_stem(file: str) -> str:
    """Return the name of a weights file without folder and extension."""
    name = well_formed(file).replace("\\", "/").rstrip("/").rpartition("/")[2].strip()
    for extension in WEIGHTS:
        if name.lower().endswith(extension):
            return name[: -len(extension)]
    return name


def size_of(value: Any) -> tuple[int | None, int | None]:
    """Return "1024x768", "1024 × 768 (4:3)", "(1024, 768)" or [1024, 768] as width and height; None where it is neither."""
    if isinstance(value, list | tuple):
        parts = [str(part) for part in value]
    else:
        parts = (
            str(value)[:100].lower().strip("()[] \"'").replace("×", "x").replace("*", "x").replace(",", "x").split("x")
        )
    numbers = [_leading_number(part) for part in parts[:2]]
    return (numbers[0], numbers[1]) if len(parts) >= 2 and None not in numbers else (None, None)


def without(data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return the entries whose names are not among `names`."""
    return {name: value for name, value in data.items() if name not in names}


def first_of(data: Mapping[str, Any], *names: str) -> Any:
    """Return the first value that is there under one of `names`; None when there is none."""
    return next((data[name] for name in names if data.get(name) is not None), None)


def _text(value: Any) -> str | None:
    return well_formed(value).replace("\r\n", "\n") if isinstance(value, str) else None


def _seed(value: Any) -> int | None:
    number = _whole(value, 0)
    return number if number is not None and number <= LARGEST_SEED else None


def _whole(value: Any, least: int) -> int | None:
    """Return a whole number of at least `least`, exactly: also "20", 20.0 and "20.0"."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        text = value.strip()[:40]
        if text.isascii() and text.isdigit():
            return int(text) if int(text) >= least else None
        value = real(text)
    if isinstance(value, float):
        value = int(value) if math.isfinite(value) and value.is_integer() else None
    return value if isinstance(value, int) and value >= least else None


def real(value: Any) -> float | None:
    """Return a finite number, also from a text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value[:40] if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _leading_number(text: str) -> int | None:
    """Return the whole number at the end of "portrait 832" or at the start of "1216 (2:3)"."""
    for part in (text.strip().split(" ")[0], text.strip().split(" ")[-1]):
        number = _whole(part.strip("()[]:"), 1)
        if number is not None:
            return number
    return None


def _named(loras: Sequence[Any]) -> Iterable[NamedLora]:
    for lora in loras:
        if isinstance(lora, NamedLora):
            yield lora
            continue
        file, weight = lora
        name = file_stem(str(file))
        if name and name.lower() != "none":
            yield NamedLora(name, real(weight))


def _uses(loras: Sequence[NamedLora]) -> tuple[str, ...] | None:
    """Return the value of `lora.use`; None where one of them has no equivalent there."""
    if any(mark in lora.name for lora in loras for mark in FORBIDDEN):
        return None
    try:
        return tuple(str(use) for use in read_uses([_lora_text(lora) for lora in loras], ""))
    except OptionError:
        return None


def _lora_text(lora: NamedLora) -> str:
    return lora.name if lora.weight is None else str(LoraSpec(lora.name, lora.weight, lora.parts))


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        return "…"
