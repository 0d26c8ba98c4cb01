"""Read parameters of images that were made elsewhere: one reader a program, each from the texts that a file carries.

Nothing is evaluated and no path is believed: a reader gets texts and returns facts, those of them that the schema
accepts, and a list of what has no equivalent here. The work on a file is bounded by the lengths and counts that each
reader allows, so that a file from a stranger takes under two seconds; what is beyond them is listed as not read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from core.history.importers import a1111, comfyui, common, fooocus, invokeai, json_programs, novelai, own, swarmui
from core.history.importers.novelai import read_stealth
from core.storage.embedded_texts import COMMENT, PARAMETERS, SOFTWARE
from core.storage.image_containers import budget
from core.storage.infotext import read_infotext
from core.storage.metadata import read_texts
from core.types import FoundParameters, ImageParameters

log = logging.getLogger(__name__)

Reader = Callable[[Mapping[str, str]], FoundParameters | None]
# Those with a mark of their own first: A1111's text is what many programs write beside their own.
READERS: tuple[Reader, ...] = (
    own.read, invokeai.read, novelai.read, swarmui.read, fooocus.read, comfyui.read, json_programs.read, a1111.read,
)  # fmt: skip
EXPECTED = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError)


def read_parameters(source: Path | IO[bytes]) -> FoundParameters | None:
    """Return what the image says of how it was made; None when it is no image. Never raises for what is in it."""
    read = read_texts(source)
    if read is None:
        return None
    metadata, texts = read
    found = _read(texts)
    if (found is None or found.facts == ImageParameters()) and (hidden := _hidden(source)) is not None:
        found = _read({**texts, **hidden}) or found
    if found is not None:
        return found
    width, height = metadata.size
    facts = ImageParameters(width=width, height=height)
    not_read = {
        name[:100]: common.shown(text) for name, text in list(texts.items())[: common.MOST_VALUES] if text.strip()
    }
    return FoundParameters("", {"generation.width": width, "generation.height": height}, not_read, facts)


def _read(texts: Mapping[str, str]) -> FoundParameters | None:
    """Return what the first reader that knows the texts says; what a ComfyUI graph leaves open, A1111's text beside it may say."""
    for reader in READERS:
        found = _tried(reader, texts)
        if found is None:
            continue
        if reader is comfyui.read and read_infotext(texts.get(PARAMETERS, "")[: a1111.LONGEST]).fields:
            other = _tried(a1111.read, texts)
            return found if other is None else common.merged(found, other)
        return found
    return None


def _tried(reader: Reader, texts: Mapping[str, str]) -> FoundParameters | None:
    try:
        return reader(texts)
    except EXPECTED as error:
        log.debug("%s: %s", reader.__module__, error)
        return None


def _hidden(source: Path | IO[bytes]) -> Mapping[str, str] | None:
    """Return the texts that are hidden in the pixels: A1111's parameters, or a JSON object with NovelAI's texts."""
    if not isinstance(source, Path):
        source.seek(0)
    text = read_stealth(source, budget())
    if text is None:
        return None
    data = common.parsed(text)
    if data is None:
        return {PARAMETERS: text}
    named = {name: value for name, value in data.items() if isinstance(value, str)}
    return named if COMMENT in named or SOFTWARE in named else {PARAMETERS: text}
