"""Declare what the studio needs of a database beyond the SQL that all of them share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import Connection, Engine, String, Table
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from core.errors import StorageError

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql


Conditions = tuple[list[str], dict[str, Any]]  # SQL, and the values of its parameters
Words = tuple[int, str, str]  # an image's number, prompt, negative prompt


class ChangeToken(Protocol):
    """Tells whether anyone wrote. One thread asks at a time, and not always the same."""

    def mark(self) -> object:
        """Return something that differs after each commit of anyone; takes some microseconds."""
        ...

    def close(self) -> None:
        """Give the connection back."""
        ...


class Backend(Protocol):
    """A database: opened, closed, copied."""

    @property
    def name(self) -> str:
        """Return the name for errors and pages; never a password."""
        ...

    @property
    def is_shared(self) -> bool:
        """Return whether other machines can reach it."""
        ...

    def engine(self) -> Engine:
        """Return a new SQLAlchemy engine, connected when first used."""
        ...

    def reading(self, engine: Engine) -> AbstractContextManager[Connection]:
        """Open a snapshot that never waits for writers."""
        ...

    def writing(self, engine: Engine, part: str, durable: bool = True) -> AbstractContextManager[Connection]:
        """Open a transaction in which what is read stays true until it commits. Not `durable`: a power cut may undo it.

        `part`: it touches only what this names, and others may write elsewhere meanwhile; "" for everything.
        """
        ...

    def back_up(self, connection: Connection, version: str, replace: bool) -> str:
        """Keep a copy of all that is there, whole or not at all; return where it is. Raises StorageError.

        A copy of the same version that has more of anything is never lost: with `replace` it gets a name with its date, else
        the new one does. The copies of the last KEPT versions are kept.
        """
        ...

    def backup_name(self, version: str) -> str:
        """Return where the copy of `version` is."""
        ...

    def backed_up_images(self, connection: Connection, version: str) -> int | None:
        """Return how many images the copy of `version` has; None when there is no such copy."""
        ...

    def error(self, error: DBAPIError) -> StorageError:
        """Return the error for a user, with the message of the database."""
        ...

    def news(self) -> ChangeToken:
        """Return a token that changes with every commit; to be closed by the caller."""
        ...


KEPT = 3  # copies that upgrades made, and as many with a date
RICHNESS = {  # what is counted to tell which of two copies has more
    "images": "{0}images",
    "annotations": "{0}images WHERE rating > 0 OR favourite OR note <> ''",
    **{name: f"{{0}}{name}" for name in ("image_labels", "jobs", "sheets", "comparisons", "comparison_votes")},
}


def dated(version: str, moment: datetime) -> str:
    """Return the name of a copy that another one of the same version stands beside."""
    return f"{version}_{moment:%Y%m%d_%H%M%S_%f}"


def is_poorer(copy: Mapping[str, int], other: Mapping[str, int]) -> bool:
    """Return whether a copy has less of anything than another one, by the counts of RICHNESS."""
    return any(copy.get(name, 0) < count for name, count in other.items())


class Dialect(Protocol):
    """SQL that the databases spell differently; `connection` is always inside a transaction."""

    walked: str  # `images` in a question that ix_images_filter answers
    read: str  # `images` in a question for which every row is read
    joined: str  # joins `images` to a list of numbers before it, by ix_images_number

    def make_words(self, connection: Connection) -> None:
        """Make the index of words."""
        ...

    def put_words(self, connection: Connection, rows: Sequence[Words]) -> None:
        """Write the words of images that have none yet."""
        ...

    def remove_words(self, connection: Connection, numbers: Sequence[int]) -> None:
        """Delete the words of images, by number."""
        ...

    def clear_words(self, connection: Connection) -> None:
        """Delete the words of all images."""
        ...

    def with_words(self, words: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """Return a subquery: the numbers of images with every word in one of the prompts; the last part of a word may go on."""
        ...

    def has_text(self, words: Sequence[str]) -> Conditions:
        """Return the condition that every text is in one of the prompts, letter by letter."""
        ...

    def has_options(self, options: Mapping[tuple[str, ...], Any]) -> Conditions:
        """Return the conditions on `option_sets`: each option, under one of its keys, at exactly this value."""
        ...

    def has_members(self, options: Mapping[str, str]) -> Conditions:
        """Return the condition on `option_sets` that each list option has this member, whole or before its colon."""
        ...

    def listed(self, name: str) -> str:
        """Return a subquery of the texts in the JSON list that is the parameter `name`."""
        ...

    def sorted_value(self, column: str, value: Any) -> Any:
        """Return `value`, as read from a cursor, so that it can be compared with `column`."""
        ...

    def json_number(self, column: str, key: str) -> str:
        """Return the whole number under `key` in a JSON column."""
        ...

    def is_json(self, column: str) -> str:
        """Return whether what a JSON column holds can be read."""
        ...

    def take_time(self, connection: Connection) -> None:
        """Let this transaction pause for as long as it needs to, where a pause would else end it."""
        ...

    def after_copy(self, connection: Connection) -> None:
        """Let numbers that are given by themselves go on after the highest that was copied in."""
        ...


class stored_text(FunctionElement[str]):
    """A JSON column as the text that it holds, so that a broken one is met in Python and not in the driver."""

    type = String()
    inherit_cache = True


@compiles(stored_text)
def _as_it_is(element: stored_text, compiler: Any, **given: Any) -> str:
    return str(compiler.process(element.clauses, **given))


@compiles(stored_text, "postgresql")
def _cast(element: stored_text, compiler: Any, **given: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **given)} AS TEXT)"


def upsert(connection: Connection, table: Table, row: Mapping[str, Any], *key: str) -> None:
    """Insert `row`, or put its values into the row with the same columns `key`."""
    values = dict(row)
    connection.execute(_insert(connection, table, values).on_conflict_do_update(index_elements=key, set_=values))


def insert_if_new(connection: Connection, table: Table, row: Mapping[str, Any]) -> None:
    """Insert `row` unless one with a unique value of it is there."""
    connection.execute(_insert(connection, table, dict(row)).on_conflict_do_nothing())


def _insert(connection: Connection, table: Table, values: dict[str, Any]) -> sqlite.Insert | postgresql.Insert:
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table).values(values)
    # Imported here: it takes a tenth of the time in which a worker starts, and is for those who have a server.
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table).values(values)
