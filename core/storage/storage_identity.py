"""Match a database on a server with the storage of its images, so that no studio combines the wrong ones.

Else rows would be marked as missing for want of a mounted folder, or of a line in the settings. The storage has a file with
"""

from __future__ import annotations

import secrets

from sqlalchemy import insert, select

from core.errors import WrongStorageError
from core.storage.database import Database
from core.storage.files import Files
from core.storage.tables import switches

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
