"""Picture files: `<outputs>/2026-11-22/20261122-124754-123_42_1a2b3c4d.png`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from io import BytesIO
from typing import Any

from PIL import Image

from core.errors import StorageError
from core.storage.files import Files
from core.storage.infotext import write_infotext
from core.storage.metadata import save_arguments
from core.types import GeneratedImage

EXTENSIONS = {"png": "png", "jpeg": "jpg", "webp": "webp"}


@dataclass(frozen=True)
class StoredFile:
    """A picture on disk. `file` is relative to the output directory, with forward slashes."""

    file: str
    format: str
    size: tuple[int, int]
    bytes: int
    digest: str | None = None  # SHA-256 of its bytes


class ImageWriter:
    """The pictures among some files, in a folder for each local date."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def write(
        self, image: GeneratedImage, image_id: str, created_at: datetime, record: Mapping[str, Any]
    ) -> StoredFile:
        """Save a picture as its request's `output.*` options say; `record` goes into the file unless they say no.

        Raises DiskFullError, NotWritableError or StorageError (also when the file hasn't the size that was asked for),
        and leaves no file then.
        """
        options = image.request.options
        format = options.get("output.format", "png")
        local = created_at.astimezone()
        stem = f"{local:%Y%m%d-%H%M%S}-{local.microsecond // 1000:03}_{image.request.seed}_{image_id[-8:]}"
        file = f"{local:%Y-%m-%d}/{stem}.{EXTENSIONS[format]}"
        extra = {}
        if metadata_wanted(image):
            extra = save_arguments(format, write_infotext(image.request, image.effective), record)
        data = _encoded(image.image, format, int(options.get("output.quality", 92)), extra, self._files.shown(file))
        self._files.write(file, data)
        return StoredFile(file, format, self._checked_size(file, image), len(data), sha256(data).hexdigest())

    def _checked_size(self, file: str, generated: GeneratedImage) -> tuple[int, int]:
        """The size in pixels that the stored file really has, if it is the one asked for."""
        asked = (generated.request.width, generated.request.height)
        shown = self._files.shown(file)
        try:
            path = self._files.path(file)
            if path is None:
                raise FileNotFoundError(shown)
            with Image.open(path) as image:
                size = image.size
            if size != asked:
                raise StorageError(path=shown, detail=f"it came out as {size[0]}x{size[1]}, not {asked[0]}x{asked[1]}")
        except OSError as error:
            self._files.remove(file)
            raise StorageError(path=shown, detail=f"it cannot be read back: {error}") from error
        except StorageError:
            self._files.remove(file)
            raise
        return size


def metadata_wanted(image: GeneratedImage) -> bool:
    """Return whether the request asks for metadata inside the file."""
    return bool(image.request.options.get("output.metadata", True))


def _encoded(image: Image.Image, format: str, quality: int, extra: Mapping[str, Any], shown: str) -> bytes:
    """The file's bytes. In memory first: writing to a file, Pillow hides a full disk behind a bare "encoder error"."""
    if format == "jpeg" and image.mode not in ("RGB", "L"):
        image = image.convert("RGB")
    buffer = BytesIO()
    try:
        image.save(buffer, format.upper(), quality=quality, **extra)
    except (OSError, ValueError) as error:  # such as a side beyond what the format can hold
        raise StorageError(path=shown, detail=error) from error
    return buffer.getvalue()
