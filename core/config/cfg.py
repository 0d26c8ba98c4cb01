"""Convert between `cfg_scale`, as users know it, and `guidance_scale`, as each family's pipeline counts it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.config.schema import AUTO
from core.errors import OptionConflictError
from core.types import CFG_OFF, cfg_of

CFG, GUIDANCE = "generation.cfg_scale", "generation.guidance_scale"


def as_cfg(values: Mapping[str, Any], offset: float, source: str) -> dict[str, Any]:
    """Return checked `values` by key with `generation.guidance_scale` as the CFG scale that it means.

    `offset` is CFG minus what the model's pipeline calls `guidance_scale`, see ModelInfo.cfg_offset.

    Raises:
        OptionConflictError: Both are given, and they mean different CFG scales.
    """
    found = dict(values)
    guidance = found.pop(GUIDANCE, AUTO)
    if guidance == AUTO:
        return found
    cfg, other = cfg_of(guidance, offset), found.get(CFG, AUTO)
    if other != AUTO and max(CFG_OFF, other) != cfg:
        raise OptionConflictError(
            source=source, key=CFG, one="cfg_scale", first=other, other="guidance_scale", second=guidance
        )
    return {**found, CFG: cfg}
