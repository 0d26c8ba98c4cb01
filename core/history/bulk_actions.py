"""Annotate, move to the trash, restore or delete images, one or many.

Images are handled in parts of PART, each in one transaction, so that nobody waits long for the database. Files beside images are
written after their rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from core.errors import NotFoundError, StorageError
from core.history import annotation_files, image_rows, search
from core.history.hidden_collections import EVERYTHING, CollectionLockedError, Scope
from core.history.record_codec import beside
from core.storage.database import Database, moment, timestamp
from core.storage.files import Files
from core.storage.image_writer import Thumbnails
from core.types import AnnotationChange, Annotations, HistoryQuery, ImageSelection, Undo

PART = 200  # images of one transaction: some tenths of a second
State = tuple[Annotations, datetime | None]  # annotations, and since when the image is in the trash
Rows = Sequence[Row[Any]]


class BulkActions:
    """What is done with the images below one output directory. For any number of threads and processes."""

    def __init__(
        self, database: Database, files: Files, thumbnails: Thumbnails, scope: Callable[[], Scope] = lambda: EVERYTHING
    ) -> None:
        self._database = database
        self._scope = scope
        self._files = files
        self._thumbnails = thumbnails

    def change(self, selected: ImageSelection, change: AnnotationChange) -> Undo:
        """Change the annotations of these images; return the changes that undo it.

        Raises NotFoundError for an id that is not there, OptionError, CollectionLockedError or StorageError.
        """
        locked = {name for _, name in self._scope().locked}
        if shut := locked.intersection(change.add_collections):
            raise CollectionLockedError(name=min(shut))
        undo: dict[AnnotationChange, list[str]] = {}

        def act(connection: Connection, found: Rows) -> None:
            present = list(zip(found, image_rows.marks_of(connection, found), strict=True))
            image_rows.set_marks(
                connection, {row.number: annotation_files.changed(before, change) for row, before in present}
            )
            for row, before in present:
                undo.setdefault(change.undoing(before), []).append(row.id)

        self._each_part(selected, act)
        return tuple((back, tuple(ids)) for back, ids in undo.items())

    def set_trashed(self, selected: ImageSelection, instant: datetime | None) -> tuple[str, ...]:
        """Move images to the trash at `instant`, or out of it (None); return the ids of those that were not there.

        Raises NotFoundError or StorageError.
        """
        words = timestamp(instant) if instant else None
        moved: list[str] = []

        def act(connection: Connection, found: Rows) -> None:
            new = [row for row in found if (row.trashed_at is None) != (words is None)]
            image_rows.set_trashed(connection, [row.number for row in new], words)
            moved.extend(row.id for row in new)

        self._each_part(selected, act)
        return tuple(moved)

    def empty_trash(self) -> int:
        """Delete all that is in the trash for good; how many images that was. Raises StorageError."""
        gone = 0
        for part in _parts(self._ids(HistoryQuery(trashed=True))):
            with self._database.writing() as connection:  # images restored meanwhile stay
                found = [row for row in self._listed(connection, part) if row.trashed_at is not None]
                image_rows.remove(connection, [row.number for row in found])
            self._remove_files(found)
            gone += len(found)
        return gone

    def delete(self, image_id: str) -> None:
        """Delete an image for good; a file that is gone already is fine. Raises NotFoundError or StorageError."""
        with self._database.writing() as connection:
            row = image_rows.find(connection, image_id)
            if not self._scope().visible(connection, [row.number]):
                raise NotFoundError(kind="image", value=image_id)
            image_rows.remove(connection, [row.number])
        self._remove_files([row])

    def _each_part(self, selected: ImageSelection, act: Callable[[Connection, Rows], None]) -> None:
        """Call `act` in one transaction for each part; images that a query found and that are gone are left out."""
        asked = isinstance(selected, HistoryQuery)
        ids = self._ids(selected) if isinstance(selected, HistoryQuery) else selected
        for part in _parts(ids):
            with self._database.writing() as connection:
                found = self._listed(connection, part)
                if lost := set() if asked else set(part).difference(row.id for row in found):
                    raise NotFoundError(kind="image", value=min(lost))
                act(connection, found)
            self._write_marks([row.id for row in found], durable=len(ids) <= PART)
        if len(ids) > PART:
            self._files.settle()  # once for all: after each file it would take minutes

    def _ids(self, query: HistoryQuery) -> Sequence[str]:
        with self._database.reading() as connection:
            return search.ids(connection, query, self._scope())

    def _listed(self, connection: Connection, ids: Sequence[str]) -> Rows:
        """Return the rows of those images that are there and may be seen."""
        found = image_rows.listed(connection, ids)
        visible = self._scope().visible(connection, [row.number for row in found])
        return [row for row in found if row.number in visible]

    def _write_marks(self, ids: Sequence[str], durable: bool) -> None:
        """Write the files beside images as the rows are; again where a row has changed since."""
        written: dict[str, State] = {}
        while stale := {row: state for row, state in self._states_of(ids) if written.get(row.id) != state}:
            for row, state in stale.items():
                if self._files.reaches(row.file):
                    annotation_files.write(self._files, row.file, *state, durable=durable)
                written[row.id] = state

    def _states_of(self, ids: Sequence[str]) -> list[tuple[Row[Any], State]]:
        with self._database.reading() as connection:
            found = image_rows.listed(connection, ids)
            return [
                (row, (marks, moment(row.trashed_at)))
                for row, marks in zip(found, image_rows.marks_of(connection, found), strict=True)
            ]

    def _remove_files(self, found: Rows) -> None:
        """Remove thumbnail, image and the files beside it; try all, then raise the first error.

        What a crash or an error leaves behind is taken in again at the next start. Hence marks come last: they say that
        it was in the trash.
        """
        problem: StorageError | None = None
        for row in found:
            try:
                self._thumbnails.remove(row.id)
                for name in (row.file, beside(row.file), annotation_files.beside(row.file)):
                    self._files.remove(name)
            except StorageError as error:
                problem = problem or error
        if problem is not None:
            raise problem


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), PART):
        yield ids[start : start + PART]
