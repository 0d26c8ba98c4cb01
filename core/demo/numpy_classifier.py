"""Run the classifier without torch, and find what a prompt asks of the scenes: the inverse of `captions`.

Its trained weights in NumPy take a few milliseconds an image. The pages ask it how well images of the embedded model obey
their prompts, and must not import torch for that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

from core.demo.captions import COLORS, ENGLISH_TAGS, KINDS, POSITIONS, SURROUNDINGS, TRADITIONAL
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


SIMPLIFIED = {ord(chr(new)): old for old, new in TRADITIONAL.items()}
BETWEEN = re.compile(r"[ \n]*的?[ \n]*")  # what may stand between a colour and its thing


@dataclass(frozen=True)
class Word:
    """Words of the world in a prompt: what they say, and where they begin and end."""

    attribute: str
    value: str
    begin: int
    end: int


def attributes(prompt: str) -> dict[str, str]:
    """Return each attribute of `scenes.ATTRIBUTES` that the prompt names, with its value; empty for another world."""
    text = prompt.translate(SIMPLIFIED).lower()
    words = sorted(_words(text), key=lambda word: word.begin)
    named: dict[str, set[str]] = {}
    for word in words:
        named.setdefault(word.attribute, set()).add(word.value)
    asked = {name: values.pop() for name, values in named.items() if name in _SURROUNDING and len(values) == 1}
    asked |= _things(text, words)
    return {name: asked[name] for name in ATTRIBUTES if name in asked}


def _things(text: str, words: list[Word]) -> dict[str, str]:
    """Return the one or two things, their colours, and where the first one stands; of more than two nothing is asked."""
    kinds = [word for word in words if word.attribute == "kind"]
    places = [word.value for word in words if word.attribute == "position"]
    asked: dict[str, str] = {}
    if len(kinds) > 2:
        return asked
    for number, kind in zip(("", "2"), kinds, strict=False):
        asked[f"kind{number}"] = kind.value
        colors = [word for word in words if word.attribute == "color" and _belongs(text, word, kind)]
        if colors:
            asked[f"color{number}"] = colors[0].value
    if kinds and len(places) == len(kinds):  # each thing has its own
        asked["position"] = places[0]
    return asked


def _belongs(text: str, color: Word, kind: Word) -> bool:
    """Return whether the colour stands right before the thing."""
    return color.end <= kind.begin and BETWEEN.fullmatch(text, color.end, kind.begin) is not None


_SURROUNDING = frozenset(("time", "ground", "mountains", "celestial", "weather"))


def _words(text: str) -> Iterator[Word]:
    for pattern, meanings in _patterns():
        for found in pattern.finditer(text):
            yield Word(*meanings[found[0]], found.start(), found.end())


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], dict[str, tuple[str, str]]], ...]:
    """For each language what finds its words, the longest first, and what each of them says."""
    made = []
    for language, frame in (("zh", "{}"), ("en", r"(?<![a-z])(?:{})(?![a-z])")):
        meanings = {
            word: (attribute, value)
            for attribute, values in _vocabulary(language)
            for value, words in values.items()
            for word in words
        }
        longest_first = sorted(meanings, key=len, reverse=True)
        made.append((re.compile(frame.format("|".join(map(re.escape, longest_first)))), meanings))
    return tuple(made)


def _vocabulary(language: str) -> Iterator[tuple[str, dict[str, tuple[str, ...]]]]:
    yield from (("kind", KINDS[language]), ("color", COLORS[language]), ("position", POSITIONS[language]))
    yield from SURROUNDINGS[language].items()
    if language == "en":
        yield from ENGLISH_TAGS.items()
