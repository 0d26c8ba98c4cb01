"""Users and the hashes of their passwords, in a file of the output folder that only its owner can read.

    outputs/access/users.json  {"version": 1, "users": {"anna": "scrypt$..."}}
    outputs/access/secret      what sessions are signed with

The file is read again when it has changed, so that adding and removing a user takes effect at once.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from core.errors import InputError, StorageError
from core.server.auth import passwords
from core.storage.files import storage_error

FOLDER = "access"
USERS, SECRET = "users.json", "secret"
SHORTEST = 10  # characters of a password
LONGEST = 200
_NAME = re.compile(r"[\w.-]{1,32}")  # letters of any script; no colon, which ends the name in HTTP Basic


class UserNameError(InputError):
    """A name that can't be one."""


class PasswordError(InputError):
    """Too short or too long; the password itself is never said."""


class NoUserError(InputError):
    """To be removed, and not there."""


class UsersFileError(StorageError):
    """Something is in the place of the users that can't be read: nobody is let in, rather than everyone."""


class Users:
    """Over `<output folder>/access/users.json`. Safe for several processes: the file is whole at any moment."""

    def __init__(self, output_directory: Path) -> None:
        self._path = output_directory / FOLDER / USERS
        self._seen: tuple[int, int, int] | None = None
        self._hashes: Mapping[str, str] = {}

    def hashes(self) -> Mapping[str, str]:
        """Name -> hash, in the order of adding. UsersFileError when the file can't be read."""
        try:
            facts = self._path.stat()
        except FileNotFoundError:
            self._seen, self._hashes = None, {}
            return {}
        except OSError as error:
            raise UsersFileError(path=self._path, detail=error.strerror or error) from error
        seen = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
        if seen != self._seen:
            self._hashes, self._seen = self._read(), seen
        return self._hashes

    def add(self, name: str, password: str) -> bool:
        """Add a user, or give one another password; whether it is new. UserNameError, PasswordError, StorageError."""
        if not _NAME.fullmatch(name):
            raise UserNameError(value=repr(name)[:60])
        if not SHORTEST <= len(password) <= LONGEST:
            raise PasswordError(value=len(password), allowed=f"{SHORTEST} - {LONGEST}")
        present = self.hashes()
        self._write({**present, name: passwords.hashed(password)})
        return name not in present

    def remove(self, name: str) -> None:
        """Remove a user, whose sessions end with it. NoUserError."""
        present = self.hashes()
        if name not in present:
            raise NoUserError(value=repr(name)[:60], known=", ".join(present) or "–")
        self._write({other: stored for other, stored in present.items() if other != name})

    def _read(self) -> dict[str, str]:
        try:
            data = json.loads(self._path.read_text(encoding="utf-8"))
            if data["version"] != 1:
                raise ValueError(f"version {data['version']}")
            return {str(name): str(stored) for name, stored in data["users"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsersFileError(path=self._path, detail=f"{type(error).__name__}") from error

    def _write(self, hashes: Mapping[str, str]) -> None:
        write_private(self._path, json.dumps({"version": 1, "users": hashes}, ensure_ascii=False, indent=1))


def session_secret(output_directory: Path) -> bytes:
    """What sessions are signed with: made at first use, and kept so that a restart logs nobody out."""
    path = output_directory / FOLDER / SECRET
    try:
        known = path.read_text(encoding="ascii").strip()
        os.chmod(path, 0o600)  # also after a copy that widened it
    except FileNotFoundError:
        known = ""
    except (OSError, ValueError) as error:
        raise UsersFileError(path=path, detail=type(error).__name__) from error
    if not re.fullmatch(r"[0-9a-f]{64}", known):
        known = secrets.token_hex(32)
        write_private(path, known)
    return bytes.fromhex(known)


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone can read, whole or not at all. Raises StorageError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise storage_error(error, path) from error
