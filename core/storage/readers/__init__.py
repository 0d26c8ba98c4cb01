"""Parameters in pictures that were made elsewhere: one reader a program, each from the texts that a file carries.

Nothing is evaluated and no path is believed: a reader gets words and gives values that the schema has checked, and a list
of what has no equivalent here. What this module does not know: formats of files (see `metadata.read_texts`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from core.storage.metadata import read_texts
from core.storage.readers import a1111, comfyui, fooocus, invokeai, own, swarmui
from core.types import FoundParameters

log = logging.getLogger(__name__)

Reader = Callable[[Mapping[str, str]], FoundParameters | None]
# Those with a mark of their own first: A1111's text is what many programs write beside their own.
READERS: tuple[Reader, ...] = (own.read, invokeai.read, swarmui.read, fooocus.read, comfyui.read, a1111.read)


def read_parameters(source: Path | IO[bytes]) -> FoundParameters | None:
    """What the picture says of how it was made; None when it is no picture. Never raises for what is in it."""
    found = read_texts(source)
    if found is None:
        return None
    metadata, texts = found
    for reader in READERS:
        try:
            parameters = reader(texts)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError) as error:
            log.debug("%s: %s", reader.__module__, error)
            continue
        if parameters is not None:
            return parameters
    width, height = metadata.size
    return FoundParameters("", {"generation.width": width, "generation.height": height}, {})
