"""Open a SQLite file in WAL mode and write its SQL. Words are in an FTS5 table whose rowid is images.number."""

from __future__ import annotations

import os
import re
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from core.errors import DatabaseDamagedError, DatabaseLockedError, DiskFullError, NotWritableError, StorageError
from core.storage.dialects.contract import KEPT, RICHNESS, Conditions, Words, dated, is_poorer
from core.storage.fts_tokens import match, spaced

TEXTS = "image_texts"
BUSY_SECONDS = 30  # how long a writer waits for another one
SWITCH_SECONDS = 0.02  # between two tries to make a new database a WAL one


class SqliteBackend:
    """The database in one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # SQLite's own wait for its lock is polling, in which a thread may starve: those of one process queue here.
        self._writers = threading.Lock()

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def is_shared(self) -> bool:
        return False

    def engine(self) -> Engine:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(f"sqlite:///{self.path}", connect_args={"timeout": BUSY_SECONDS})
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
        return engine

    @contextmanager
    def reading(self, engine: Engine) -> Iterator[Connection]:
        with engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self, engine: Engine, part: str, durable: bool = True) -> Iterator[Connection]:
        """Take the write lock at once, whatever the part: SQLite has one lock."""
        waited = self._writers.acquire(timeout=BUSY_SECONDS)
        try:
            options = {"immediate": True, "durable": durable}
            with engine.connect().execution_options(**options) as connection, connection.begin():
                yield connection
        finally:
            if waited:
                self._writers.release()

    def back_up(self, connection: Connection, version: str, replace: bool) -> str:
        """Copy the database to <file>.<version>.backup, beside it."""
        target = Path(self.backup_name(version))
        half = target.with_name(f".{target.name}.tmp")
        try:
            with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(half)) as copy:
                source.backup(copy)
            if is_poorer(_counts(half), _counts(target)):
                if replace:
                    made = datetime.fromtimestamp(target.stat().st_mtime)
                    os.replace(target, self.backup_name(dated(version, made)))
                else:
                    target = Path(self.backup_name(dated(version, datetime.now())))
            os.replace(half, target)
            for old in (*self._copies(r"\d+")[:-KEPT], *self._copies(rf"{re.escape(version)}_\d+_\d+_\d+")[:-KEPT]):
                old.unlink()
        except (sqlite3.Error, OSError) as error:
            raise StorageError(path=target, detail=error) from error
        return str(target)

    def backup_name(self, version: str) -> str:
        return str(self.path.with_name(f"{self.path.name}.{version}.backup"))

    def backed_up_images(self, connection: Connection, version: str) -> int | None:
        return _counts(Path(self.backup_name(version))).get("images")

    def _copies(self, versions: str) -> list[Path]:
        """Return the copies whose version a regular expression matches, the oldest first."""
        named = re.compile(rf"{re.escape(self.path.name)}\.{versions}\.backup")
        return sorted(path for path in self.path.parent.iterdir() if named.fullmatch(path.name))

    def error(self, error: DBAPIError) -> StorageError:
        words = str(error.orig)
        if "full" in words:
            return DiskFullError(path=self.path)
        if "readonly" in words or "unable to open" in words:
            return NotWritableError(path=self.path)
        if "not a database" in words or "malformed" in words:
            return DatabaseDamagedError(path=self.path, detail=words)
        if "locked" in words:
            return DatabaseLockedError(path=self.path, seconds=BUSY_SECONDS)
        return StorageError(path=self.path, detail=words)

    def news(self) -> SqliteChangeToken:
        return SqliteChangeToken(self.path)


def _counts(file: Path) -> dict[str, int]:
    """Return how much of each a copy of a database has; nothing when it is no database."""
    found: dict[str, int] = {}
    if not file.is_file():
        return found
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?immutable=1", uri=True)) as copy:
        for name, source in RICHNESS.items():
            with suppress(sqlite3.Error):  # of a version without that table
                found[name] = int(copy.execute(f"SELECT count(*) FROM {source.format('')}").fetchone()[0])
    return found


class SqliteChangeToken:
    """SQLite's `data_version`, which every commit of another connection changes."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)

    def mark(self) -> object:
        return self._connection.execute("PRAGMA data_version").fetchone()[0]

    def close(self) -> None:
        self._connection.close()


class SqliteDialect:
    """SQLite's planner has no statistics and would read rows instead of an index, 15 times as slow: hence INDEXED BY, and
    CROSS JOIN, which keeps the order of both sides."""

    walked = "images INDEXED BY ix_images_filter"
    read = "images NOT INDEXED"
    joined = "CROSS JOIN images INDEXED BY ix_images_number"

    def make_words(self, connection: Connection) -> None:
        connection.exec_driver_sql(
            f"CREATE VIRTUAL TABLE {TEXTS} USING fts5(prompt, negative_prompt, tokenize='unicode61')"
        )

    def put_words(self, connection: Connection, rows: Sequence[Words]) -> None:
        values = [
            {"number": number, "prompt": spaced(prompt), "negative": spaced(negative)}
            for number, prompt, negative in rows
        ]
        if values:
            connection.execute(
                text(f"INSERT INTO {TEXTS} (rowid, prompt, negative_prompt) VALUES (:number, :prompt, :negative)"),
                values,
            )

    def remove_words(self, connection: Connection, numbers: Sequence[int]) -> None:
        connection.execute(
            text(f"DELETE FROM {TEXTS} WHERE rowid = :number"), [{"number": number} for number in numbers]
        )

    def clear_words(self, connection: Connection) -> None:
        connection.execute(text(f"DELETE FROM {TEXTS}"))

    def with_words(self, words: Sequence[str]) -> tuple[str, dict[str, Any]]:
        return f"SELECT rowid AS number FROM {TEXTS} WHERE {TEXTS} MATCH :words", {"words": match(list(words))}

    def has_text(self, words: Sequence[str]) -> Conditions:
        values = {f"word{k}": word for k, word in enumerate(words)}
        return [f"(instr(prompt, :{name}) > 0 OR instr(negative_prompt, :{name}) > 0)" for name in values], values

    def has_options(self, options: Mapping[tuple[str, ...], Any]) -> Conditions:
        parts: list[str] = []
        values: dict[str, Any] = {}
        for k, (keys, value) in enumerate(options.items()):
            paths = {f"key{k}_{n}": f'$."{key}"' for n, key in enumerate(keys)}
            parts.append("(" + " OR ".join(f"json_extract(options, :{name}) = :value{k}" for name in paths) + ")")
            values |= {**paths, f"value{k}": value}
        return parts, values

    def has_members(self, options: Mapping[str, str]) -> Conditions:
        parts: list[str] = []
        values: dict[str, Any] = {}
        for k, (key, value) in enumerate(options.items()):
            parts.append(
                f"EXISTS (SELECT 1 FROM json_each(options, :list{k}) AS member WHERE member.value = :member{k} "
                f"OR substr(member.value, 1, length(:member{k}) + 1) = :member{k} || ':')"
            )
            values |= {f"list{k}": f'$."{key}"', f"member{k}": value}
        return parts, values

    def listed(self, name: str) -> str:
        return f"SELECT value FROM json_each(:{name})"

    def sorted_value(self, column: str, value: Any) -> Any:
        return value

    def json_number(self, column: str, key: str) -> str:
        return f"json_extract({column}, '$.{key}')"

    def is_json(self, column: str) -> str:
        return f"json_valid({column})"

    def take_time(self, connection: Connection) -> None:
        """Do nothing: no pause ends it."""

    def after_copy(self, connection: Connection) -> None:
        """Do nothing: SQLite goes on after the highest by itself."""


def _prepare(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _begin
    cursor = connection.cursor()
    _switch_to_wal(cursor)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _switch_to_wal(cursor: Any) -> None:
    """Of several processes that open a new database at once, SQLite refuses all but one at once, whatever the timeout
    says: two that wait for each other's read locks would wait for ever. So we let go and try again."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(SWITCH_SECONDS)


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("immediate"):  # without fsync nothing is torn in WAL mode: the last transactions may be missing
        connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if options['durable'] else 'NORMAL'}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql("BEGIN")
