"""Replace the float32 weights of a downloaded model by bfloat16, file by file, for whom never uses them in float32."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import ModelFileError
from core.i18n import localize
from core.models.part_sources import files_of, weights_by_part
from core.models.validation import MANIFEST
from core.models.weight_files import SAFETENSORS, Tensor, read_all
from core.types import ModelInfo

STEP = 4_000_000  # values converted at a time
SPARE = 1_000_000_000  # bytes that stay free on the disk


def float32_files(info: ModelInfo) -> list[Path]:
    """Return the weight files with float32 weights of a downloaded model's transformer, U-Net and text encoders.

    The VAE stays: it is small, and broken images are decoded again in float32.
    Raises ModelFileError for a model that was not downloaded into the models folder.
    """
    if info.problem is not None:
        raise info.problem
    if info.place != "store":
        raise ModelFileError(model=info.id, file=info.path or info.id, problem=localize("models.shrink.not_ours"))
    folder = Path(info.path or "")
    named = [file for part, file in weights_by_part(*files_of(info)) if not part.startswith("vae")]
    ours = [file for file in dict.fromkeys(named) if folder in file.parents and file.suffix == SAFETENSORS]
    return [file for file in ours if any(one.dtype == "F32" for one in read_all(file).tensors.values())]


def shrink(info: ModelInfo, on_bytes: Callable[[int, int], None] = lambda done, total: None) -> int:
    """Round the float32 weights of a model to bfloat16 in place, and return the bytes that became free.

    Each file is replaced once its successor is whole: a stop between two files leaves a usable model. `on_bytes` gets the bytes
    read so far and in all, and may raise. Raises ModelFileError (also when the disk has no room for the largest file) and OSError.
    """
    files = float32_files(info)
    sizes = [file.stat().st_size for file in files]
    if files and shutil.disk_usage(files[0].parent).free < max(sizes) / 2 + SPARE:
        needed = (max(sizes) / 2 + SPARE) / 1e9
        raise ModelFileError(model=info.id, file=files[0].name, problem=localize("models.shrink.no_room", needed=needed))
    freed = done = 0
    for file, size in zip(files, sizes, strict=True):
        digest = _replace(file, lambda count, done=done: on_bytes(done + count, sum(sizes)))  # type: ignore[misc]
        _note(Path(info.path or ""), file, digest)
        done += size
        freed += size - file.stat().st_size
    return freed


def rounded(values: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Return float32 values as bfloat16 bits, rounded to the nearest, ties to even, as PyTorch does; NaN stays NaN."""
    bits = values.view(np.uint32)
    nearest = ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)
    nearest[np.isnan(values)] = 0x7FC0
    return nearest


def _replace(file: Path, on_bytes: Callable[[int], None]) -> str:
    """Write the file with bfloat16 in place of float32 beside it and put it there; return its SHA-256."""
    header = read_all(file)
    told, end = {"__metadata__": dict(header.metadata)} if header.metadata else {}, 0
    for name, tensor in header.tensors.items():
        narrow = tensor.dtype == "F32"
        size = tensor.bytes // 2 if narrow else tensor.bytes
        dtype = "BF16" if narrow else tensor.dtype
        told[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [end, end + size]}
        end += size
    words = json.dumps(told).encode()
    words += b" " * (-len(words) % 8)
    half, digest = file.with_name(f"{file.name}.part"), hashlib.sha256()
    try:
        with file.open("rb") as source, half.open("wb") as target:
            begin = struct.pack("<Q", len(words)) + words
            digest.update(begin)
            target.write(begin)
            for tensor in header.tensors.values():
                source.seek(tensor.offset)
                _copy(source, target, tensor, digest, on_bytes)
            target.flush()
            os.fsync(target.fileno())
        half.replace(file)
    finally:
        half.unlink(missing_ok=True)
    return digest.hexdigest()


def _copy(source: Any, target: Any, tensor: Tensor, digest: Any, on_bytes: Callable[[int], None]) -> None:
    left = tensor.bytes
    while left:
        data = source.read(min(left, 4 * STEP))
        if not data:
            raise OSError(f"{source.name} ended early")
        left -= len(data)
        piece = rounded(np.frombuffer(data, np.float32)).tobytes() if tensor.dtype == "F32" else data
        digest.update(piece)
        target.write(piece)
        on_bytes(source.tell())


def _note(folder: Path, file: Path, digest: str) -> None:
    """Let the download's manifest tell the file as it is now, so that a check does not take it for damaged."""
    path, name = folder / MANIFEST, file.relative_to(folder).as_posix()
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        manifest["files"][name] |= {"size": file.stat().st_size, "sha256": digest}
    except (OSError, ValueError, KeyError, TypeError):  # a download of an older version has none
        return
    half = path.with_name(f"{path.name}.part")
    half.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    half.replace(path)
