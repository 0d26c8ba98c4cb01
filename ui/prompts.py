"""Read the prompt library: slots of words in configs/prompts/*.yaml, and the prompt that a selection of them makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

ANY_MODEL = "*"
Text = Mapping[str, str]


@dataclass(frozen=True)
class Slot:
    """One list to select from, such as the time of day."""

    id: str
    name: Text
    words: tuple[Text, ...]


@dataclass(frozen=True)
class Phrase:
    """A part of the sentence; written when the slot `needs` has a selection."""

    needs: str
    text: Text


@dataclass(frozen=True)
class Kind:
    """A kind of image with its slots."""

    id: str
    name: Text
    slots: tuple[Slot, ...]
    phrases: tuple[Phrase, ...]


@dataclass(frozen=True)
class Sample:
    """A ready prompt for the first page."""

    id: str
    seed: int
    text: Text


@dataclass(frozen=True)
class Library:
    """One file."""

    models: tuple[str, ...]
    separator: Text
    negative: Text
    kinds: tuple[Kind, ...]
    samples: tuple[Sample, ...]


def library_for(model: str, folder: Path) -> Library | None:
    """Return the library that names the model, else the one for any model; None if there is neither."""
    libraries = load_libraries(folder)
    named = [library for library in libraries if model in library.models]
    general = [library for library in libraries if ANY_MODEL in library.models]
    return next(iter(named + general), None)


@cache
def load_libraries(folder: Path) -> tuple[Library, ...]:
    """Return every library of the folder, read once per process."""
    return tuple(_read(path) for path in sorted(folder.glob("*.yaml")))


def _read(path: Path) -> Library:
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    return Library(
        models=tuple(data["models"]),
        separator=data["separator"],
        negative=data["negative"],
        kinds=tuple(_kind(kind) for kind in data["kinds"]),
        samples=tuple(Sample(row["id"], row["seed"], {"zh": row["zh"], "en": row["en"]}) for row in data["samples"]),
    )


def _kind(data: Mapping) -> Kind:
    slots = tuple(Slot(slot["id"], slot["name"], tuple(slot["words"])) for slot in data["slots"])
    phrases = tuple(Phrase(row["needs"], {"zh": row["zh"], "en": row["en"]}) for row in data["phrases"])
    return Kind(data["id"], data["name"], slots, phrases)


def compose(library: Library, kind: Kind, selected: Mapping[str, int], language: str) -> str:
    """Return the sentence of the selected words; `selected` is the index of the word by slot."""
    words = {slot.id: slot.words[selected[slot.id]][language] if slot.id in selected else "" for slot in kind.slots}
    parts = [phrase.text[language].format(**words) for phrase in kind.phrases if words[phrase.needs]]
    return library.separator[language].join(" ".join(part.split()) for part in parts)


def replace_words(prompt: str, old: str, new: str, separator: str) -> str:
    """Replace the library's earlier words in `prompt` by new ones; the rest of the prompt is kept."""
    if old and old in prompt:
        return prompt.replace(old, new, 1).strip(separator).strip()
    return separator.join(part for part in (prompt.strip(), new) if part)
