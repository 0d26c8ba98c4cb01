"""Run the classifier without torch: its trained weights in NumPy, a few milliseconds an image.

The pages ask it how well images of the embedded model obey their prompts, and must not import torch for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

from core.demo.prompt_attributes import attributes
from core.demo.scenes import ATTRIBUTES

WEIGHTS = Path(__file__).with_name("classifier.safetensors")
SIDE = 128  # px: what is looked at
GROUPS = 8  # of every normalisation
STRIDES = {0: 2, 3: 2, 6: 2, 9: 2, 12: 1}  # of the convolutions, by their places in the trunk

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


@dataclass(frozen=True)
class Obedience:
    """How many of the attributes that a prompt names its image shows."""

    right: int
    asked: int


def obedience(file: Path, prompt: str) -> Obedience | None:
    """Return what the image shows of what the prompt names; None when that is nothing of the embedded model's world.

    OSError when the file is gone or no image.
    """
    asked = attributes(prompt)
    if not asked:
        return None
    shown = _read(file, file.stat().st_mtime_ns)
    return Obedience(sum(shown[name] == value for name, value in asked.items()), len(asked))


@lru_cache(maxsize=4096)  # pages ask again and again; a file that changed has another time
def _read(file: Path, _changed: int) -> Mapping[str, str]:
    with Image.open(file) as image:
        return read(image)


def read(image: Image.Image) -> dict[str, str]:
    """Return the most likely value of every attribute."""
    weights = _weights()
    x = pixels(image)
    for place, stride in STRIDES.items():
        x = _silu(_norm(_convolved(x, weights, f"trunk.{place}", stride), weights, f"trunk.{place + 1}"))
    x = np.einsum("oc,chw->ohw", weights["trunk.15.weight"][:, :, 0, 0], x) + weights["trunk.15.bias"][:, None, None]
    features = _silu(weights["trunk.17.weight"] @ x.reshape(-1) + weights["trunk.17.bias"])
    scores = {name: weights[f"heads.{name}.weight"] @ features + weights[f"heads.{name}.bias"] for name in ATTRIBUTES}
    return {name: values[int(scores[name].argmax())] for name, values in ATTRIBUTES.items()}


def pixels(image: Image.Image) -> Array:
    """Return (3, SIDE, SIDE), from -1 to 1."""
    small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.float32).transpose(2, 0, 1) / np.float32(127.5) - 1


@cache
def _weights() -> dict[str, Array]:
    return {name: value.astype(np.float32) for name, value in load_file(WEIGHTS).items()}


def _convolved(x: Array, weights: Mapping[str, Array], name: str, stride: int) -> Array:
    """Return (C, H, W) by kernels of 3x3 with a border of one."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::stride, ::stride]
    found = np.tensordot(weights[f"{name}.weight"], windows, axes=([1, 2, 3], [0, 3, 4]))
    return found + weights[f"{name}.bias"][:, None, None]


def _norm(x: Array, weights: Mapping[str, Array], name: str) -> Array:
    grouped = x.reshape(GROUPS, -1)
    mean, variance = grouped.mean(axis=1, keepdims=True), grouped.var(axis=1, keepdims=True)
    even = ((grouped - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape)
    return even * weights[f"{name}.weight"][:, None, None] + weights[f"{name}.bias"][:, None, None]


def _silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))
