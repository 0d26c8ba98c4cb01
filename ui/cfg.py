"""CFG scale, the number that pages show, and guidance (CFG - 1), the number that requests and records hold."""

from __future__ import annotations

DIGITS = 6  # 0.1 stays 0.1 when it becomes 1.1 and back


def cfg_of(guidance: float) -> float:
    """Return the CFG scale of a guidance; 1 is off."""
    return round(float(guidance) + 1.0, DIGITS)


def guidance_of(cfg: float) -> float:
    """Return the guidance of a CFG scale; 0 is off."""
    return max(0.0, round(float(cfg) - 1.0, DIGITS))
