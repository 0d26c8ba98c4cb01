"""Write and read annotations (rating, favourite, note, tags, collections, trash) as a small JSON file beside each image.

    <image>.marks.json: {"format": "zdarkroom-marks", "version": 1, "rating": 4, "favourite": true, "note": "...",
                           "tags": [...], "collections": [...], "trashed_at": null}

They are searched in the rows; with the files a history can be rebuilt from the images alone without a loss. A file is written after
its row: after a crash between the two the row is right and the file old, which `history check` corrects. An image
without annotations
has no file.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import datetime
from typing import Any

from core.errors import OptionError
from core.i18n import localize
from core.storage.database import timestamp
from core.storage.files import Files
from core.storage.infotext import well_formed
from core.types import AnnotationChange, Annotations

log = logging.getLogger(__name__)

FORMAT, VERSION = "zdarkroom-marks", 1
SUFFIX = ".marks.json"
MAX_FILE = 1 << 20  # bytes; a longer one is not ours
MAX_NAME, MAX_NOTE, MAX_LABELS = 200, 10_000, 100  # characters, characters, names
MAX_RATING = 5


def changed(marks: Annotations, change: AnnotationChange) -> Annotations:
    """Return `marks` with the change. Raises OptionError for a rating, a name or a note that can't be kept."""
    new = replace(
        marks,
        **{name: value for name in ("rating", "favourite", "note") if (value := getattr(change, name)) is not None},
        tags=_names((*marks.tags, *change.add_tags), change.remove_tags),
        collections=_names((*marks.collections, *change.add_collections), change.remove_collections),
    )
    if not 0 <= new.rating <= MAX_RATING:
        raise OptionError(source="history", key="rating", value=new.rating, allowed=f"0 - {MAX_RATING}")
    if len(new.note) > MAX_NOTE:
        allowed = localize("history.annotation_files.text_0_characters", max_note=MAX_NOTE)
        raise OptionError(source="history", key="note", value=len(new.note), allowed=allowed)
    return replace(new, note=well_formed(new.note))


def write(files: Files, image: str, marks: Annotations, trashed_at: datetime | None, durable: bool = True) -> None:
    """Write the file beside `image`, or remove it when there is nothing to say. Raises StorageError."""
    if marks == Annotations() and trashed_at is None:
        files.remove(beside(image))
        return
    data = {
        "format": FORMAT,
        "version": VERSION,
        **vars(marks),
        "trashed_at": timestamp(trashed_at) if trashed_at else None,
    }
    files.write(beside(image), json.dumps(data, ensure_ascii=False, indent=1).encode("utf-8"), durable)


def read(files: Files, image: str) -> tuple[Annotations, datetime | None]:
    """Return what the file beside `image` says; nothing when there is none, or one that can't be read."""
    try:
        data = json.loads(files.read(beside(image), MAX_FILE).decode("utf-8"))
        return _typed(data), _instant(data.get("trashed_at"))
    except FileNotFoundError:
        return Annotations(), None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OptionError) as error:
        log.warning("%s is not read: %s", beside(image), error)
        return Annotations(), None


def beside(image: str) -> str:
    """Return the name of the file beside an image."""
    return image + SUFFIX


def _typed(data: dict[str, Any]) -> Annotations:
    if (data["format"], data["version"]) != (FORMAT, VERSION):
        raise ValueError("of another version")
    change = AnnotationChange(
        rating=int(data["rating"]),
        favourite=bool(data["favourite"]),
        note=str(data["note"]),
        add_tags=tuple(map(str, data["tags"])),
        add_collections=tuple(map(str, data["collections"])),
    )
    return changed(Annotations(), change)


def _instant(words: Any) -> datetime | None:
    instant = datetime.fromisoformat(words) if words else None
    if instant is not None and instant.tzinfo is None:
        raise ValueError("a time without its zone")
    return instant


def _names(names: tuple[str, ...], without: tuple[str, ...]) -> tuple[str, ...]:
    """Return each name once, without the blanks around it, in alphabetical order."""
    removed = {well_formed(name).strip() for name in without}
    kept = sorted({well_formed(name).strip() for name in names} - removed - {""})
    if len(kept) > MAX_LABELS or any(len(name) > MAX_NAME for name in kept):
        allowed = localize("history.annotation_files.at_most_of_1_characters", max_labels=MAX_LABELS, max_name=MAX_NAME)
        raise OptionError(source="history", key="tags, collections", value=len(kept), allowed=allowed)
    return tuple(kept)
