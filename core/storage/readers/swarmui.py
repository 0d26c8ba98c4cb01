"""SwarmUI: JSON with `sui_image_params` where others have A1111's text."""

from __future__ import annotations

from collections.abc import Mapping

from core.storage.metadata import PARAMETERS
from core.storage.readers import common
from core.types import FoundParameters

USED = ("prompt", "negativeprompt", "steps", "cfgscale", "seed", "width", "height")


def read(texts: Mapping[str, str]) -> FoundParameters | None:
    data = common.parsed(texts.get(PARAMETERS))
    made = data.get("sui_image_params") if data else None
    if not data or not isinstance(made, dict):
        return None
    values = {
        common.PROMPT: made.get("prompt"),
        common.NEGATIVE: made.get("negativeprompt") or None,
        common.STEPS: made.get("steps"),
        common.CFG: made.get("cfgscale"),
        common.SEED: made.get("seed"),
        common.WIDTH: made.get("width"),
        common.HEIGHT: made.get("height"),
    }
    return common.found("SwarmUI", values, {**common.without(made, *USED), **common.without(data, "sui_image_params")})
