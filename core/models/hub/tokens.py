"""Read tokens for gated models from the environment, or from a file that nobody else can read. They are never logged."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

from core.errors import InputError, NotWritableError

VARIABLES = {"huggingface": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN"}
FILE = "tokens.json"


class TokenFileError(InputError):
    """The token file can be read by other users."""


def token_of(hub: str, store: Path) -> str | None:
    """Return the token of the environment, else of the file. Raises TokenFileError when others can read that."""
    return os.environ.get(VARIABLES[hub]) or _kept(store).get(hub)


def has_token(hub: str, store: Path) -> bool:
    """Return True if there is a usable token."""
    try:
        return token_of(hub, store) is not None
    except TokenFileError:
        return False


def save_token(hub: str, token: str, store: Path) -> None:
    """Keep it in a file of mode 0600; an empty one is removed."""
    path = store / FILE
    kept = _kept(store)
    kept.pop(hub, None)
    if token.strip():
        kept[hub] = token.strip()
    part = path.with_suffix(".part")
    try:
        store.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(kept, file)
        part.replace(path)
    except OSError as error:
        raise NotWritableError(path=path) from error


def _kept(store: Path) -> dict[str, str]:
    path = store / FILE
    try:
        mode = path.stat().st_mode
        if sys.platform != "win32" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise TokenFileError(path=path)
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(hub): str(token) for hub, token in data.items()} if isinstance(data, dict) else {}
