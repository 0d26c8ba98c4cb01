"""What a picture's pixels depend on beside its request, as far as it can be known without loading the model.

What this module does not know: torch, how a model is loaded.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from core import __version__

LIBRARIES = ("torch", "diffusers", "transformers")


def fingerprint(folder: Path) -> str:
    """10 hex digits over names, sizes and first 64 KiB (the header) of the weight files: tells revisions apart in milliseconds."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(65536))
    return digest.hexdigest()[:10]


def versions() -> dict[str, str]:
    """The libraries that decide a picture's pixels, and the studio's own version; without one that is not installed."""
    found = {"zdarkroom": __version__}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a page without the model's libraries
            continue
    return found
