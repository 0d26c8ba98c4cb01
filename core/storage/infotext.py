"""Write and read A1111's infotext, which most galleries and tools understand.

    a red house, snowy mountains
    Negative prompt: rain
    Steps: 8, Sampler: Euler, Schedule type: Simple, CFG scale: 1, Seed: 42, Size: 256x256, Model: demo, ...

The convention has no escape for the prompts themselves: a prompt with a line of its own that begins with
"Negative prompt:" is read back divided there. Our own record (see `metadata`) has no such limit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core import __version__
from core.config.control_units import FIELDS, units_of, write_unit
from core.config.lora_syntax import FILES, KEY, LoraSpec, read_uses, split_prompt, write_tags
from core.config.prompt_weights import CLIP_SKIP
from core.config.samplers import SAMPLER, SAMPLERS, SCHEDULE, SCHEDULES
from core.errors import OptionError
from core.types import GenerationRequest

NEGATIVE = "Negative prompt:"
LORA_HASHES = "Lora hashes"
PROGRAM = f"Z Darkroom {__version__}"
FEWEST_FIELDS = 3  # a last line with fewer "Name: value" pairs is prompt; A1111 draws the line at the same number
MOST_FIELDS = 1000
LONGEST_NAME = 100  # characters of a field's name
_MARKS = str.maketrans("", "", "_ -/.()+#&")  # that a name may have beside letters and digits

_DECODER = json.JSONDecoder(strict=False)  # one for all values: making it costs more than a short value

VARIATION_SEED, VARIATION_STRENGTH = "Variation seed", "Variation seed strength"  # as A1111 calls them
VAE_DECODER = "VAE Decoder"  # which has TAESD or Full
_STEPS = "Steps:"
_KNOWN = {"sampler", "seed", "cfg scale", "size", "model", "model hash", "steps"}


@dataclass(frozen=True)
class Infotext:
    """What such a text says. `fields` has every "Name: value" of the last line, unquoted, in order."""

    prompt: str
    negative_prompt: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)


def well_formed(text: str) -> str:
    """Return `text` with half surrogate pairs and NUL, which UTF-8 and text chunks cannot hold, shown as U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")


def write_infotext(request: GenerationRequest, effective: Mapping[str, Any]) -> str:
    """Return the text for a single request. `effective` may name sampler, schedule, scheduler class and `model.fingerprint`."""
    fields = {
        "Steps": str(request.num_inference_steps),
        "Sampler": _sampler(effective),
        "Schedule type": _schedule(effective),
        "CFG scale": f"{request.cfg_scale:g}",
        "Seed": str(request.seed),
        "Size": f"{request.width}x{request.height}",
        "Clip skip": _clip_skip(effective),
        VAE_DECODER: "TAESD" if effective.get("vae.decoder") == "tiny" else "",
        **_variation(request),
        "Model": request.model,
        "Model hash": str(effective.get("model.fingerprint") or effective.get("model_hash") or ""),
        "Version": PROGRAM,
        LORA_HASHES: _lora_hashes(effective),
        **_controlnets(effective),
        "Template": request.template,
        "Original prompt": request.original_prompt,
        "Negative Template": request.negative_template,
    }
    lines = [request.prompt + write_tags(_untold(request))]
    if request.negative_prompt:
        lines.append(f"{NEGATIVE} {request.negative_prompt}")
    lines.append(", ".join(f"{name}: {_quoted(value)}" for name, value in fields.items() if value))
    return well_formed("\n".join(lines))


def _variation(request: GenerationRequest) -> dict[str, str]:
    """Return the variation seed and its strength under A1111's names, where one acts."""
    strength = request.options.get("generation.variation_strength") or 0
    seed = request.options.get("generation.variation_seed", 0)
    return {VARIATION_SEED: str(seed), VARIATION_STRENGTH: f"{strength:g}"} if strength else {}


def _controlnets(effective: Mapping[str, Any]) -> dict[str, str]:
    """Return the ControlNet units as A1111's extension writes them: "ControlNet 0", "ControlNet 1" ..."""
    return {name: write_unit(unit) for name, unit in zip(FIELDS, units_of(effective), strict=False)}


def read_infotext(text: str) -> Infotext:
    """Read what this studio, A1111 and the many programs that follow it write. Text without parameters is all prompt.

    Understood beside the plain form: lines after the parameters (`Template: ...`), values in quotes over several
    lines, JSON values,
    and everything on one line (`a house.Negative prompt: rain.Steps: 20, ...`). The time is linear in the length of the text.
    """
    if _is_json(text):
        return Infotext(text)
    found = _find_fields(text)
    if found is None:
        return _split_negative(text, {}, inline=False)
    start, end, fields = found
    before, inline = text[:start], start > 0 and text[start - 1] != "\n"
    head = before if inline else before.removesuffix("\n")
    return _split_negative(head, {**fields, **_later_fields(text[end:])}, inline)


def _is_json(text: str) -> bool:
    """Return whether this is a JSON object or list, which has "name: value" pairs of its own."""
    stripped = text.strip()
    if not (stripped[:1] in ("{", "[") and stripped[-1:] in ("}", "]")):
        return False
    try:
        return isinstance(json.loads(stripped), dict | list)
    except (ValueError, RecursionError):
        return False


def _find_fields(text: str) -> tuple[int, int, dict[str, str]] | None:
    """Return start, end and fields of the parameters: the last line that begins with `Steps:`, else the last line of known fields,
    else what follows the last `Steps:` on the last line. A `Steps:` within the quotes of an earlier one does not count."""
    best: tuple[int, int, dict[str, str]] | None = None
    scanner = _Scanner(text)
    at = _line_start(text, _STEPS, 0)
    while at >= 0:
        fields, end = _parse_fields(scanner, at)
        if len(fields) >= FEWEST_FIELDS:
            best = at, end, fields
            at = _line_start(text, _STEPS, end)
        else:
            at = _line_start(text, _STEPS, at + len(_STEPS))
    if best is not None:
        return best
    stripped = text.rstrip()
    last = stripped.rfind("\n") + 1
    fields, end = _parse_fields(scanner, last)
    known = [name.lower() in _KNOWN for name in fields]
    if len(fields) >= FEWEST_FIELDS and any(known):
        inline = text.rfind(_STEPS, last, len(stripped))
        if known[0] or inline <= last or text[inline - 1].isalnum():
            return last, end, fields
    inline = text.rfind(_STEPS, last, len(stripped))
    if inline > 0 and not text[inline - 1].isalnum():
        fields, end = _parse_fields(scanner, inline)
        if len(fields) >= FEWEST_FIELDS:
            return inline, end, fields
    return None


def _line_start(text: str, mark: str, at: int) -> int:
    """Return where the next line begins that starts with `mark`, spaces before it aside; -1 when there is none."""
    while (at := text.find(mark, at)) >= 0:
        line = at
        while line > 0 and text[line - 1] in " \t\r":
            line -= 1
        if line == 0 or text[line - 1] == "\n":
            return at
        at += len(mark)
    return -1


def _parse_fields(scanner: _Scanner, start: int) -> tuple[dict[str, str], int]:
    """Parse `Name: value, Name: value` up to the end of the line; return the fields and where they end.

    A value in quotes or a JSON value may go over several lines. A part without a name belongs to the value before it. Of two fields
    of one name the first counts.
    """
    fields: dict[str, str] = {}
    text, position, last = scanner.text, start, ""
    while position < len(text) and text[position] != "\n" and len(fields) < MOST_FIELDS:
        name, after = _field_name(text, position)
        value, position = scanner.value(after if name else position)
        if name:
            last = name
            fields.setdefault(name, value)
        elif last and value.strip():
            fields[last] = f"{fields[last]}, {value.strip()}"
        elif not last:
            return {}, position
        if position < len(text) and text[position] == ",":
            position += 1
    return fields, position


def _field_name(text: str, at: int) -> tuple[str, int]:
    """Return the name that begins at `at` and where its value begins; ("", at) when there is none."""
    while at < len(text) and text[at] in " \t\r":
        at += 1
    colon = text.find(":", at, at + LONGEST_NAME)
    name = text[at:colon] if colon > at else ""
    if name and name[0].isalnum() and name.translate(_MARKS).isalnum():
        return name.rstrip(), colon + 1
    return "", at


class _Scanner:
    """Finds the end of values. What was searched for in vain once is not searched for again, so that all of it is linear."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._no_quote = self._no_json = False
        self._line_end = -1

    def value(self, at: int) -> tuple[str, int]:
        """Return the value that begins at `at`, unquoted, and the place of the comma or newline after it."""
        text = self.text
        while at < len(text) and text[at] in " \t":
            at += 1
        end = at
        if text[at : at + 1] == '"' and not self._no_quote:
            end = self._quoted_end(at)
        elif text[at : at + 1] in ("{", "[") and not self._no_json:
            end = self._json_end(at)
        if end > at and text[end : end + 1] in (",", "\n", "\r", ""):
            return _unquoted(text[at:end]), end
        if self._line_end < at:
            newline = text.find("\n", at)
            self._line_end = newline if newline >= 0 else len(text)
        comma = text.find(",", at, self._line_end)
        end = comma if comma >= 0 else self._line_end
        return text[at:end].strip(), end

    def _quoted_end(self, at: int) -> int:
        """Return the place after the closing quote; `at` when there is none."""
        place = at + 1
        while (place := self.text.find('"', place)) >= 0:
            slashes = place
            while self.text[slashes - 1] == "\\":
                slashes -= 1
            if (place - slashes) % 2 == 0:
                return place + 1
            place += 1
        self._no_quote = True
        return at

    def _json_end(self, at: int) -> int:
        """Return the place after the JSON value; `at` when there is none."""
        try:
            return json.JSONDecoder().raw_decode(self.text, at)[1]
        except (ValueError, RecursionError):
            self._no_json = True
            return at


def _later_fields(text: str) -> dict[str, str]:
    """Return the lines after the parameters, each by the name that it begins with; the others together as `Text`."""
    fields: dict[str, str] = {}
    rest = []
    for line in text.split("\n"):
        name, after = _field_name(line, 0)
        if name and len(fields) < MOST_FIELDS:
            fields.setdefault(name, line[after:].strip())
        elif line.strip():
            rest.append(line)
    return {**fields, "Text": "\n".join(rest)} if rest else fields


def _split_negative(text: str, fields: Mapping[str, str], inline: bool) -> Infotext:
    """Divide prompt and negative prompt: at the first line of the latter, or within the line where all is on one."""
    at = _line_start(text, NEGATIVE, 0)
    if at >= 0:
        line = text.rfind("\n", 0, at)
        return Infotext(text[: max(line, 0)], text[at + len(NEGATIVE) :].removeprefix(" "), fields)
    at = text.find(NEGATIVE) if inline else text.find("." + NEGATIVE) + 1 if fields and "." + NEGATIVE in text else -1
    if at > 0:
        return Infotext(text[:at].rstrip(" "), text[at + len(NEGATIVE) :].strip(" "), fields)
    return Infotext(text, "", fields)


def _untold(request: GenerationRequest) -> list[LoraSpec]:
    """Return the LoRAs of the option that the prompt does not name: readers know LoRAs by tags alone."""
    try:
        named = {use.name for use in read_uses(split_prompt(request.prompt)[1], "")}
        return [use for use in read_uses(request.options.get(KEY, ()), "") if use.name not in named]
    except OptionError:  # of an earlier or a hand-edited record
        return []


def _lora_hashes(effective: Mapping[str, Any]) -> str:
    """`name: hash` of each LoRA that acted; the hash is that of the tensors without the header, as A1111 and Civitai know it."""
    files = effective.get(FILES) or ()
    return ", ".join(f"{file['name']}: {file['tensors_sha256'][:12]}" for file in files)


def read_lora_hashes(text: str) -> dict[str, str]:
    """Return hash by name of a text that `_lora_hashes` or A1111 wrote."""
    pairs = [part.rpartition(":") for part in text.split(",")]
    return {name.strip(): digest.strip() for name, _, digest in pairs if name.strip() and digest.strip()}


def _sampler(effective: Mapping[str, Any]) -> str:
    """A1111's name of the sampler in effect; of a record before samplers could be selected, that of the scheduler's class."""
    known = SAMPLERS.get(str(effective.get(SAMPLER, "")))
    if known is not None:
        return known.name
    scheduler = str(effective.get("scheduler", ""))
    return scheduler.removeprefix("FlowMatch").removesuffix("Scheduler").removesuffix("Discrete") or "Euler"


def _schedule(effective: Mapping[str, Any]) -> str:
    """A1111's name of the schedule in effect; "Automatic" where the model's own has no name."""
    schedule = str(effective.get(SCHEDULE, "simple"))
    return SCHEDULES[schedule].name if schedule in SCHEDULES else "Automatic"


def _clip_skip(effective: Mapping[str, Any]) -> str:
    """As A1111 does, nothing where it is 1."""
    skip = effective.get(CLIP_SKIP, 1)
    return str(skip) if skip != 1 else ""


def _quoted(value: str) -> str:
    if any(mark in value for mark in ',:\n"') or value != value.strip():
        return json.dumps(value, ensure_ascii=False)
    return value


def _unquoted(value: str) -> str:
    if value.startswith('"') and value.endswith('"'):
        try:
            return str(_DECODER.decode(value))
        except ValueError:
            return value[1:-1] if len(value) > 1 else value
    return value
