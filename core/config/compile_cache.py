"""Keep what PyTorch compiles in the output folder, so that the next start does not compile it again.

Inductor and Triton read the folders from environment variables; Inductor tells one source from another by itself, and each version
of PyTorch and Python has a folder of its own.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FOLDER = "cache"  # in the output folder
INDUCTOR, TRITON = "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"
LIMIT = 2_000_000_000  # bytes of all versions


def compile_cache(output: Path) -> Path:
    """Return the folder for the versions that run here."""
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = "none"
    return output / FOLDER / f"torch-{torch}-python-{platform.python_version()}"


def cache_variables(output: Path, given: Mapping[str, str]) -> dict[str, str]:
    """Return what a worker is told beside the variables that are `given`; what its user has set decides."""
    folder = compile_cache(output).absolute()
    wanted = {INDUCTOR: str(folder / "inductor"), TRITON: str(folder / "triton")}
    return {name: place for name, place in wanted.items() if name not in given}


def keep_within(output: Path, limit: int = LIMIT) -> int:
    """Remove folders of other versions, the oldest first, and in the end the present one's, until at most `limit` bytes stay.

    Return the bytes that were removed. Call it while no worker runs.
    """
    present = compile_cache(output)
    folders = [one for one in (output / FOLDER).glob("torch-*") if one.is_dir()]
    sizes = {one: sum(file.lstat().st_size for file in one.rglob("*") if not file.is_dir()) for one in folders}
    removed = 0
    for folder in sorted(folders, key=lambda one: (one == present, one.stat().st_mtime)):
        if sum(sizes.values()) - removed <= limit:
            break
        shutil.rmtree(folder, ignore_errors=True)
        removed += sizes[folder]
    return removed
