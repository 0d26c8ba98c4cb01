"""Decide which images a viewer may see: their own where there are users, and none of a locked collection.

An image belongs to the user whose job made it, or who imported it. The owner is a label of the image (kind OWNER), written
together with its row. Images without an owner, made before there were users or on the command line, belong to admins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select, text

from core.history.image_rows import CHUNK, COLLECTION, OWNER
from core.storage.tables import jobs
from core.types import ANYONE, Viewer

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
