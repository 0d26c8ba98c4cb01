"""Write image files: `<outputs>/2026-11-22/20261122-124754-123_42_1a2b3c4d.png`.

Thumbnails are made when first requested, and again when missing: `<outputs>/thumbnails/ab/<id>.webp`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from core.errors import ImageTooLargeError, StorageError
from core.storage import content_credentials
from core.storage.files import Files, remove, write_atomically
from core.storage.image_containers import decoding
from core.storage.infotext import write_infotext
from core.storage.metadata import EDITED, GENERATED, save_arguments
from core.types import IMAGE, GeneratedImage

EXTENSIONS = {"png": "png", "jpeg": "jpg", "webp": "webp"}


@dataclass(frozen=True)
class StoredFile:
    """An image on disk. `file` is relative to the output directory, with forward slashes."""

    file: str
    format: str
    size: tuple[int, int]
    bytes: int
    digest: str | None = None  # SHA-256 of its bytes


class ImageWriter:
    """The images among some files, in a folder for each local date."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def encode(
        self, image: GeneratedImage, image_id: str, created_at: datetime, record: Mapping[str, Any]
    ) -> tuple[StoredFile, bytes]:
        """Return the file of an image as its request's `output.*` options say; `record` goes into it unless they say no.

        Raises:
            StorageError: the format can't hold the image, or the file hasn't the size that was asked for.
        """
        options = image.request.options
        format = options.get("output.format", "png")
        local = created_at.astimezone()
        stem = f"{local:%Y%m%d-%H%M%S}-{local.microsecond // 1000:03}_{image.request.seed}_{image_id[-8:]}"
        file = f"{local:%Y-%m-%d}/{stem}.{EXTENSIONS[format]}"
        origin = EDITED if IMAGE in image.request.inputs else GENERATED
        source_type = origin if options.get("output.mark_generated", False) else None
        if metadata_wanted(image):
            extra = save_arguments(format, write_infotext(image.request, image.effective), record, source_type)
        else:
            extra = save_arguments(format, None, None, source_type)
        shown = self._files.shown(file)
        data = _encoded(image.image, format, int(options.get("output.quality", 92)), extra, shown)
        if options.get(content_credentials.KEY, False):
            data = _signed(data, format, f"{stem}.{EXTENSIONS[format]}", origin, shown)
        size = _checked_size(data, (image.request.width, image.request.height), shown)
        return StoredFile(file, format, size, len(data), sha256(data).hexdigest()), data

    def write(
        self, image: GeneratedImage, image_id: str, created_at: datetime, record: Mapping[str, Any]
    ) -> StoredFile:
        """Encode and save an image. Raises DiskFullError, NotWritableError or StorageError, and leaves no file then."""
        stored, data = self.encode(image, image_id, created_at, record)
        self._files.write(stored.file, data)
        return stored


def _signed(data: bytes, format: str, title: str, source_type: str, shown: str) -> bytes:
    """Return the file's bytes with content credentials."""
    try:
        return content_credentials.sign(data, format, title, source_type)
    except (ImportError, ValueError) as error:
        raise StorageError(path=shown, detail=error) from error


def _checked_size(data: bytes, asked: tuple[int, int], shown: str) -> tuple[int, int]:
    """Return the size in pixels of an encoded image, if it is the one asked for."""
    try:
        with Image.open(BytesIO(data)) as image:
            size = image.size
    except OSError as error:
        raise StorageError(path=shown, detail=f"it cannot be read back: {error}") from error
    if size != asked:
        raise StorageError(path=shown, detail=f"the written file has {size[0]}x{size[1]}, not {asked[0]}x{asked[1]}")
    return size


def metadata_wanted(image: GeneratedImage) -> bool:
    """Return whether the request asks for metadata inside the file."""
    return bool(image.request.options.get("output.metadata", True))


def _encoded(image: Image.Image, format: str, quality: int, extra: Mapping[str, Any], shown: str) -> bytes:
    """Return the file's bytes, encoded in memory: into a file, Pillow hides a full disk behind "encoder error"."""
    if format == "jpeg" and image.mode not in ("RGB", "L"):
        image = image.convert("RGB")
    buffer = BytesIO()
    try:
        image.save(buffer, format.upper(), quality=quality, **extra)
    except (OSError, ValueError) as error:  # such as a side beyond what the format can hold
        raise StorageError(path=shown, detail=error) from error
    return buffer.getvalue()


FOLDER = "thumbnails"
SIDE = 256  # px, the longer side
QUALITY = 80


class Thumbnails:
    """The thumbnails below one output directory. Ids must have been checked: they become file names."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / FOLDER

    def path(self, image_id: str) -> Path:
        """Return where the thumbnail is, by the last two digits: the first of an id sorted by time hardly change."""
        return self.directory / image_id[-2:] / f"{image_id}.webp"

    def make(self, image_id: str, source: Path) -> Path:
        """Return the thumbnail of the image `source`, made now unless it is there. Raises StorageError."""
        path = self.path(image_id)
        if not path.is_file():
            write_atomically(path, _shrunk(source))
        return path

    def remove(self, image_id: str) -> None:
        """Remove it, if it is there. Raises StorageError."""
        remove(self.path(image_id))


def _shrunk(source: Path) -> bytes:
    buffer = BytesIO()
    try:
        with decoding(source, source.name) as image:
            image.thumbnail((SIDE, SIDE))
            small = image if image.mode in ("RGB", "RGBA") else image.convert("RGB")
            small.save(buffer, "WEBP", quality=QUALITY)
    except ImageTooLargeError as error:
        raise StorageError(path=source, detail=error) from error
    except (OSError, ValueError, SyntaxError) as error:  # Pillow's for a damaged file
        raise StorageError(path=source, detail=f"it cannot be read: {error}") from error
    return buffer.getvalue()
