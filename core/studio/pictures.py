"""The history: finding pictures, taking them in, keeping them in order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from core.config.loras import KEY, LoraUse, read_uses
from core.errors import PictureFileError
from core.storage import difference
from core.storage.importing import MAX_FILE
from core.storage.infotext import LORA_HASHES, read_lora_hashes
from core.storage.readers import read_parameters
from core.studio.desk import Desk
from core.types import (
    Chosen,
    Difference,
    FoundParameters,
    HistoryPage,
    HistoryQuery,
    ImageRecord,
    MarkChange,
    TakenIn,
)

PICTURES = (".png", ".jpg", ".jpeg", ".webp")


class Pictures(Desk):
    """The verbs of stored pictures."""

    def search(self, query: HistoryQuery) -> HistoryPage:
        """One page of the history."""
        return self._history.search(query)

    def image(self, image_id: str) -> ImageRecord:
        """One record; NotFoundError when there is none."""
        return self._history.get(image_id)

    def image_file(self, image_id: str) -> Path:
        """The picture's file; NotFoundError when the row or the file is gone."""
        return self._history.file(image_id)

    def thumbnail(self, image_id: str) -> Path:
        """A WebP of at most 256 px, made when first asked for."""
        return self._history.thumbnail(image_id)

    def read_parameters(self, data: bytes) -> FoundParameters | None:
        """What a picture file of any program says of how it was made; None when it is no picture.

        LoRAs that have other names here are known by the hashes in the file.
        """
        found = read_parameters(BytesIO(data))
        if found is None or KEY not in found.values:
            return found
        hashes = read_lora_hashes(found.unused.get(LORA_HASHES, ""))
        uses = read_uses(found.values[KEY], found.program)
        here = tuple(str(LoraUse(self._loras.named(use.name, hashes.get(use.name, "")), use.weight)) for use in uses)
        return replace(found, values={**found.values, KEY: here})

    def take_in(self, data: bytes, name: str) -> tuple[ImageRecord, bool]:
        """Make a picture from elsewhere part of the history; whether it is new there. PictureFileError when it can't be."""
        return self._history.take_in(data, name)

    def take_in_folder(self, folder: Path) -> TakenIn:
        """Every picture in a folder of this machine, not in those below it. Links are not followed."""
        known, new, refused = 0, [], []
        try:
            paths = sorted(path for path in folder.iterdir() if path.is_file() and not path.is_symlink())
        except OSError as error:
            raise PictureFileError(file=folder, detail=error.strerror or error) from error
        for path in paths:
            if path.suffix.lower() not in PICTURES:
                continue
            try:
                if path.stat().st_size > MAX_FILE:  # before it is read
                    raise PictureFileError(file=path.name, detail=f"> {MAX_FILE >> 20} MB")
                made = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                record, is_new = self._history.take_in(path.read_bytes(), path.name, made)
            except (PictureFileError, OSError) as error:
                refused.append(
                    error if isinstance(error, PictureFileError) else PictureFileError(file=path, detail=error)
                )
                continue
            known += not is_new
            new += [record.id] if is_new else []
        return TakenIn(tuple(new), known, tuple(refused))

    def image_ids(self, query: HistoryQuery) -> tuple[str, ...]:
        """The ids of all that match, in the query's order."""
        return self._history.ids(query)

    def neighbours(self, query: HistoryQuery, image_id: str) -> tuple[str | None, str | None]:
        """The pictures before and after this one in the query's order; None at an end."""
        return self._history.neighbours(query, image_id)

    def difference(self, one: str, other: str) -> Difference:
        """How two pictures differ, in figures."""
        return difference.compare(self.image_file(one), self.image_file(other))

    def difference_map(self, one: str, other: str) -> bytes:
        """Where two pictures differ, as a PNG."""
        return difference.heat_map(self.image_file(one), self.image_file(other))

    def tags(self) -> tuple[str, ...]:
        """Every tag that some picture has."""
        return self._history.labels("tag")

    def collections(self) -> tuple[str, ...]:
        """Every collection that some picture is in."""
        return self._history.labels("collection")

    def mark(self, chosen: Chosen, change: MarkChange) -> None:
        """Rate, tag, note or collect these pictures: by id, or all that a question finds."""
        self._history.change(chosen, change)

    def trash(self, chosen: Chosen) -> None:
        """Put these pictures into the trash."""
        self._history.trash(chosen)

    def restore(self, chosen: Chosen) -> None:
        """Take these pictures out of the trash."""
        self._history.restore(chosen)

    def empty_trash(self) -> int:
        """Delete what is in the trash for good: rows, files and all; how many pictures that was."""
        return self._history.empty_trash()
