"""The A1111 way of writing parameters as text, which most galleries and tools read.

    a red house, snowy mountains
    Negative prompt: rain
    Steps: 8, Sampler: Euler, Schedule type: Simple, CFG scale: 1, Seed: 42, Size: 256x256, Model: demo, ...

The convention has no escape for the prompts themselves: a prompt with a line of its own that begins with
"Negative prompt:" is read back divided there. Our own record (see `metadata`) has no such limit.
What this module does not know: files and their formats.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core import __version__
from core.config.loras import FILES, KEY, LoraUse, read_uses, split_prompt, write_tags
from core.errors import OptionError
from core.types import GenerationRequest

NEGATIVE = "Negative prompt:"
LORA_HASHES = "Lora hashes"
PROGRAM = f"Z Darkroom {__version__}"
FEWEST_FIELDS = 3  # a last line with fewer "Name: value" pairs is prompt; A1111 draws the line at the same number

_FIELD = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


@dataclass(frozen=True)
class Infotext:
    """What such a text says. `fields` has every "Name: value" of the last line, unquoted, in order."""

    prompt: str
    negative_prompt: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)


def well_formed(text: str) -> str:
    """`text` with half surrogate pairs and NUL, which UTF-8 and text chunks cannot hold, shown as U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")


def write_infotext(request: GenerationRequest, effective: Mapping[str, Any]) -> str:
    """The text for a single request. `effective` may name `scheduler` (a diffusers class) and `model.fingerprint`."""
    fields = {
        "Steps": str(request.num_inference_steps),
        "Sampler": _sampler(str(effective.get("scheduler", ""))),
        "Schedule type": "Simple",
        # Z-Image counts guidance from 0 (off); every reader of this line counts it from 1 (off).
        "CFG scale": f"{request.guidance_scale + 1:g}",
        "Seed": str(request.seed),
        "Size": f"{request.width}x{request.height}",
        "Model": request.model,
        "Model hash": str(effective.get("model.fingerprint") or effective.get("model_hash") or ""),
        "Version": PROGRAM,
        LORA_HASHES: _lora_hashes(effective),
        "Template": request.template,
    }
    lines = [request.prompt + write_tags(_untold(request))]
    if request.negative_prompt:
        lines.append(f"{NEGATIVE} {request.negative_prompt}")
    lines.append(", ".join(f"{name}: {_quoted(value)}" for name, value in fields.items() if value))
    return well_formed("\n".join(lines))


def read_infotext(text: str) -> Infotext:
    """Read what `write_infotext`, A1111 or Forge wrote. Text without a line of parameters is all prompt."""
    *lines, last = text.split("\n")
    fields = {name: _unquoted(value) for name, value in _FIELD.findall(last)}
    if len(fields) < FEWEST_FIELDS:
        lines, fields = [*lines, last], {}
    for number, line in enumerate(lines):
        if line.lstrip().startswith(NEGATIVE):
            first = line.lstrip().removeprefix(NEGATIVE).removeprefix(" ")
            return Infotext("\n".join(lines[:number]), "\n".join([first, *lines[number + 1 :]]), fields)
    return Infotext("\n".join(lines), "", fields)


def _untold(request: GenerationRequest) -> list[LoraUse]:
    """The LoRAs of the option that the prompt does not name: readers of this text know them by tags in the prompt alone."""
    try:
        told = {use.name for use in read_uses(split_prompt(request.prompt)[1], "")}
        return [use for use in read_uses(request.options.get(KEY, ()), "") if use.name not in told]
    except OptionError:  # of an earlier or a hand-edited record
        return []


def _lora_hashes(effective: Mapping[str, Any]) -> str:
    """`name: hash` of each LoRA that acted; the hash is that of the tensors without the header, as A1111 and Civitai know it."""
    files = effective.get(FILES) or ()
    return ", ".join(f"{file['name']}: {file['tensors_sha256'][:12]}" for file in files)


def read_lora_hashes(text: str) -> dict[str, str]:
    """Name to hash, of what `_lora_hashes` or A1111 wrote."""
    pairs = [part.rpartition(":") for part in text.split(",")]
    return {name.strip(): digest.strip() for name, _, digest in pairs if name.strip() and digest.strip()}


def _sampler(scheduler: str) -> str:
    """FlowMatchEulerDiscreteScheduler -> Euler, the name that readers of this text know."""
    return scheduler.removeprefix("FlowMatch").removesuffix("Scheduler").removesuffix("Discrete") or "Euler"


def _quoted(value: str) -> str:
    if any(mark in value for mark in ',:\n"') or value != value.strip():
        return json.dumps(value, ensure_ascii=False)
    return value


def _unquoted(value: str) -> str:
    if value.startswith('"') and value.endswith('"'):
        try:
            return str(json.loads(value))
        except ValueError:
            return value
    return value
