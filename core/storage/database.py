"""Open the studio's database, a SQLite file or a server, and apply numbered migrations.

A database on a server is matched with the storage of its images, so that no studio combines the wrong ones: rows would be marked as
missing for want of a mounted folder, or of a line in the settings.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, column, insert, inspect, select, table
from sqlalchemy.exc import DBAPIError, IntegrityError, NotSupportedError, ProgrammingError

from core.errors import NewerDatabaseError, NotWritableError, WrongStorageError
from core.storage.dialects import ChangeToken, backend_of
from core.storage.files import Files
from core.storage.tables import switches

MIGRATIONS = Path(__file__).parent / "migrations"
HEAD = max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))  # what a database is brought up to
_VERSION = table("alembic_version", column("version_num"))
_OWN_FAULTS = (IntegrityError, ProgrammingError, NotSupportedError)  # of a statement, not of the database


class Database:
    """The engine over one file or one server. Open it once a process; any thread may read and write.

    Raises OptionError or UnavailableError for a URL that can't be used here, StorageError when it can't be opened, or was
    made by a newer program.
    """

    def __init__(self, where: Path | str) -> None:
        self._backend = backend_of(where)
        try:
            self._engine = self._backend.engine()
            self._migrate()
        except OSError as error:
            raise NotWritableError(path=Path(self._backend.name).parent) from error

    @property
    def name(self) -> str:
        """Return the name for errors and pages; never a password."""
        return self._backend.name

    @property
    def is_shared(self) -> bool:
        """Return whether other machines can reach it."""
        return self._backend.is_shared

    def _migrate(self) -> None:
        with self.writing() as connection:
            version = _version_of(connection)
            if version == HEAD:
                return
            if version is not None and version > HEAD:
                raise NewerDatabaseError(path=self.name, value=version, known=HEAD)
            if version is not None:
                self._backend.back_up(connection, version, replace=True)
            _upgrade(connection)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a snapshot that never waits for writers."""
        try:
            with self._backend.reading(self._engine) as connection:
                yield connection
        except _OWN_FAULTS:
            raise
        except DBAPIError as error:
            raise self._backend.error(error) from error

    @contextmanager
    def writing(self, part: str = "", durable: bool = True) -> Iterator[Connection]:
        """Open a transaction that takes the write lock at once, so that what it reads stays true until it commits.

        `part` names all that it touches (a job, a worker, a new image): a server lets others write elsewhere meanwhile.
        Not `durable`: a power cut may undo it, as nothing waits for the disk; for progress and heartbeats.
        """
        try:
            with self._backend.writing(self._engine, part, durable) as connection:
                yield connection
        except _OWN_FAULTS:
            raise
        except DBAPIError as error:
            raise self._backend.error(error) from error

    def back_up(self, connection: Connection, version: str, replace: bool = False) -> str:
        """Keep the database as it is, whole or not at all, under the name of `version`; return where. Raises StorageError.

        A copy of that name that has more stays: under a name with its date if `replace`, else the new one gets that.
        """
        return self._backend.back_up(connection, version, replace)

    def backup_name(self, version: str) -> str:
        """Return where the copy of `version` is, as people find it."""
        return self._backend.backup_name(version)

    def backed_up_images(self, connection: Connection, version: str) -> int | None:
        """Return how many images the copy of `version` has; None when there is no such copy."""
        return self._backend.backed_up_images(connection, version)

    def news(self) -> ChangeToken:
        """Return the token that tells whether anyone wrote since the last look. For one thread."""
        return self._backend.news()

    def close(self) -> None:
        """Give the file handles or connections back."""
        self._engine.dispose()


def _version_of(connection: Connection) -> str | None:
    """Return the number of the last migration that was applied; None for a database that is new."""
    if not inspect(connection).has_table(_VERSION.name):
        return None
    version: str | None = connection.scalar(select(_VERSION.c.version_num))
    return version


def _upgrade(connection: Connection) -> None:
    # Imported here: it takes a quarter of the time in which a worker starts, and hardly any database is new or old.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)


def now() -> str:
    """Return the present instant as the tables store it."""
    return timestamp(datetime.now(UTC))


def timestamp(moment: datetime) -> str:
    """Return an aware datetime as the tables store it: UTC, always 32 characters, so that text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def moment(text_: str | None) -> datetime | None:
    """Return the aware datetime that `timestamp` wrote."""
    return datetime.fromisoformat(text_) if text_ else None


FILE = "storage.id"
PREFIX = "storage:"  # of the word, as the name of a switch


def check_belonging(database: Database, files: Files) -> None:
    """Make the two known to each other if neither knows another one. Raises WrongStorageError or StorageError."""
    if not (database.is_shared or files.is_shared):
        return
    with database.writing() as connection:
        known = connection.scalar(select(switches.c.name).where(switches.c.name.startswith(PREFIX)))
        wanted = None if known is None else str(known).removeprefix(PREFIX)
        found = _read(files)
        if wanted is not None and wanted != found:
            raise WrongStorageError(database=database.name, path=files.shown(FILE), wanted=wanted, found=found or "-")
        if wanted is None:
            word = found or secrets.token_hex(8)
            if found is None:
                files.write(FILE, word.encode())
            connection.execute(insert(switches), {"name": f"{PREFIX}{word}"})


def _read(files: Files) -> str | None:
    """Return the identity in the storage; None in a new one."""
    try:
        return files.read(FILE, 100).decode("ascii").strip()[:24] or None
    except (FileNotFoundError, UnicodeDecodeError):
        return None
