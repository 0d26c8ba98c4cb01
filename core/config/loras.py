"""How LoRAs are named: "name:weight" in the option `lora.use`, and <lora:name:weight> in a prompt, as A1111 has it.

What this module does not know: files, models.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.errors import OptionError
from core.types import Decision, GenerationRequest

KEY = "lora.use"
FILES = "lora.files"  # in a picture's record: name, weight and hashes of each file that acted
LARGEST = 4.0  # of a weight, either way; beyond 2 hardly a picture is left
MOST = 16  # at once
FORBIDDEN = ",:<>"  # in a name: each has a meaning where names are written

_TAG = re.compile(r"<lora:([^<>]*)>", re.IGNORECASE)
_ALLOWED = {
    "en": f"name:weight, a weight from {-LARGEST:g} to {LARGEST:g} (1 when left out), each name once, {MOST} at most",
    "zh": f"名称:权重，权重为 {-LARGEST:g} 至 {LARGEST:g}（省略时为 1），每个名称一次，最多 {MOST} 个",
}

_ONE_WEIGHT = {
    "en": "one weight, for the network and the text encoders alike: name:weight. Of two that differ, as A1111 takes them, "
    "keep the first",
    "zh": "一个权重，同时用于网络与文本编码器：名称:权重。若有 A1111 写法的两个不同权重，请保留第一个",
}


@dataclass(frozen=True)
class LoraUse:
    """A LoRA by its name, and how strongly it acts: 0 is not at all, 1 as it was trained."""

    name: str
    weight: float = 1.0

    def __str__(self) -> str:
        return f"{self.name}:{self.weight:g}"


def read_uses(texts: Sequence[str], source: str) -> tuple[LoraUse, ...]:
    """The option's value; OptionError naming `source` for the first entry that can't be used."""
    uses = tuple(_read(text, source) for text in texts)
    names = [use.name for use in uses]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None or len(uses) > MOST:
        raise _unusable(source, twice or len(uses))
    return uses


def _read(text: str, source: str) -> LoraUse:
    name, _, weight = text.partition(":")
    weights = [_number(one) for one in weight.split(":")]  # A1111's second one is the text encoders'
    if len(weights) == 2 and weights[0] != weights[1] and not any(map(math.isnan, weights)):
        raise _unusable(source, text, _ONE_WEIGHT)
    if not name.strip() or len(set(weights)) != 1 or not abs(weights[0]) <= LARGEST:
        raise _unusable(source, text)
    return LoraUse(name.strip(), weights[0])


def _number(text: str) -> float:
    """A weight, 1 when it was left out; not a number for anything else."""
    try:
        return float(text) if text.strip() else 1.0
    except ValueError:
        return math.nan


def _unusable(source: str, came: object, allowed: Mapping[str, str] | None = None) -> OptionError:
    return OptionError(source=source, key=KEY, came=str(came)[:100], allowed=allowed or _ALLOWED)


def split_prompt(prompt: str) -> tuple[str, tuple[str, ...]]:
    """The prompt without its tags, and what they say: `a house <lora:ink:0.5>` gives `a house` and `ink:0.5`."""
    tags = tuple(match[1].strip() for match in _TAG.finditer(prompt))
    if not tags:
        return prompt, ()
    plain = re.sub(r"[ \t]{2,}", " ", _TAG.sub("", prompt))
    return re.sub(r",\s*(?=,|$)", "", plain).strip(" \t,"), tags


def write_tags(uses: Sequence[LoraUse]) -> str:
    """As a prompt of A1111's has them."""
    return "".join(f"<lora:{use}>" for use in uses)


def uses_of(request: GenerationRequest, source: str = "request") -> tuple[LoraUse, ...]:
    """What a request asks for: the option's, then the prompt's own, which win where both name one. OptionError."""
    uses = {use.name: use for use in read_uses(tuple(request.options.get(KEY, ())), source)}
    uses |= {use.name: use for use in read_uses(split_prompt(request.prompt)[1], source)}
    if len(uses) > MOST:
        raise _unusable(source, len(uses))
    return tuple(uses.values())


def moved(request: GenerationRequest) -> tuple[GenerationRequest, tuple[Decision, ...]]:
    """A single request as it is drawn: tags out of the prompt and into the option, and the decision that says so."""
    plain, tags = split_prompt(request.prompt)
    if not tags:
        return request, ()
    options: Mapping[str, Any] = {**request.options, KEY: tuple(str(use) for use in uses_of(request))}
    asked = list(request.options.get(KEY, ()))
    return replace(request, prompt=plain, options=options), (Decision(KEY, asked, list(options[KEY]), _MOVED),)


_MOVED = {
    "en": "the prompt names LoRAs in A1111's way; they act as this option, and the model reads the prompt without them",
    "zh": "提示词中以 A1111 的写法指定了 LoRA；它们按此选项生效，模型读到的提示词不含这些标记",
}
