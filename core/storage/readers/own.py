"""Our own record: everything, exactly."""

from __future__ import annotations

from collections.abc import Mapping

from core.storage.metadata import RECORD
from core.storage.readers import common
from core.types import FoundParameters

NAMED = ("prompt", "negative_prompt", "width", "height", "num_inference_steps", "guidance_scale", "seed", "num_images")


def read(texts: Mapping[str, str]) -> FoundParameters | None:
    data = common.parsed(texts.get(RECORD))
    if data is None or data.get("format") != "zdarkroom":
        return None
    requested = data["requested"]
    values = {f"generation.{name}": requested[name] for name in NAMED}
    known = common.found("Z Darkroom", {**values, "model.id": requested["model"], **requested["options"]}, {})
    return known
