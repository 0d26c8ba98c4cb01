"""Make small images for galleries when first requested, and again when missing: `<outputs>/thumbnails/ab/<id>.webp`."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from core.errors import ImageTooLargeError, StorageError
from core.storage.files import remove, write_atomically
from core.storage.pixel_budget import decoding

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
