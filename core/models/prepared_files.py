"""Name, list and remove prepared weights: parts of models as they are used, written once so that later loads only read.

A file is named after the part, its form (such as bfloat16-int8), and a hash over the contents of the weights that it was made of
and the versions of the libraries that made it; what it is of stands in its header. Without torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from core.models.fingerprint import LIBRARIES
from core.models.weight_files import SAFETENSORS, BadFile, read_notes

FOLDER = "prepared"  # in the folder of models
FORMAT = "1"  # of the header; another one is another file
_MAKERS = (*LIBRARIES, "torchao")


@dataclass(frozen=True)
class PreparedFile:
    """A part of a model in one form. `model` is the one whose load wrote it; others with the same weights use it, too."""

    path: Path
    model: str
    part: str
    form: str
    bytes: int


def file_of(store: Path, part: str, form: str, weights: str) -> Path:
    """Return where a part is kept in a form; `weights` is the hash of the weights that it is made of."""
    made_by = {name: _version(name) for name in _MAKERS}
    told = json.dumps([FORMAT, part, form, weights, made_by], sort_keys=True)
    return store / FOLDER / f"{part}-{form}-{weights}-{hashlib.sha256(told.encode()).hexdigest()[:10]}{SAFETENSORS}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def prepared_files(store: Path) -> list[PreparedFile]:
    """Return all prepared weights, by model, part and form. A file that can't be read belongs to no model."""
    found = []
    for path in (store / FOLDER).glob(f"*{SAFETENSORS}"):
        try:
            notes: Mapping[str, str] = read_notes(path)
            size = path.stat().st_size
        except (BadFile, OSError):
            notes, size = {}, _size(path)
        found.append(PreparedFile(path, notes.get("model", ""), notes.get("part", ""), notes.get("form", ""), size))
    return sorted(found, key=lambda one: (one.model, one.part, one.form))


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def remove_prepared(store: Path, model: str | None = None) -> int:
    """Delete the prepared weights of a model, or of all; return their bytes. A load makes them anew when it needs them.

    Raises OSError.
    """
    chosen = [one for one in prepared_files(store) if model in (None, one.model)]
    for one in chosen:
        one.path.unlink(missing_ok=True)
    return sum(one.bytes for one in chosen)


def superseded(file: Path) -> Iterator[Path]:
    """Yield what other versions made of the same weights for the same part and form, and what was left half written."""
    stem = file.stem.rpartition("-")[0]
    yield from (other for other in file.parent.glob(f"{stem}-*{SAFETENSORS}") if other != file)
    yield from file.parent.glob(f"{stem}-*.part")
