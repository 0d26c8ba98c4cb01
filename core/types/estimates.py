"""What a request will cost, before it is queued."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """Time and memory of a whole request. Memory and disk count in MB of 1000 kB, as options do.

    `seconds` and `load_seconds` are None until something was measured on this machine; `load_seconds` is 0 while the model is
    loaded. `measured` tells how many past images of the model the figures come from; with 0 they are computed.
    """

    seconds: float | None
    load_seconds: float | None
    vram_mb: int
    ram_mb: int
    disk_mb: int
    fits: bool
    tier: str
    reasons: tuple[Mapping[str, str], ...]  # language -> sentence
    measured: int = 0
