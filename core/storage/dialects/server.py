"""Open, lock and copy a database on a PostgreSQL server (13 or newer) by URL. Needs psycopg 3, which is optional.

The password comes from PGPASSWORD, PGPASSFILE or ~/.pgpass, as for all of PostgreSQL's own programs, and never from the URL.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import URL, Column, Connection, Engine, String, create_engine, inspect, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.compiler import compiles

from core.errors import DatabaseError, DatabaseUnavailableError, OptionError, StorageError, UnavailableError
from core.i18n import localize
from core.storage.dialects.contract import KEPT, RICHNESS, dated, is_poorer

KEY = "storage.database"
SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
SECRET = "password"  # in the name of any part of a URL that must not be in it
LOCK, PARTS = 0x7A64, 0x7A65  # the first numbers of our advisory locks: of everything, of one part of it
BACKUP = "zdarkroom_{version}"  # the schema of a copy

# A machine that vanishes in the middle of a transaction holds its lock no longer than this.
_SESSION = {
    "lock_timeout": "30s",  # how long a writer waits for another one
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "client_min_messages": "warning",
}
_CONNECT = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
    "application_name": "zdarkroom",
}


class PostgresBackend:
    """The database that a URL names: postgresql://user@host:5432/name, with libpq's parameters after a question mark."""

    def __init__(self, url: str) -> None:
        self._url = _checked(url)

    @property
    def name(self) -> str:
        return self._url.set(drivername="postgresql").render_as_string(hide_password=True)

    @property
    def is_shared(self) -> bool:
        return True

    def engine(self) -> Engine:
        _demand_psycopg(self.name)
        return create_engine(
            self._url, connect_args=self._arguments(), pool_pre_ping=True, json_serializer=_json, pool_size=8
        )

    @contextmanager
    def reading(self, engine: Engine) -> Iterator[Connection]:
        options: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with engine.connect().execution_options(**options) as connection:
            yield connection

    @contextmanager
    def writing(self, engine: Engine, part: str, durable: bool = True) -> Iterator[Connection]:
        """Take the one lock for everything, or share it and take that of `part`: as strict as SQLite, and parallel.

        Each statement sees what was committed before it, and the lock comes first.
        """
        whole = f"pg_advisory_xact_lock({LOCK}, 0)"
        own = f"pg_advisory_xact_lock_shared({LOCK}, 0), pg_advisory_xact_lock({PARTS}, {_number(part)})"
        with engine.connect() as connection, connection.begin():
            if not durable:
                connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
            connection.exec_driver_sql(f"SELECT {own if part else whole}")
            yield connection

    def back_up(self, connection: Connection, version: str, replace: bool) -> str:
        """Copy every table into a schema of its own, within the transaction: pg_dump may not be here."""
        schema = BACKUP.format(version=version)
        quote = connection.dialect.identifier_preparer.quote
        try:
            if is_poorer(_counts(connection, None), _counts(connection, schema)):
                name = dated(version, datetime.now())
                if replace:
                    renamed = quote(BACKUP.format(version=name))
                    connection.exec_driver_sql(f"ALTER SCHEMA {quote(schema)} RENAME TO {renamed}")
                else:
                    version, schema = name, BACKUP.format(version=name)
            connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {quote(schema)} CASCADE")
            connection.exec_driver_sql(f"CREATE SCHEMA {quote(schema)}")
            for table in inspect(connection).get_table_names():
                connection.exec_driver_sql(f"CREATE TABLE {quote(schema)}.{quote(table)} AS TABLE {quote(table)}")
            for old in _old_copies(connection, version):
                connection.exec_driver_sql(f"DROP SCHEMA {quote(old)} CASCADE")
        except DBAPIError as error:
            raise self.error(error) from error
        return self.backup_name(version)

    def backup_name(self, version: str) -> str:
        return f"{self.name}, schema {BACKUP.format(version=version)}"

    def backed_up_images(self, connection: Connection, version: str) -> int | None:
        return _counts(connection, BACKUP.format(version=version)).get("images")

    def error(self, error: DBAPIError) -> StorageError:
        return self.error_of(error.orig)

    def error_of(self, error: BaseException | None) -> StorageError:
        """Return a driver's error as one that says whether waiting helps."""
        kind = DatabaseUnavailableError if _is_temporary(error) else DatabaseError
        return kind(path=self.name, detail=_first_line(error))

    def news(self) -> PostgresChangeToken:
        return PostgresChangeToken(self)

    def connect(self) -> Any:
        """Return a connection of psycopg's own that commits by itself."""
        import psycopg

        given: dict[str, Any] = self._url.translate_connect_args(username="user", database="dbname")
        return psycopg.connect(autocommit=True, **{**given, **self._url.query, **self._arguments()})

    def _arguments(self) -> dict[str, str]:
        """Return what the URL does not say itself."""
        session = " ".join(f"-c {name}={value}" for name, value in _SESSION.items())
        return {name: value for name, value in {**_CONNECT, "options": session}.items() if name not in self._url.query}


def _counts(connection: Connection, schema: str | None) -> dict[str, int]:
    """Return how much of each a copy has, or the database itself; nothing for a copy that is not there."""
    found: dict[str, int] = {}
    there = set(inspect(connection).get_table_names(schema=schema))
    prefix = "" if schema is None else f"{connection.dialect.identifier_preparer.quote(schema)}."
    columns = {one["name"] for one in inspect(connection).get_columns("images", schema=schema)} if "images" in there else set()
    for name, source in RICHNESS.items():
        if source.format("").split()[0] in there and (name != "annotations" or "note" in columns):
            found[name] = int(connection.exec_driver_sql(f"SELECT count(*) FROM {source.format(prefix)}").scalar_one())
    return found


def _old_copies(connection: Connection, version: str) -> list[str]:
    """Return the schemas of copies that are kept no longer."""
    names = sorted(inspect(connection).get_schema_names())
    plain = version.partition("_")[0]
    kinds = (BACKUP.format(version=r"\d+"), BACKUP.format(version=rf"{re.escape(plain)}_\d+_\d+_\d+"))
    return [name for kind in kinds for name in [one for one in names if re.fullmatch(kind, one)][:-KEPT]]


class PostgresChangeToken:
    """The set of finished transactions as a new one would see it: another one after each commit, on the whole server.

    Nothing is written for it, and no commit can fall between the look at it and the look at the rows.
    """

    def __init__(self, server: PostgresBackend) -> None:
        self._server = server
        self._connection: Any = None

    def mark(self) -> object:
        import psycopg

        if self._connection is None:
            self._connection = self._connect()
        try:
            return self._connection.execute("SELECT pg_current_snapshot()::text").fetchone()[0]
        except psycopg.Error as error:
            self.close()
            raise self._server.error_of(error) from error

    def _connect(self) -> Any:
        import psycopg

        try:
            return self._server.connect()
        except psycopg.Error as error:
            raise self._server.error_of(error) from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@compiles(String, "postgresql")
def _by_code_point(kind: String, compiler: Any, **given: Any) -> str:
    """Make columns of short text sort and compare as SQLite's do, whatever the language of the server."""
    words = str(compiler.visit_string(kind, **given))
    return f'{words} COLLATE "C"' if isinstance(given.get("type_expression"), Column) else words


def _checked(url: str) -> URL:
    """Return the URL for SQLAlchemy. Raises OptionError, which repeats no part of a password."""
    try:
        made = make_url(url)
    except (ArgumentError, ValueError) as error:  # the latter for a port that is no number
        raise _unusable(shown_url(url)) from error
    if made.drivername not in SCHEMES or not (made.database or made.query.get("service")):
        raise _unusable(shown_url(url))
    if made.password is not None or any(SECRET in name.lower() for name in made.query):
        raise OptionError(source="storage", key=KEY, value=shown_url(url), allowed=_NO_PASSWORD)
    return made.set(drivername="postgresql+psycopg")


def shown_url(url: str) -> str:
    """Return scheme, user, host and name of a URL, however badly it is written: what may be a password is left out.

    A password may hold any character, an @ as well: only what follows the last one is the host.
    """
    scheme, slashes, rest = url.partition("://")
    if not slashes:
        return "?"
    before, at, host = rest.rpartition("@")
    user, colon, _ = before.partition(":")
    host = host.partition("?")[0].partition("#")[0]
    machine, _, port = host.partition(":")
    if port and not port.partition("/")[0].isdigit():
        host = f"{machine}:***"
    return f"{scheme}://{user}{':***' if colon else ''}{at}{host}"


def _unusable(value: str) -> OptionError:
    return OptionError(source="storage", key=KEY, value=value, allowed="postgresql://user@host:5432/name")


def _demand_psycopg(name: str) -> None:
    try:
        import psycopg  # noqa: F401  (to see whether it can be)
    except ImportError as error:
        raise UnavailableError(key=KEY, value=name, reason=_NO_DRIVER) from error


def _is_temporary(error: BaseException | None) -> bool:
    """Return True for lost connections, a server that starts or stops, full disks, time-outs, and read-only replicas."""
    import psycopg

    read_only = "25006"  # after a failover, until the address leads to the new primary
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) or (
        getattr(error, "sqlstate", None) == read_only
    )


def _number(part: str) -> int:
    """Return a number for a lock, of 31 bits; two parts with the same number wait for each other."""
    return zlib.crc32(part.encode()) & 0x7FFFFFFF


def _json(value: Any) -> str:
    """Return JSON with NaN and the infinities as words: SQLite keeps them, PostgreSQL refuses them."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


_NO_PASSWORD = localize("storage.dialects.server.no_password")
_NO_DRIVER = localize("storage.dialects.server.no_driver")
