"""Hash what an image's pixels depend on beside its request, as far as it is known without loading the model.

Changed contents are noticed by the SHA-256 that a hub or trainer gave, or that was seen before: a number that a flipped bit turned
into another plausible one can be noticed in no other way.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from core import __version__
from core.models.file_index import FileCache, hashes, state_of_file
from core.models.part_sources import Parts, gguf_in, weights_by_part
from core.models.validation import MANIFEST
from core.models.weight_files import GGUF, SAFETENSORS, BadFile, file_state, read_all

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


FILE = ".checksums.json"  # in the folder of models
SAME, DIFFERS, CHANGED, RECORDED = "same", "differs", "changed", "recorded"
DOWNLOAD, HUB, TRAINER, BEFORE = "download", "hub", "trainer", "before"
_TRAINERS_KEY = "sshs_model_hash"  # kohya's scripts: the SHA-256 of all that follows the header
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Verified:
    """What the SHA-256 of a file says.

    `result`: SAME; DIFFERS: damaged, or another file than was published; CHANGED: replaced or changed since it was last verified;
    RECORDED: nothing was known of it, and the next check compares with this one. `source`: whose SHA-256 it was compared with.
    """

    file: str
    sha256: str
    result: str
    source: str | None

    @property
    def good(self) -> bool:
        """Return False for a file that differs from what was published."""
        return self.result != DIFFERS


@dataclass(frozen=True)
class Noticed:
    """A weight file that is not what it was when it was loaded before. `quietly`: its size and time are as they were."""

    file: Path
    since: str  # date of the first load of what it was
    quietly: bool


class Checksums:
    """What is known of the weight files of this machine, kept in the folder of models."""

    def __init__(self, store: Path) -> None:
        self._kept = FileCache(store / FILE)

    def verify(self, file: Path) -> Verified:
        """Read a whole file and compare its SHA-256. Raises OSError."""
        state = state_of_file(file)
        whole, tensors = hashes(file)
        before = self._of(file)
        known = before.get("sha256")
        published = next(_published(file), None)
        if published is not None:
            source, digest = published
            result = SAME if digest in (whole, tensors) else DIFFERS
        elif known is None:
            source, result = None, RECORDED
        else:
            source = BEFORE
            result = SAME if known == whole else DIFFERS if before.get("verified") == state else CHANGED
        if result != DIFFERS:
            self._put(file, {"sha256": whole, "verified": state})  # the next load is the first of what it is now
            self._kept.flush()
        return Verified(str(file), whole, result, source)

    def notice(self, files: Iterable[Path]) -> list[Noticed]:
        """Compare files that are about to be loaded with what they were when they were loaded before, by samples of each.

        What changed quietly is not forgotten, so that the next load says it again. Takes milliseconds a file.
        """
        found = []
        for file in dict.fromkeys(files):
            before, state, sampled = self._of(file), state_of_file(file), sampled_hash(file)
            known, quietly = before.get("sampled"), before.get("loaded") == state
            if known not in (None, sampled):
                found.append(Noticed(file, str(before.get("since", "")), quietly))
            if known is None or (known != sampled and not quietly):
                since = datetime.now(UTC).date().isoformat()
                self._put(file, {**before, "sampled": sampled, "loaded": state, "since": since})
            elif known == sampled and not quietly:
                self._put(file, {**before, "loaded": state})
        self._kept.flush()
        return found

    def _of(self, file: Path) -> dict[str, Any]:
        kept = self._kept.get(_key(file), "")
        return kept if isinstance(kept, dict) else {}

    def _put(self, file: Path, value: dict[str, Any]) -> None:
        self._kept.put(_key(file), "", value)


def weight_files_in(path: Path) -> list[Path]:
    """Return the weight files of a folder, or the file itself."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.suffix.lower() in (SAFETENSORS, GGUF) and file.is_file())


def _key(file: Path) -> Path:
    return Path(os.path.abspath(file))


def _published(file: Path) -> Iterator[tuple[str, str]]:
    """Yield whose SHA-256 is known beside a file or in it, and the SHA-256."""
    for folder in (file.parent, *file.parents[1:4]):
        if (digest := _of_manifest(folder / MANIFEST, file.relative_to(folder).as_posix())) is not None:
            yield DOWNLOAD, digest
        if (digest := _of_local_dir(folder, file.relative_to(folder))) is not None:
            yield HUB, digest
    blob = file.resolve()
    if blob.parent.name == "blobs" and _SHA256.fullmatch(blob.name):  # huggingface_hub names what it downloads so
        yield HUB, blob.name
    try:
        told = str(read_all(file).metadata.get(_TRAINERS_KEY, "")) if file.suffix.lower() == SAFETENSORS else ""
    except BadFile:
        return
    if _SHA256.fullmatch(told):
        yield TRAINER, told


def _of_manifest(manifest: Path, name: str) -> str | None:
    try:
        digest = json.loads(manifest.read_text(encoding="utf-8"))["files"][name]["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return digest if isinstance(digest, str) else None


def _of_local_dir(folder: Path, name: Path) -> str | None:
    """Return the ETag that `hf download --local-dir` keeps: the SHA-256 of a large file. Lines: commit, ETag, time."""
    note = folder / ".cache" / "huggingface" / "download" / f"{name.as_posix()}.metadata"
    try:
        lines = note.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return None
    return lines[1] if len(lines) > 1 and _SHA256.fullmatch(lines[1]) else None
