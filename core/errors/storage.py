"""The picture or the database could not be written."""

from __future__ import annotations

from core.errors.base import StudioError


class StorageError(StudioError):
    """The image or the database could not be written.

    `temporary` errors go away by themselves, when a server or a store is back: jobs wait for that.
    """

    temporary = False


class FileAccessError(StorageError):
    """A file or folder that the system does not let the program use."""


class DiskFullError(StorageError):
    """No space left on the device."""


class NoRoomError(DiskFullError):
    """Not even the database can write: no job can be finished, and none can say so."""


class NotWritableError(StorageError):
    """The output directory refuses to be written to."""


class DatabaseError(StorageError):
    """A database server refused."""


class DatabaseUnavailableError(DatabaseError):
    """A database server does not answer, is starting or stopping, or can't write at present."""

    temporary = True


class NewerDatabaseError(StorageError):
    """The database was brought up to a version that this program does not know."""


class SharedStorageError(StorageError):
    """An object store refused, or did not answer."""

    temporary = True
