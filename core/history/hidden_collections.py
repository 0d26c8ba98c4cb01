"""Decide which images a viewer may see, and hide collections behind a password: unlocked for some minutes, then locked again.

An image belongs to the user whose job made it, or who imported it. The owner is a label of the image (kind OWNER), written
together with its row. Images without an owner, made before there were users or on the command line, belong to admins.

Hiding is not encryption: the files lie in the output folder as every other image. Passwords are stored as scrypt hashes in the
database; who has unlocked what is kept in the memory of this process, so a restart locks everything.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, text

from core.errors import InputError, StorageError
from core.history.image_rows import CHUNK, COLLECTION, LONGEST_NAME, OWNER
from core.i18n import localize
from core.storage import passwords
from core.storage.database import Database, now
from core.storage.infotext import well_formed
from core.storage.tables import hidden_collections, jobs
from core.types import ANYONE, Viewer

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
            raise HidingError(what=localize("history.hidden_collections.name"), value=len(name), allowed=f"1 - {LONGEST_NAME}")
        if not SHORTEST <= len(password) <= LONGEST:
            what, allowed = localize("history.hidden_collections.password"), f"{SHORTEST} - {LONGEST}"
            raise HidingError(what=what, value=len(password), allowed=allowed)
        if (owner, name) in self.pairs((owner,)):
            what = localize("history.hidden_collections.collection")
            raise HidingError(what=what, value=name, allowed=localize("history.hidden_collections.not_hidden"))
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


_OWNED = f"SELECT number FROM image_labels WHERE kind = '{OWNER}'"


@dataclass(frozen=True)
class Scope:
    """What a viewer may see. `locked` names the hidden collections, as (owner, name), that are locked for the viewer."""

    viewer: Viewer = ANYONE
    locked: tuple[tuple[str, str], ...] = ()
    hidden: tuple[tuple[str, str], ...] = ()  # all hidden collections of the viewer, unlocked ones included

    @property
    def unlimited(self) -> bool:
        """Return True when every image may be seen."""
        return not self.viewer.private and not self.locked

    def conditions(self) -> tuple[list[str], dict[str, Any]]:
        """Return SQL conditions on the `number` of an image, and their values. No condition: every image may be seen."""
        where: list[str] = []
        values: dict[str, Any] = {}
        if self.viewer.private:
            values["scope_owner"] = self.viewer.owner
            if self.viewer.admin:
                where.append(f"number NOT IN ({_OWNED} AND name <> :scope_owner)")
            else:
                where.append(f"number IN ({_OWNED} AND name = :scope_owner)")
        hiding, named = in_collections(self.locked, "locked")
        return [*where, *(f"number NOT IN ({one})" for one in hiding)], {**values, **named}

    def visible(self, connection: Connection, numbers: Sequence[int]) -> set[int]:
        """Return which of these images the viewer may see."""
        where, values = self.conditions()
        if not where:
            return set(numbers)
        wanted = text(f"SELECT number FROM images WHERE number IN :wanted AND {' AND '.join(where)}")
        wanted = wanted.bindparams(bindparam("wanted", expanding=True))
        found: set[int] = set()
        for start in range(0, len(numbers), CHUNK):
            part = list(numbers[start : start + CHUNK])
            found.update(connection.scalars(wanted, {**values, "wanted": part}))
        return found

    def may_see_jobs(self, connection: Connection, job_ids: Sequence[str]) -> bool:
        """Return True if each of these jobs may be seen, and no image of them is locked. Jobs that are gone are nobody's."""
        if self.unlimited:
            return True
        clients = {
            client
            for part in _parts(job_ids)
            for client in connection.scalars(select(jobs.c.client).where(jobs.c.id.in_(part)).distinct())
        }
        own = all(self.viewer.owns(client) for client in clients or ("",))
        return own and not self.jobs_with_locked_images(connection, job_ids)

    def jobs_with_locked_images(self, connection: Connection, job_ids: Sequence[str]) -> set[str]:
        """Return the jobs that made an image which is in a locked collection now."""
        if not self.locked:
            return set()
        where, values = in_collections(self.locked, "locked")
        inside = " OR ".join(f"number IN ({one})" for one in where)
        wanted = text(f"SELECT DISTINCT job_id FROM images WHERE job_id IN :wanted AND ({inside})")
        wanted = wanted.bindparams(bindparam("wanted", expanding=True))
        return {
            str(job_id)
            for part in _parts(job_ids)
            for job_id in connection.scalars(wanted, {**values, "wanted": list(part)})
        }

    def is_hidden(self, connection: Connection, number: int) -> bool:
        """Return True for an image of a hidden collection of the viewer, locked or not: it must not be kept in a cache."""
        where, values = in_collections(self.hidden, "hidden")
        if not where:
            return False
        inside = " OR ".join(f"number IN ({one})" for one in where)
        found = text(f"SELECT number FROM images WHERE number = :at AND ({inside})")
        return connection.scalar(found, {**values, "at": number}) is not None


EVERYTHING = Scope()


def in_collections(pairs: Iterable[tuple[str, str]], prefix: str) -> tuple[list[str], dict[str, Any]]:
    """Return a query for the numbers of the images of each collection, and their values, named with `prefix`."""
    queries, values = [], {}
    for k, (owner, name) in enumerate(pairs):
        values[f"{prefix}_name{k}"] = name
        named = f"SELECT number FROM image_labels WHERE kind = '{COLLECTION}' AND name = :{prefix}_name{k} AND number "
        if owner:
            values[f"{prefix}_owner{k}"] = owner
            queries.append(f"{named} IN ({_OWNED} AND name = :{prefix}_owner{k})")
        else:
            queries.append(f"{named} NOT IN ({_OWNED})")
    return queries, values


def _parts(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))
