"""Find weight files in the folders of other programs: ComfyUI, Forge, A1111, SwarmUI, InvokeAI.

A file is known by its content; the names of the folders only say where to look first. Folders are walked once in a few seconds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from core.errors import ModelFileError
from core.models.families import FAMILIES
from core.models.families.base import Family
from core.models.identify import Contents
from core.models.model_paths import ModelPaths
from core.models.part_sources import Source, check_component
from core.models.single_file import contents_of
from core.models.weight_files import GGUF, SAFETENSORS, BadFile, file_state

DEEPEST, MOST = 5, 5000  # folders below the named one, and files in all, that are looked at
SECONDS = 5  # for which a walk is kept
_SKIPPED = {"node_modules", "site-packages", "__pycache__", "venv", "custom_nodes"}


def find_part(part: str, beside: Path, places: ModelPaths, family: Family) -> Path | None:
    """Return the first file of this part that fits the family's published model: near `beside`, then in the named folders."""
    roots = [*_near(beside), *places.folders, places.store]
    for root in dict.fromkeys(roots):
        for file in weight_files(root):
            contents = what_is_in(file)
            found = next((one for one in contents.components if one.part == part), None) if contents else None
            if found is None or contents is None or (contents.kind == "checkpoint" and part != "vae"):
                continue
            if fits(Source(file, found), family):
                return file
    return None


def _near(path: Path) -> Iterator[Path]:
    """Yield the file's folder, and the folder of a program's models above it (`models/diffusion_models/x` -> `models`)."""
    folder = path.parent
    yield folder
    for above in (folder.parent, folder.parent.parent):
        names = {child.name.lower() for child in above.iterdir() if child.is_dir()} if above.is_dir() else set()
        if names & {"text_encoders", "clip", "text_encoder", "vae"}:
            yield above
            return


def fits(source: Source, family: Family) -> bool:
    """Return True when a part in a file has the weights and shapes that the family's published model needs."""
    if source.component is None or family.frame is None or not family.fits_part(source.component):
        return False
    try:
        check_component(source, family.frame, source.path.name)
    except ModelFileError:
        return False
    return True


def what_is_in(file: Path) -> Contents | None:
    """Return what a weight file holds, or None when it can't be read; from memory while the file stays as it is."""
    try:
        return _content(file, file_state(file))
    except OSError:
        return None


@lru_cache(maxsize=2000)
def _content(file: Path, _unchanged: tuple[int, int]) -> Contents | None:
    try:
        return contents_of(file)
    except BadFile:
        return None


def weight_files(root: Path) -> tuple[Path, ...]:
    """Return the weight files in a folder and below it, those that are parts of a diffusers folder left out."""
    return _walked(root, int(time.monotonic() / SECONDS))[0]


def pipeline_folders(root: Path) -> tuple[Path, ...]:
    """Return the diffusers folders of whole models in a folder and below it."""
    return _walked(root, int(time.monotonic() / SECONDS))[1]


def models_in(root: Path) -> Iterator[Path]:
    """Yield what may be used as a model: diffusers folders, and files with a transformer, U-Net or ControlNet of a known family."""
    yield from pipeline_folders(root)
    for file in weight_files(root):
        contents = what_is_in(file)
        main = {component.part: component.family for component in contents.components} if contents else {}
        if set(main.values()) & _LABELS and set(main) & {"transformer", "unet", "controlnet"}:
            yield file


_LABELS = {family.label for family in FAMILIES.values()}


@lru_cache(maxsize=64)
def _walked(root: Path, _moment: int) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    files_found: list[Path] = []
    folders_found: list[Path] = []
    depth = len(root.parts)
    for name, folders, files in os.walk(root, followlinks=True):
        folder = Path(name)
        if "model_index.json" in files:
            folders_found.append(folder)
        if len(folder.parts) - depth >= DEEPEST or "model_index.json" in files:
            folders.clear()
        folders[:] = sorted(one for one in folders if not one.startswith(".") and one not in _SKIPPED)
        if "model_index.json" not in files and "config.json" not in files:
            files_found += [
                folder / one
                for one in sorted(files)
                if one.lower().endswith((SAFETENSORS, GGUF)) and not one.startswith(".")
            ]
        if len(files_found) > MOST:
            break
    return tuple(files_found), tuple(folders_found)
