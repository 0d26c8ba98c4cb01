"""Hash what an image's pixels depend on beside its request, as far as it is known without loading the model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from core import __version__
from core.models.part_sources import Parts, gguf_in, weights_by_part
from core.models.weight_files import GGUF, file_state

SAMPLES, SAMPLE = 16, 65536  # how often, and how many bytes, a file is read for its hash
WHOLE = 64 << 20  # bytes: a file up to this size is read whole for the hash of its contents
FINE_SAMPLES, FINE_SAMPLE = 256, 16384  # of a longer one: each tensor of some size has one
LIBRARIES = ("torch", "diffusers", "transformers")


def fingerprint(path: Path, base: Path | None = None, frame: Path | None = None, parts: Parts = ()) -> str:
    """Return 10 hex digits over names, sizes and first 64 KiB (the header) of the weight files, in milliseconds.

    `path` is a folder, or a single file or ControlNet with the base that the other parts come from; or a file with a frame,
    of which counts what the file lacks.
    """
    digest = hashlib.sha256()
    folder = base or path
    own = [] if base is None else [path] if path.is_file() else sorted(path.rglob("*.safetensors"))
    if frame is not None:
        named = sorted(weights_by_part(path, base, frame, parts), key=lambda pair: _rank(path, *pair))
        own, rest = list(dict.fromkeys(file for _, file in named)), []
    else:
        rest = sorted(folder.rglob("*.safetensors"))
    for file in [*own, *rest]:
        name = file.name if file in own else file.relative_to(folder).as_posix()
        digest.update(f"{name} {file.stat().st_size}\n".encode())
        with file.open("rb") as opened:
            digest.update(opened.read(65536))
    return digest.hexdigest()[:10]


def part_hashes(path: Path, base: Path | None = None, frame: Path | None = None, parts: Parts = ()) -> dict[str, str]:
    """Return 10 hex digits for each part of a checked model: over names, sizes and samples of its weight files.

    Samples from the whole length tell two trainings of one architecture apart, whose headers are the same; the names of folders
    do not count. Takes milliseconds.
    """
    digests: dict[str, Any] = {}
    for part, file in weights_by_part(path, base, frame, parts):
        digest = digests.setdefault(part, hashlib.sha256())
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        for sample in _samples(file):
            digest.update(sample)
    return {part: digest.hexdigest()[:10] for part, digest in digests.items()}


def weight_hashes(path: Path, base: Path | None = None, frame: Path | None = None, parts: Parts = ()) -> dict[str, str]:
    """Return 10 hex digits for each part of a checked model: over the contents of its weight files, whatever their names."""
    digests: dict[str, Any] = {}
    for part, file in weights_by_part(path, base, frame, parts):
        digests.setdefault(part, hashlib.sha256()).update(_contents(file, file_state(file)).encode())
    return {part: digest.hexdigest()[:10] for part, digest in digests.items()}


def gguf_hash(path: Path, base: Path | None = None) -> dict[str, str]:
    """Return the hash of the GGUF that the quantization "gguf" takes in the transformer's place; nothing without one."""
    file = gguf_in(base or path)
    return {} if file is None else {f"transformer{GGUF}": contents_hash(file)}


def contents_hash(path: Path) -> str:
    """Return 10 hex digits over the contents of a weight file, or of those in a folder."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(path.glob("*.safetensors")):
        digest.update(_contents(file, file_state(file)).encode())
    return digest.hexdigest()[:10]


@lru_cache(maxsize=256)  # pages ask at each rerun
def _contents(file: Path, _unchanged: tuple[int, int]) -> str:
    return sampled_hash(file)


def sampled_hash(file: Path) -> str:
    """Return the SHA-256 over a file as it is now: over all of it up to WHOLE bytes, else its size and many samples."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        if size <= WHOLE:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    digest = hashlib.sha256(f"{size}\n".encode())
    for sample in _samples(file, FINE_SAMPLES, FINE_SAMPLE):
        digest.update(sample)
    return digest.hexdigest()


def _samples(file: Path, count: int = SAMPLES, length: int = SAMPLE) -> Iterator[bytes]:
    last = max(0, file.stat().st_size - length)
    with file.open("rb") as opened:
        for start in sorted({last * k // (count - 1) for k in range(count)}):
            opened.seek(start)
            yield opened.read(length)


def _rank(path: Path, part: str, file: Path) -> tuple[bool, int]:
    """Return the model's own files first, then by part: the order decides the fingerprint, which images' records hold."""
    parts = ("unet", "transformer", "vae", "text_encoder", "text_encoder_2", "controlnet")
    return file != path and path not in file.parents, parts.index(part)


def versions() -> dict[str, str]:
    """Return the versions of the libraries that decide an image's pixels, and of the studio."""
    found = {"zdarkroom": __version__}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a page without the model's libraries
            continue
    return found
