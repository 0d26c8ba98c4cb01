"""Measure how much of an image appears in it twice, as happens when positions are further apart than in training.

Needs no judge that was trained: an image's detail is held against itself, moved by every distance of at least a fifth of its side.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

SIDE = 64  # px that the image is reduced to
LEAST = 0.2  # of the side: nearer than this a thing looks like itself
OVERLAP = 0.25  # of the area: with less in common, chance decides


def repetition(image: Image.Image) -> float:
    """Return how much of an image appears twice, from 0 (nothing) to 1 (it is made of copies of one part).

    The autocorrelation of the detail, per pixel of the overlap and as a share of its value at no shift; its highest value.
    Detail is what differs from its row's mean: sky and ground run through a whole row and repeat nothing.
    """
    small = np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64)
    detail = small - small.mean(axis=1, keepdims=True)
    power = np.abs(np.fft.rfft2(detail, (2 * SIDE, 2 * SIDE), axes=(0, 1))) ** 2
    again = np.fft.irfft2(power.sum(axis=2), (2 * SIDE, 2 * SIDE))
    shift = np.minimum(np.arange(2 * SIDE), 2 * SIDE - np.arange(2 * SIDE))
    down, across = shift[:, None], shift[None, :]
    overlap = (SIDE - down) * (SIDE - across) / SIDE**2
    counts = (np.maximum(down, across) >= LEAST * SIDE) & (overlap >= OVERLAP)
    if again[0, 0] <= 1e-9 * SIDE**2:
        return 0.0  # one colour a row
    return float(np.clip((again[counts] / overlap[counts]).max() / again[0, 0], 0, 1))
