"""Keep files in an object store, by an fsspec URL such as s3://bucket/folder, for several machines. Needs s3fs, which is optional.

Each file is sent with one request, so it is there whole or not at all. What is read often is copied to this machine once:
images never change. Keys come from the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE, a machine's role), never from a URL.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from core.errors import OptionError, SharedStorageError, StorageError, UnavailableError
from core.i18n import localize
from core.storage.files import Entry, Files, LocalFiles, inside, remove, write_atomically

KEY = "storage.images"
COPIES = "copies"  # the folder of copies on this machine
MOST_COPIES = 4 << 30  # bytes; beyond it those that were not looked at for longest go
LOOK_EVERY = 200  # copies between two looks at how much they are
CALL_SECONDS = 50.0  # less than the minute after which a worker without a heartbeat counts as gone
SCHEMES = ("file", "s3")
ALLOWED = "s3://bucket/folder, file:///folder"


def open_files(url: str, directory: Path) -> Files:
    """Open the place of images: `directory`, a mounted folder, or an object store.

    Raises OptionError for a URL that can't be used, UnavailableError without s3fs.
    """
    if not url:
        return LocalFiles(directory)
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or "@" in parts.netloc or parts.query or parts.fragment:
        raise OptionError(source="storage", key=KEY, value=_shown(url), allowed=ALLOWED)
    if parts.scheme == "s3":
        if not parts.netloc:
            raise OptionError(source="storage", key=KEY, value=_shown(url), allowed=ALLOWED)
        return ObjectFiles(_object_store(url), url.rstrip("/"), directory)
    if parts.netloc or not parts.path.startswith("/"):
        raise OptionError(source="storage", key=KEY, value=_shown(url), allowed=ALLOWED)
    return LocalFiles(Path(parts.path), directory)


class ObjectFiles:
    """Files below one prefix of an object store; `local` is this machine's output folder."""

    def __init__(self, store: Any, url: str, local: Path) -> None:
        self._store = store
        self._url = url
        self._root = url.split("://", 1)[1]
        self._copies = local / COPIES
        self._made = 0
        self.local = local

    @property
    def is_shared(self) -> bool:
        return True

    def shown(self, name: str) -> str:
        return f"{self._url}/{name}"

    def reaches(self, name: str) -> bool:
        return _is_below(name)

    def write(self, name: str, data: bytes, durable: bool = True) -> None:
        try:
            with self._telling(name):
                self._call("pipe_file", self._at(name), data)
        except FileNotFoundError as error:
            raise SharedStorageError(path=self.shown(name), detail=_NO_BUCKET) from error
        self.forget_copy(name)

    def read(self, name: str, most: int | None = None) -> bytes:
        with self._telling(name):
            found: bytes = self._call("cat_file", self._at(name), end=None if most is None else most + 1)
        if most is not None and len(found) > most:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return found

    def remove(self, name: str) -> None:
        self.forget_copy(name)
        with suppress(FileNotFoundError), self._telling(name):
            self._call("rm_file", self._at(name))

    def has(self, name: str) -> bool:
        if not _is_below(name):
            return False
        with self._telling(name):
            return bool(self._call("exists", self._at(name)))

    def freshen(self, name: str) -> bool:
        return False  # it has no other way than to write it once more

    def path(self, name: str) -> Path | None:
        """Return a copy on this machine, fetched now unless it is there; None when there is no such file."""
        if not _is_below(name) or (copy := inside(self._copies, name)) is None:
            return None
        if copy.is_file():
            with suppress(OSError):
                copy.touch()  # looked at just now
            return copy
        try:
            data = self.read(name)
        except FileNotFoundError:
            return None
        write_atomically(copy, data, durable=False)
        self._evict()
        return copy

    def folders(self, folder: str = "") -> list[str]:
        start = f"{folder}/" if folder else ""
        return [start + _last(found["name"]) for found in self._listed(folder) if found["type"] == "directory"]

    def entries(self, folder: str) -> Iterator[Entry]:
        for found in self._listed(folder):
            if found["type"] == "file" and (name := _last(found["name"])):
                yield Entry(
                    f"{folder}/{name}", partial(_age, found.get("LastModified")), partial(int, found.get("size") or 0)
                )

    def settle(self) -> None:
        """Do nothing: whatever was sent is there."""

    def _listed(self, folder: str) -> list[dict[str, Any]]:
        try:
            with self._telling(folder):
                found: list[dict[str, Any]] = self._call("ls", self._at(folder), detail=True, refresh=True)
            return found
        except FileNotFoundError:
            return []

    def _call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Call a method of the store. Raises SharedStorageError when it does not answer in time.

        The client's own time-outs do not cover an upload whose "100 Continue" never comes.
        """
        from fsspec.asyn import FSTimeoutError, sync

        try:
            return sync(self._store.loop, getattr(self._store, f"_{method}"), *arguments, timeout=CALL_SECONDS, **named)
        except FSTimeoutError as error:
            detail = localize("storage.object_store.no_answer", seconds=f"{CALL_SECONDS:g}")
            raise SharedStorageError(path=self._url, detail=detail) from error

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")

    def forget_copy(self, name: str) -> None:
        copy = inside(self._copies, name)
        if copy is not None:
            remove(copy)

    def _evict(self) -> None:
        """Remove, now and then, the copies that were not used for longest."""
        self._made += 1
        if self._made % LOOK_EVERY:
            return
        copies = sorted((copy.stat().st_mtime, copy.stat().st_size, copy) for copy in self._copies.glob("*/*"))
        left = sum(size for _, size, _ in copies)
        for _, size, copy in copies:
            if left <= MOST_COPIES:
                return
            remove(copy)
            left -= size

    @contextmanager
    def _telling(self, name: str) -> Iterator[None]:
        """Turn an error of the store into ours; that a file is not there stays what it is."""
        try:
            yield
        except (FileNotFoundError, StorageError):
            raise
        except Exception as error:  # the client has many kinds, not all of them OSError
            detail = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            raise SharedStorageError(path=self.shown(name), detail=detail) from error


def _object_store(url: str) -> Any:
    try:
        import s3fs
    except ImportError as error:
        raise UnavailableError(key=KEY, value=url, reason=_NO_S3FS) from error
    # Two attempts in all, together less than CALL_SECONDS: s3fs would repeat those of botocore five times.
    waits = {"connect_timeout": 5, "read_timeout": 20, "retries": {"total_max_attempts": 2}}
    store = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True, config_kwargs=waits)
    store.retries = 1
    return store


def _is_below(name: str) -> bool:
    """Return whether a name leads nowhere but down."""
    parts = name.split("/")
    return bool(name) and not any(part in ("", ".", "..") for part in parts) and "\0" not in name and "\\" not in name


def _last(name: str) -> str:
    return name.rstrip("/").rsplit("/", 1)[-1]


def _age(written: datetime | None) -> float:
    return (datetime.now(UTC) - written).total_seconds() if written is not None else 0.0


def _shown(url: str) -> str:
    """Return the name without what stands before an @ or after a question mark, where keys would be."""
    head, _, rest = url.partition("://")
    return f"{head}://{rest.rsplit('@', 1)[-1]}".split("?")[0] if rest else "?"


_NO_BUCKET = localize("storage.object_store.no_bucket")
_NO_S3FS = localize("storage.object_store.no_s3fs")
