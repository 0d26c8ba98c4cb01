"""Hide collections behind a password: unlocked for some minutes, then locked again.

This is hiding, not encryption: the files lie in the output folder as every other image. Passwords are stored as scrypt
hashes in the database; who has unlocked what is kept in the memory of this process, so a restart locks everything.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection

from sqlalchemy import delete, insert, select

from core.errors import InputError, StorageError
from core.history.image_rows import LONGEST_NAME
from core.i18n import localize
from core.storage import passwords
from core.storage.database import Database, now
from core.storage.infotext import well_formed
from core.storage.tables import hidden_collections

SHORTEST, LONGEST = 4, 200  # characters of a password
KEPT_SECONDS = 1.0  # so long the list of hidden collections is taken for the present one
TRIES, TRY_SECONDS = 5, 60.0  # wrong passwords of a viewer
Pair = tuple[str, str]  # owner and name


class CollectionPasswordError(InputError):
    """A wrong password, or a collection that is not hidden: the same message for both."""


class CollectionTriesError(InputError):
    """Too many wrong passwords of one viewer."""


class CollectionLockedError(InputError):
    """An action that puts images into a hidden collection, which is locked."""


class HidingError(InputError):
    """A collection that can't be hidden: a name or a password of the wrong length, or one that is hidden already."""


class HiddenCollections:
    """The hidden collections of a database, and who has unlocked them. Thread-safe."""

    def __init__(self, database: Database, minutes: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Open them. What is unlocked is locked again after `minutes`."""
        self._database = database
        self._seconds = 60 * minutes
        self._clock = clock
        self._until: dict[tuple[str, Pair], float] = {}
        self._wrong: dict[str, list[float]] = {}
        self._known: tuple[float, tuple[Pair, ...]] | None = None  # when they were read, and all of them
        self._guard = threading.Lock()

    def pairs(self, owners: Collection[str]) -> tuple[Pair, ...]:
        """Return the hidden collections of these owners, as (owner, name). What others hide is seen within KEPT_SECONDS."""
        return tuple(pair for pair in self._all() if pair[0] in owners)

    def _all(self) -> tuple[Pair, ...]:
        """Return all hidden collections; those last known while the database is away."""
        with self._guard:
            if self._known is not None and time.monotonic() - self._known[0] < KEPT_SECONDS:
                return self._known[1]
        columns = hidden_collections.c
        try:
            with self._database.reading() as connection:
                rows = connection.execute(select(columns.owner, columns.name).order_by(columns.name))
                found = tuple((row.owner, row.name) for row in rows)
        except StorageError as error:
            if not error.temporary or self._known is None:
                raise
            return self._known[1]
        with self._guard:
            self._known = (time.monotonic(), found)
        return found

    def locked(self, viewer: str, pairs: Collection[Pair]) -> tuple[Pair, ...]:
        """Return which of these collections are locked for a viewer."""
        present = self._clock()
        with self._guard:
            return tuple(pair for pair in pairs if self._until.get((viewer, pair), 0.0) <= present)

    def seconds_left(self, viewer: str, pair: Pair) -> float:
        """Return in how many seconds a collection is locked again for a viewer; 0 when it is locked."""
        with self._guard:
            return max(0.0, self._until.get((viewer, pair), 0.0) - self._clock())

    def hide(self, owner: str, name: str, password: str) -> None:
        """Hide a collection, which may have no image yet; it is locked at once. Raises HidingError."""
        name = well_formed(name.strip())
        if not 1 <= len(name) <= LONGEST_NAME:
            raise HidingError(what=localize("history.hidden.name"), value=len(name), allowed=f"1 - {LONGEST_NAME}")
        if not SHORTEST <= len(password) <= LONGEST:
            what, allowed = localize("history.hidden.password"), f"{SHORTEST} - {LONGEST}"
            raise HidingError(what=what, value=len(password), allowed=allowed)
        if (owner, name) in self.pairs((owner,)):
            what = localize("history.hidden.collection")
            raise HidingError(what=what, value=name, allowed=localize("history.hidden.not_hidden"))
        row = {"owner": owner, "name": name, "hash": passwords.hashed(password), "created_at": now()}
        with self._database.writing() as connection:
            connection.execute(insert(hidden_collections), row)
        self._known = None

    def unlock(self, viewer: str, owners: Collection[str], name: str, password: str) -> Pair:
        """Show a hidden collection to a viewer for some minutes; return it.

        Raises:
            CollectionPasswordError: the password is wrong, or no collection of that name is hidden.
            CollectionTriesError: after five wrong passwords within a minute.
        """
        owner, _ = pair = self._checked(viewer, owners, name, password)
        with self._guard:
            self._until[viewer, (owner, pair[1])] = self._clock() + self._seconds
        return pair

    def show_again(self, viewer: str, owners: Collection[str], name: str, password: str) -> None:
        """Hide a collection no longer; its images stay in it. Raises as `unlock` does."""
        owner, name = self._checked(viewer, owners, name, password)
        here = (hidden_collections.c.owner == owner, hidden_collections.c.name == name)
        with self._database.writing() as connection:
            connection.execute(delete(hidden_collections).where(*here))
        self._known = None

    def lock(self, viewer: str) -> None:
        """Lock everything that a viewer has unlocked."""
        with self._guard:
            self._until = {key: until for key, until in self._until.items() if key[0] != viewer}

    def _checked(self, viewer: str, owners: Collection[str], name: str, password: str) -> Pair:
        self._check_tries(viewer)
        columns = hidden_collections.c
        named = select(columns.owner, columns.name, columns.hash).where(
            columns.owner.in_(owners), columns.name == well_formed(name.strip())
        )
        with self._database.reading() as connection:
            found = connection.execute(named).all()
        stored = [row.hash for row in found] or [passwords.NOBODY]
        right = [passwords.matches(password[:LONGEST], one) for one in stored]
        if not found or not any(right):
            with self._guard:
                self._wrong.setdefault(viewer, []).append(self._clock())
            raise CollectionPasswordError(name=name[:60])
        with self._guard:
            self._wrong.pop(viewer, None)
        row = found[right.index(True)]
        return row.owner, row.name

    def _check_tries(self, viewer: str) -> None:
        with self._guard:
            recent = [when for when in self._wrong.get(viewer, ()) if self._clock() - when < TRY_SECONDS]
            self._wrong = {**self._wrong, viewer: recent} if recent else self._wrong
            if len(recent) >= TRIES:
                raise CollectionTriesError(seconds=round(TRY_SECONDS - (self._clock() - recent[0])) or 1)
