"""Read NovelAI: the texts Software, Source, Description and Comment (JSON), in chunks, in EXIF or in the alpha channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.history.importers import common
from core.storage.embedded_texts import COMMENT, DESCRIPTION, PARAMETERS, SOFTWARE
from core.types import FoundParameters

_MARKS = ("noise_schedule", "uncond_scale", "v4_prompt", "signed_hash", "request_type")
_USED = ("prompt", "uc", "steps", "scale", "seed", "width", "height", "v4_prompt", "v4_negative_prompt")


def read(texts: Mapping[str, str]) -> FoundParameters | None:
    """Return what NovelAI's JSON says; None when the file is not from there."""
    software = texts.get(SOFTWARE, "")
    for name in (COMMENT, PARAMETERS, "UserComment"):
        data = common.parsed(texts.get(name))
        if data is None:
            continue
        outer = data
        inner = data.get(COMMENT)
        if isinstance(inner, str | dict):  # the whole set of texts as one JSON object
            data = common.parsed(inner) if isinstance(inner, str) else inner
            software = software or str(outer.get(SOFTWARE, ""))
        if data is not None and (software.startswith("NovelAI") or any(mark in data for mark in _MARKS)):
            outside = {key: value for key, value in {**outer, **texts}.items() if isinstance(value, str)}
            return _found(data, outside)
    if software.startswith("NovelAI"):
        raw = {"prompt": texts.get(DESCRIPTION), "model": texts.get("Source")}
        return common.found("NovelAI", raw, {"Source": texts.get("Source")})
    return None


def _found(data: Mapping[str, Any], texts: Mapping[str, str]) -> FoundParameters:
    captions = {key: _captions(data.get(key)) for key in ("v4_prompt", "v4_negative_prompt")}
    prompt, characters = captions["v4_prompt"]
    negative, negative_characters = captions["v4_negative_prompt"]
    raw = {
        "prompt": common.first_of(data, "prompt") or prompt or texts.get(DESCRIPTION),
        "negative_prompt": common.first_of(data, "uc", "negative_prompt") or negative or "",
        "steps": data.get("steps"),
        "cfg_scale": data.get("scale"),
        "seed": data.get("seed"),
        "sampler": data.get("sampler"),
        "model": texts.get("Source") or None,
        "width": data.get("width"),
        "height": data.get("height"),
    }
    rest = {"Source": texts.get("Source"), **common.without(data, *_USED)}
    rest |= {"character prompts": characters, "negative character prompts": negative_characters}
    return common.found("NovelAI", raw, {name: value for name, value in rest.items() if value})


def _captions(data: Any) -> tuple[str | None, list[str]]:
    """Return the base caption and those of the characters of a version 4 prompt."""
    caption = data.get("caption") if isinstance(data, dict) else None
    if not isinstance(caption, dict):
        return None, []
    base = caption.get("base_caption")
    listed = caption.get("char_captions")
    characters = (
        [entry.get("char_caption") for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    )
    return base if isinstance(base, str) else None, [text for text in characters if isinstance(text, str) and text]
