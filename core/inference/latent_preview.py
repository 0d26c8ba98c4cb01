"""Estimate the image from the latents of a step, as a small preview.

Most models have a linear map from latent channels to red, green and blue: one beside their weights as `preview.safetensors`
(`weight` (channels, 3) and `bias` (3,), from normalised latents to colours of 0 to 1), or one fitted when the model is loaded
first, see `preview_fit`. A tiny decoder (TAEF1, TAESD, TAESDXL) that is on the machine takes its place.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from core.models.model_paths import PREVIEW_MAP

SIDE = 192  # px, the longer side of the preview at most
GROWTH = 2  # px of the preview for each latent: more would be interpolated only, which the browser does as well
SHARE = 0.01  # of the time of an image's steps: all that its previews may take together; half of what is promised
HANDING_SECONDS = 0.001  # to hand one on takes this much more than a report without one, until it has been measured
TRUST = 0.9  # each image expects so much of what the one before did: a slow moment is not held against all to come

Send = Callable[[bytes | None], None]


class Previewer:
    """Converts latents to WebP bytes; less than half a millisecond for 256 x 256, two for 1024 x 1024.

    `seconds` is what one took lately, with all that it caused.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self._weight = weight.float().numpy()
        self._bias = bias.float().numpy()
        self._measure(weight.shape[0])

    def _measure(self, channels: int) -> None:
        nothing = torch.zeros(1, channels, 32, 32)
        for _ in range(2):  # the first one loads libraries; the second tells what one costs
            began = time.perf_counter()
            self.draw(nothing)
            self.seconds = time.perf_counter() - began + HANDING_SECONDS

    def draw(self, clean: torch.Tensor) -> bytes:
        """Turn clean latents (1, channels, h, w) into a WebP of at most SIDE pixels a side."""
        height, width = clean.shape[2:]
        levels = (self.colours(clean).clip(0, 1) * 255).round().astype(np.uint8)
        scale = min(GROWTH, SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        buffer = io.BytesIO()
        Image.fromarray(levels).resize(size, Image.Resampling.BICUBIC).save(buffer, "WEBP", quality=90, method=0)
        return buffer.getvalue()

    def colours(self, clean: torch.Tensor) -> np.ndarray:
        """Return (h, w, 3) of about 0 to 1, by numpy: torch would wake all its threads for this."""
        flat = clean[0].float().cpu().numpy().reshape(clean.shape[1], -1)
        found: np.ndarray = (self._weight.T @ flat + self._bias[:, None]).T
        return found.reshape(*clean.shape[2:], 3)


class TinyPreviewer(Previewer):
    """By an AutoencoderTiny, which takes normalised latents."""

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder
        self._measure(decoder.config.latent_channels)

    def colours(self, clean: torch.Tensor) -> np.ndarray:
        """Return (8 h, 8 w, 3) of about 0 to 1."""
        with torch.inference_mode():
            pixels = self._decoder.decode(clean.to(self._decoder.device, self._decoder.dtype), return_dict=False)[0]
        found: np.ndarray = (pixels[0].float().cpu().numpy().transpose(1, 2, 0) + 1) / 2
        return found


class PreviewBudget:
    """Previews of one image: made as long as they take no more than SHARE of the time of its steps.

    Slow steps pay for a preview each; fast ones for one now and then. All that a preview causes is counted: reading the
    latents, decoding, and how much longer than the quickest report without one the report takes that hands it on.
    `clock` gives seconds.
    """

    def __init__(self, previewer: Previewer | None, clock: Callable[[], float] = time.perf_counter) -> None:
        self._previewer = previewer
        self._clock = clock
        self._began = clock()
        self._spent = 0.0
        self._plain: float | None = None  # seconds of the quickest report without a preview
        if previewer:
            previewer.seconds *= TRUST

    def report(self, send: Send, draw: Callable[[Previewer], bytes | None] | None) -> None:
        """Report a step by `send`: with the preview that `draw` makes where one is due and affordable."""
        began = self._clock()
        previewer = self._previewer
        if previewer is None or draw is None or not self._can_pay(previewer.seconds, began):
            send(None)
            took = self._clock() - began
            self._plain = took if self._plain is None else min(took, self._plain)
            return
        send(draw(previewer))
        previewer.seconds = max(0.0, self._clock() - began - (self._plain or 0.0))
        self._spent += previewer.seconds

    def _can_pay(self, seconds: float, now: float) -> bool:
        """Return whether the steps so far pay for one more preview that takes so long."""
        return self._spent + seconds <= SHARE * (now - self._began - self._spent)


def load_previewer(folder: Path) -> Previewer | None:
    """Return the previewer of the model in `folder`, or None if it ships none."""
    path = folder / PREVIEW_MAP
    if not path.is_file():
        return None
    tensors = load_file(path)
    return Previewer(tensors["weight"], tensors["bias"])
