"""Users and the hashes of their passwords, in a file of the output folder that only its owner can read.

    outputs/access/users.json  {"version": 1, "users": {"anna": "scrypt$..."}}
    outputs/access/secret      what sessions are signed with

The file is read again when it has changed, so that adding and removing a user takes effect at once.
What this module does not know: passwords' plain text beyond hashing it, HTTP.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from core.entrypoints.access import passwords
from core.errors import InputError, StorageError
from core.storage.files import storage_error

FOLDER = "access"
USERS, SECRET = "users.json", "secret"
SHORTEST = 10  # characters of a password
LONGEST = 200
_NAME = re.compile(r"[\w.-]{1,32}")  # letters of any script; no colon, which ends the name in HTTP Basic


class UserNameError(InputError):
    """A name that can't be one."""

    text = {
        "en": "{came} cannot be the name of a user; allowed: 1 - 32 letters, digits, dots, hyphens, underscores.",
        "zh": "{came} 不能作为用户名；允许：1 至 32 个字母、汉字、数字、点、连字符或下划线。",
    }


class PasswordError(InputError):
    """Too short or too long; the password itself is never said."""

    text = {
        "en": "This password has {came} characters; allowed: {allowed}. Choose another.",
        "zh": "此密码有 {came} 个字符；允许：{allowed}。请另选一个。",
    }


class NoUserError(InputError):
    """To be removed, and not there."""

    text = {
        "en": "There is no user {came}; known: {known}.",
        "zh": "没有用户 {came}；已知：{known}。",
    }


class UsersFileError(StorageError):
    """Something is in the place of the users that can't be read: nobody is let in, rather than everyone."""

    text = {
        "en": "{path} cannot be read: {detail}. Put a copy back, or remove the file and add the users again.",
        "zh": "无法读取 {path}：{detail}。请恢复备份，或删除该文件后重新添加用户。",
    }


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
            raise UserNameError(came=repr(name)[:60])
        if not SHORTEST <= len(password) <= LONGEST:
            raise PasswordError(came=len(password), allowed=f"{SHORTEST} - {LONGEST}")
        present = self.hashes()
        self._write({**present, name: passwords.hashed(password)})
        return name not in present

    def remove(self, name: str) -> None:
        """Remove a user, whose sessions end with it. NoUserError."""
        present = self.hashes()
        if name not in present:
            raise NoUserError(came=repr(name)[:60], known=", ".join(present) or "–")
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
