"""Pictures that others are made from."""

from __future__ import annotations

from pathlib import Path

from core.studio.desk import Desk


class InputPictures(Desk):
    """The verbs of input pictures."""

    def keep_input(self, data: bytes, name: str = "") -> str:
        """Store a picture that others can be made from; the digest by which a request names it (`inputs`).

        PNG, JPEG or WebP of at most 64 MB and 8192 pixels a side. It is turned upright as its EXIF says, laid over white
        where it is transparent, and kept as RGB of 8 bits; the same picture is kept once. Raises InputPictureError, which
        names the file `name`, or StorageError.
        """
        return self._inputs.keep(data, name)

    def input_file(self, digest: str) -> Path:
        """The PNG file of an input picture; NotFoundError when it is gone."""
        return self._inputs.file(digest)

    def input_size(self, digest: str) -> tuple[int, int]:
        """Its width and height in pixels; NotFoundError when it is gone."""
        return self._inputs.size(digest)
