"""List the upscalers of this machine: Pillow's filters, the embedded networks, and the files of the folder `upscalers`."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from pathlib import Path

from core.config.schema import AUTO
from core.errors import UpscalerError
from core.i18n import localize
from core.models.weight_files import SAFETENSORS

FOLDER = "upscalers"  # in the folder of models
FILTERS = ("lanczos", "bicubic", "bilinear", "nearest")
EMBEDDED = ("compact-x2", "compact-x4")
PICKLES = (".pth", ".pt", ".ckpt", ".bin")


class UpscalerLibrary:
    """The folder of upscalers with its subfolders, read at each call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> Sequence[str]:
        """Return every upscaler that can be used: filters, embedded ones, then files by their names."""
        return (*FILTERS, *EMBEDDED, *sorted(self._files(), key=str.casefold))

    def check(self, name: str, key: str) -> None:
        """Raise UpscalerError when `name`, the value of the option `key`, is no upscaler of this machine."""
        if name != AUTO and name not in (*FILTERS, *EMBEDDED):
            self.find(name, key)

    def find(self, name: str, key: str) -> Path:
        """Return the file of that name. Raises UpscalerError, for pickles with the way to convert them."""
        files = self._files()
        if name in files:
            return files[name]
        found = next((path for path in self._all() if path.stem == name and path.suffix.lower() in PICKLES), None)
        if found is not None:
            raise UpscalerError(key=key, name=name, problem=localize("models.upscaler_library.pickle", file=found.name))
        nearest = difflib.get_close_matches(name, self.names(), n=1, cutoff=0.0)[0]
        problem = localize("models.upscaler_library.unknown", nearest=nearest, folder=str(self.folder))
        raise UpscalerError(key=key, name=name[:100], problem=problem)

    def file_hash(self, name: str) -> str:
        """Return the SHA-256 of an upscaler's file. Raises UpscalerError."""
        return file_hash(self.find(name, "hires.upscaler"))

    def _files(self) -> dict[str, Path]:
        return {path.stem: path for path in self._all() if path.suffix.lower() == SAFETENSORS}

    def _all(self) -> Sequence[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file()) if self.folder.is_dir() else ()


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
