"""A1111's "hires fix" as the second pass that is here: its size is the first pass's, ours is the file's.

What this module does not know: queues, answers.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

UPSCALERS = {"Lanczos": "lanczos", "Nearest": "nearest"}  # of A1111's; the others, as its samplers, are not told apart


class SecondPass(BaseModel):
    """The fields of txt2img that ask for it. Zero means unset, as there."""

    enable_hr: bool = False
    hr_scale: float = 2.0
    hr_resize_x: int = 0
    hr_resize_y: int = 0
    hr_second_pass_steps: int = 0
    hr_upscaler: str | None = None
    denoising_strength: float | None = None


STRENGTH = 0.75  # A1111's own, where an order leaves it out


def values_of(order: SecondPass, width: int, height: int) -> dict[str, Any]:
    """Options by schema key: the size of the file and `hires.*`; {} without a second pass."""
    if not order.enable_hr or width <= 0 or height <= 0:
        return {}
    size, scale = _enlarged(order, width, height)
    return {
        "generation.width": size[0],
        "generation.height": size[1],
        "hires.enabled": True,
        "hires.scale": scale,
        "hires.strength": STRENGTH if order.denoising_strength is None else order.denoising_strength,
        **({"hires.steps": order.hr_second_pass_steps} if order.hr_second_pass_steps else {}),
        **({"hires.upscaler": UPSCALERS[order.hr_upscaler]} if order.hr_upscaler in UPSCALERS else {}),
    }


def _enlarged(order: SecondPass, width: int, height: int) -> tuple[tuple[int, int], float]:
    """The file's size, and how many times the first pass's it is: by the sides that were given, else by the scale."""
    x, y = order.hr_resize_x, order.hr_resize_y
    if not x and not y:
        return (round(width * order.hr_scale), round(height * order.hr_scale)), order.hr_scale
    scale = min(side / first for side, first in ((x, width), (y, height)) if side)
    return (x or round(width * scale), y or round(height * scale)), round(scale, 4)
