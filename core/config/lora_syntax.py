"""Read and write how LoRAs are named: "name:weight" in the option `lora.use`, <lora:name:weight> in a prompt, as in A1111.

A weight may be followed by others for parts of the model: `name:0.8:te=0` leaves the text encoders alone,
`name:0.8:layers.0-9=0.3` weakens ten blocks, `name:0.8:mid_block=0` switches one off, `down_blocks.1.0=0` the first layers of one.
`lbw=` is read as A1111's extension has it, and written as such weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.errors import OptionError
from core.i18n import localize
from core.types import Decision, GenerationRequest

TEXT, MIDDLE = "BASE", "MID"
_SD = ("IN01", "IN02", "IN04", "IN05", "IN07", "IN08", MIDDLE, *(f"OUT{n:02}" for n in range(3, 12)))
_XL = ("IN04", "IN05", "IN07", "IN08", MIDDLE, *(f"OUT{n:02}" for n in range(6)))
_SD_ALL = (*(f"IN{n:02}" for n in range(12)), MIDDLE, *(f"OUT{n:02}" for n in range(12)))
_XL_ALL = (*(f"IN{n:02}" for n in range(9)), MIDDLE, *(f"OUT{n:02}" for n in range(9)))
BLOCKS = {len(names) + 1: (TEXT, *names) for names in (_SD, _XL, _SD_ALL, _XL_ALL)}
LISTS = {  # the extension's own, for SD 1.5
    "NONE": "00000000000000000", "ALL": "11111111111111111", "INS": "11100000000000000", "IND": "10001110000000000",
    "INALL": "11111110000000000", "MIDD": "10001111111100000", "OUTD": "10000000111100000", "OUTS": "10000000000011111",
    "OUTALL": "10000000111111111",
}  # fmt: skip
_LAYER = re.compile(r"(down|up)_blocks\.(\d+)\.(attentions|resnets|downsamplers|upsamplers)\.(\d+)\.")
SAMPLER = 2  # what a down- or upsampler counts as among the members of its block


def read_factors(text: str) -> dict[str, float] | None:
    """Return the factors by the names of BLOCKS; None for a text that is neither a list of them nor the name of one."""
    parts: Sequence[str] = LISTS.get(text.strip().upper(), "") or text.split(",")
    names = BLOCKS.get(len(parts))
    try:
        factors = [float(part) for part in parts]
    except ValueError:
        return None
    return dict(zip(names, factors, strict=True)) if names else None


def part_of(block: str) -> str | None:
    """Return the part of a LoRA's weight for a block of the U-Net, as diffusers counts; None for its first layer, IN00."""
    if block in (TEXT, MIDDLE):
        return {TEXT: "te", MIDDLE: "mid_block"}[block]
    number = int(block[-2:])
    if block.startswith("OUT"):
        return f"up_blocks.{number // 3}.{number % 3}"
    return f"down_blocks.{(number - 1) // 3}.{(number - 1) % 3}" if number else None


def member_of(layer: str) -> tuple[str, int, int] | None:
    """Return block, its index, and the member of it that a layer of a U-Net belongs to; None outside of these blocks.

    Member k is the k-th ResNet with the attention after it; a sampler is the last of them.
    """
    found = _LAYER.match(layer)
    if found is None:
        return None
    way, index, kind, member = found.groups()
    return f"{way}_blocks", int(index), SAMPLER if kind.endswith("samplers") else int(member)


KEY = "lora.use"
FILES = "lora.files"  # in an image's record: name, weights, hashes and layers of each file that acted
LARGEST = 4.0  # of a weight, either way; beyond 2 images fall apart
MOST = 16  # at once
FORBIDDEN = ",:<>"  # in a name: each has a meaning where names are written

_TAG = re.compile(r"<lora:([^<>]*)>", re.IGNORECASE)
_ALLOWED = localize("config.lora_syntax.allowed", largest=-LARGEST, largest_2=LARGEST, most=MOST)

_PART_ALLOWED = localize("config.lora_syntax.part_allowed", largest=-LARGEST, largest_2=LARGEST)
_TEXT_PARTS = {"te": ("text_encoder", "text_encoder_2"), "te1": ("text_encoder",), "te2": ("text_encoder_2",)}
_NETWORK = {"net": "net", "unet": "net", "transformer": "net", "dit": "net"}
_BLOCK = re.compile(r"([a-z][a-z_]*)(?:\.(\d{1,4})(?:-(\d{1,4})|\.(\d{1,2}))?)?")
_FACTORS = "lbw"


@dataclass(frozen=True)
class LoraSpec:
    """A LoRA by name, and its weight: 0 is off, 1 is full strength.

    `parts` are weights for parts of the model that differ from `weight`, by `te`, `te1`, `te2`, `net` or a block's name.
    """

    name: str
    weight: float = 1.0
    parts: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        return "".join((f"{self.name}:{self.weight:g}", *(f":{part}={weight:g}" for part, weight in self.parts)))

    @property
    def acts(self) -> bool:
        """Return True unless every weight is 0."""
        return bool(self.weight or any(weight for _, weight in self.parts))

    def weight_of(self, part: str, layer: str) -> float:
        """Return the weight for a layer of a part of the pipeline, such as ("unet", "mid_block.attentions.0.proj_in")."""
        found = self.weight
        for name, weight in self.parts:  # the last that names it wins: blocks come after the whole
            if part in _TEXT_PARTS.get(name, ()) or (not part.startswith("text_encoder") and _names(name, layer)):
                found = weight
        return found

    def unmatched(self, layers: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        """Return the parts that name none of these (part, layer) pairs."""

        def meets(name: str, part: str, layer: str) -> bool:
            return part in _TEXT_PARTS.get(name, ()) or (not part.startswith("text_encoder") and _names(name, layer))

        return tuple(name for name, _ in self.parts if not any(meets(name, part, layer) for part, layer in layers))


def _names(name: str, layer: str) -> bool:
    """Tell whether a part's name, `net` or a block such as layers.0-9, covers a layer of the network."""
    if name in _TEXT_PARTS:
        return False
    if name == "net":
        return True
    block = _BLOCK.fullmatch(name)
    found = re.match(r"([a-z_]+)(?:\.(\d+))?", layer)
    if block is None or found is None or found[1] != block[1]:
        return False
    if block[4] is not None:
        return member_of(layer) == (block[1], int(block[2]), int(block[4]))
    return block[2] is None or (found[2] is not None and int(block[2]) <= int(found[2]) <= int(block[3] or block[2]))


def read_uses(texts: Sequence[str], source: str) -> tuple[LoraSpec, ...]:
    """Parse the option's value. Raises OptionError naming `source` for the first entry that can't be used."""
    uses = tuple(_read(text, source) for text in texts)
    names = [use.name for use in uses]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None or len(uses) > MOST:
        raise _unusable(source, twice or len(uses))
    return uses


def _read(text: str, source: str) -> LoraSpec:
    name, *rest = text.split(":")
    named = [one for one in rest if "=" in one]
    weights = [_number(one) for one in rest if "=" not in one] or [1.0]
    if not name.strip() or len(weights) > 2 or not all(abs(weight) <= LARGEST for weight in weights):
        raise _unusable(source, text)
    factors = [one for one in named if one.partition("=")[0].strip().lower() == _FACTORS]
    parts = dict(_read_part(one, source) for one in named if one not in factors)
    if len(weights) == 2 and weights[0] != weights[1]:  # A1111: the text encoders' first, then the network's
        parts = {"te": weights[0], **parts}
    for one in factors:
        parts = {**_by_factors(one, weights[-1], parts.get("te", weights[-1]), source), **_without_te(parts)}
    ordered = sorted(parts.items(), key=lambda part: part[0] not in ("net", "te"))
    return LoraSpec(name.strip(), weights[-1], tuple(ordered))


def _by_factors(text: str, weight: float, text_weight: float, source: str) -> dict[str, float]:
    """Return the weights of parts that the factors of `lbw=` make of the network's and the text encoders' weight."""
    factors = read_factors(text.partition("=")[2])
    if factors is None:
        raise _unusable(source, text, _FACTORS_ALLOWED)
    parts = {}
    for block, factor in factors.items():
        part = part_of(block)
        whole = text_weight if part == "te" else weight
        if not abs(whole * factor) <= LARGEST:
            raise _unusable(source, text)
        if part is not None and whole * factor != weight:
            parts[part] = round(whole * factor, 6)
    return parts


def _without_te(parts: Mapping[str, float]) -> dict[str, float]:
    return {part: weight for part, weight in parts.items() if part != "te"}


def _read_part(text: str, source: str) -> tuple[str, float]:
    name, _, weight = text.partition("=")
    name = _NETWORK.get(name.strip().lower(), name.strip().lower())
    block = _BLOCK.fullmatch(name)
    known = (
        name in _TEXT_PARTS
        or name == "net"
        or (block is not None and block[1].endswith(("block", "blocks", "layers", "refiner")))
    )
    number = _number(weight) if weight.strip() else math.nan
    if not known or not abs(number) <= LARGEST:
        raise _unusable(source, text, _PART_ALLOWED)
    return name, number


def _number(text: str) -> float:
    """Return a weight, 1 when it was left out; NaN for anything that is no number."""
    try:
        return float(text) if text.strip() else 1.0
    except ValueError:
        return math.nan


def _unusable(source: str, value: object, allowed: Mapping[str, str] | None = None) -> OptionError:
    return OptionError(source=source, key=KEY, value=str(value)[:100], allowed=allowed or _ALLOWED)


def split_prompt(prompt: str) -> tuple[str, tuple[str, ...]]:
    """Return the prompt without its tags, and the tags: `a house <lora:ink:0.5>` gives `a house` and `ink:0.5`."""
    tags = tuple(match[1].strip() for match in _TAG.finditer(prompt))
    if not tags:
        return prompt, ()
    plain = re.sub(r"[ \t]{2,}", " ", _TAG.sub("", prompt))
    return re.sub(r",\s*(?=,|$)", "", plain).strip(" \t,"), tags


def write_tags(uses: Sequence[LoraSpec]) -> str:
    """Return the tags for a prompt. A weight of the text encoders' own is written first, which A1111 reads alike."""
    return "".join(f"<lora:{_written(use)}>" for use in uses)


def _written(use: LoraSpec) -> str:
    if len(use.parts) == 1 and use.parts[0][0] == "te" and use.parts[0][1] != use.weight:
        return f"{use.name}:{use.parts[0][1]:g}:{use.weight:g}"
    return str(use)


def lora_specs_of(request: GenerationRequest, source: str = "request") -> tuple[LoraSpec, ...]:
    """Return the LoRAs of a request: the option's, then those of the prompt, which override it. Raises OptionError."""
    uses = {use.name: use for use in read_uses(tuple(request.options.get(KEY, ())), source)}
    uses |= {use.name: use for use in read_uses(split_prompt(request.prompt)[1], source)}
    if len(uses) > MOST:
        raise _unusable(source, len(uses))
    return tuple(uses.values())


def moved(request: GenerationRequest) -> tuple[GenerationRequest, tuple[Decision, ...]]:
    """Move the tags of a request's prompt into the option; return it with the decision that says so."""
    plain, tags = split_prompt(request.prompt)
    if not tags:
        return request, ()
    options: Mapping[str, Any] = {**request.options, KEY: tuple(str(use) for use in lora_specs_of(request))}
    asked = list(request.options.get(KEY, ()))
    return replace(request, prompt=plain, options=options), (Decision(KEY, asked, list(options[KEY]), _MOVED),)


_FACTORS_ALLOWED = localize("config.lora_syntax.factors", lists=", ".join(LISTS))
_MOVED = localize("config.lora_syntax.moved")
