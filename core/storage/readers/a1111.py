"""A1111 and Forge: the text `parameters`, which many other programs write, too."""

from __future__ import annotations

import re
from collections.abc import Mapping

from core.config.loras import KEY, read_uses, split_prompt
from core.errors import OptionError
from core.storage.infotext import read_infotext, well_formed
from core.storage.metadata import PARAMETERS
from core.storage.readers import common
from core.types import FoundParameters

_FORGE = re.compile(r"f\d|forge|neo", re.IGNORECASE)


def read(texts: Mapping[str, str]) -> FoundParameters | None:
    text = texts.get(PARAMETERS)
    if text is None or len(text) > common.LONGEST:
        return None
    info = read_infotext(text.replace("\r\n", "\n"))
    if not info.fields and text.lstrip().startswith("{"):
        return None  # JSON of a program that no reader knows
    width, height = common.size_of(info.fields.get("Size", ""))
    prompt, loras = _loras(info.prompt)
    values = {
        common.PROMPT: prompt,
        KEY: loras,
        common.NEGATIVE: info.negative_prompt or None,
        common.STEPS: info.fields.get("Steps"),
        common.CFG: info.fields.get("CFG scale"),
        common.SEED: info.fields.get("Seed"),
        common.WIDTH: width,
        common.HEIGHT: height,
    }
    version = info.fields.get("Version", "")
    program = "Forge" if _FORGE.match(version) else "Z Darkroom" if version.startswith("Z Darkroom") else "A1111"
    return common.found(program, values, common.without(info.fields, "Steps", "CFG scale", "Seed", "Size", "Version"))


def _loras(prompt: str) -> tuple[str, tuple[str, ...] | None]:
    """The prompt without its tags, and what the option says instead; a tag that the option has no word for stays there."""
    plain, tags = split_prompt(well_formed(prompt))
    try:
        return (plain, tuple(str(use) for use in read_uses(tags, "A1111"))) if tags else (prompt, None)
    except OptionError:
        return prompt, None
