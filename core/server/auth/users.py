"""Store users and their password hashes in a file of the output folder that only its owner can read.

    outputs/access/users.json  {"version": 1, "users": {"anna": "scrypt$..."}, "admins": ["anna"], "generations": {"anna": 1}}
    outputs/access/secret      what sessions are signed with

The file is read again when it has changed, so that adding and removing a user takes effect at once.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from core.errors import InputError, StorageError
from core.storage import passwords
from core.storage.files import storage_error

FOLDER = "access"
USERS, SECRET, CLOSED = "users.json", "secret", "closed.json"
Role = Literal["admin", "user"]
ADMIN: Role = "admin"  # may change the machine: models, downloads, tokens, folders, workers
USER: Role = "user"
SHORTEST = 10  # characters of a password
LONGEST = 200
_NAME = re.compile(r"[\w.-]{1,32}")  # letters of any script; no colon, which ends the name in HTTP Basic


class UserNameError(InputError):
    """An invalid user name."""


class PasswordError(InputError):
    """A password that is too short or too long. The message does not contain it."""


class NoUserError(InputError):
    """A user that does not exist."""


class LastAdminError(InputError):
    """The last admin can't be removed or demoted."""


@dataclass(frozen=True)
class Account:
    """A user: password hash, role, and how often all its sessions were ended."""

    hash: str
    role: Role = USER
    generation: int = 0


class UsersFileError(StorageError):
    """The users' file can't be read: access is denied to everyone."""


class Users:
    """The users in `<output folder>/access/users.json`. Safe for several processes: writes are atomic."""

    def __init__(self, output_directory: Path) -> None:
        self._path = output_directory / FOLDER / USERS
        self._seen: tuple[int, int, int] | None = None
        self._accounts: Mapping[str, Account] = {}

    def hashes(self) -> Mapping[str, str]:
        """Return name -> hash, in the order of adding. Raises UsersFileError."""
        return {name: account.hash for name, account in self.accounts().items()}

    def accounts(self) -> Mapping[str, Account]:
        """Return the users by name, in the order of adding. UsersFileError when the file can't be read."""
        try:
            facts = self._path.stat()
        except FileNotFoundError:
            self._seen, self._accounts = None, {}
            return {}
        except OSError as error:
            raise UsersFileError(path=self._path, detail=error.strerror or error) from error
        seen = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
        if seen != self._seen:
            self._accounts, self._seen = self._read(), seen
        return self._accounts

    def add(self, name: str, password: str, role: Role | None = None) -> bool:
        """Add a user, or give one another password; True for a new one. The first user is admin.

        Raises UserNameError, PasswordError, LastAdminError, StorageError.
        """
        if not _NAME.fullmatch(name):
            raise UserNameError(value=repr(name)[:60])
        if not SHORTEST <= len(password) <= LONGEST:
            raise PasswordError(value=len(password), allowed=f"{SHORTEST} - {LONGEST}")
        present = self.accounts()
        known = present.get(name, Account("", USER if present else ADMIN))
        self._write({**present, name: replace(known, hash=passwords.hashed(password), role=role or known.role)})
        return name not in present

    def remove(self, name: str) -> None:
        """Remove a user, whose sessions end with it. Raises NoUserError, LastAdminError."""
        self._demand(name)
        self._write({other: account for other, account in self.accounts().items() if other != name})

    def set_role(self, name: str, role: Role) -> None:
        """Make a user admin, or no longer. Raises NoUserError, LastAdminError."""
        self._write({**self.accounts(), name: replace(self._demand(name), role=role)})

    def end_sessions(self, name: str) -> None:
        """End every session of a user; the password stays. Raises NoUserError."""
        account = self._demand(name)
        self._write({**self.accounts(), name: replace(account, generation=account.generation + 1)})

    def _demand(self, name: str) -> Account:
        present = self.accounts()
        if name not in present:
            raise NoUserError(value=repr(name)[:60], known=", ".join(present) or "–")
        return present[name]

    def _read(self) -> dict[str, Account]:
        try:
            data = json.loads(self._path.read_text(encoding="utf-8"))
            if data["version"] != 1:
                raise ValueError(f"version {data['version']}")
            names = [str(name) for name in data["users"]]
            admins = data.get("admins", names[:1])  # of a file without roles: the first user
            generations = data.get("generations", {})
            return {
                name: Account(
                    str(data["users"][name]), ADMIN if name in admins else USER, int(generations.get(name, 0))
                )
                for name in names
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsersFileError(path=self._path, detail=f"{type(error).__name__}") from error

    def _write(self, accounts: Mapping[str, Account]) -> None:
        admins = [name for name, account in accounts.items() if account.role == ADMIN]
        if accounts and not admins:
            lost = next((name for name, account in self.accounts().items() if account.role == ADMIN), "?")
            raise LastAdminError(name=lost)
        data = {
            "version": 1,
            "users": {name: account.hash for name, account in accounts.items()},
            "admins": admins,
            "generations": {name: account.generation for name, account in accounts.items() if account.generation},
        }
        write_private(self._path, json.dumps(data, ensure_ascii=False, indent=1))


class ClosedSessions:
    """Ids of closed sessions, kept until they would have expired, so that a restart does not reopen them."""

    def __init__(self, output_directory: Path) -> None:
        self._path = output_directory / FOLDER / CLOSED
        self._seen: tuple[int, int] | None = None
        self._expires: dict[str, float] = {}

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._read()

    def add(self, session_id: str, expires: float) -> None:
        """Close a session until `expires` (seconds since 1970). Raises StorageError."""
        kept = {known: when for known, when in self._read().items() if when > time.time()}
        kept[session_id] = expires
        write_private(self._path, json.dumps(kept))

    def _read(self) -> dict[str, float]:
        try:
            facts = self._path.stat()
        except FileNotFoundError:
            return {}
        seen = (facts.st_mtime_ns, facts.st_ino)
        if seen != self._seen:
            try:
                data = json.loads(self._path.read_text(encoding="ascii"))
                self._expires = {str(name): float(when) for name, when in data.items()}
            except (OSError, ValueError, TypeError, AttributeError) as error:
                raise UsersFileError(path=self._path, detail=type(error).__name__) from error
            self._seen = seen
        return self._expires


def session_secret(output_directory: Path) -> bytes:
    """Return the secret that signs sessions: made at first use, and kept so that sessions survive a restart."""
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
