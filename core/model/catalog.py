"""Which models there are: one YAML file each in `configs/models/`, or any diffusers folder of Z-Image by its path.

What this module does not know: torch, diffusers, how a model is loaded. The page asks it, so it must stay light.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from core.config.layers import PROJECT_ROOT
from core.errors import ModelError, UnknownModelError
from core.model.checks import check_folder, problem
from core.model.revision import fingerprint, versions
from core.types import ModelInfo

PATCH = 16  # pixels of a token's side: 8 of the VAE times a patch of 2
POSITIONS_LIMIT = 512  # tokens of a side in the published model; the fallback when a folder can't be read


class Catalog:
    """The entries of `<configs>/models/*.yaml`. Files are read at each call: they are few, and may change under us."""

    def __init__(self, configs: Path) -> None:
        self._configs = configs

    def models(self) -> Sequence[ModelInfo]:
        """All entries, the embedded model first."""
        infos = (_info(entry, _entry_folder(entry)) for entry in self._entries())
        return sorted(infos, key=lambda info: info.id != "demo")

    def find(self, model: str) -> ModelInfo:
        """The entry of that id, or the folder of that path; UnknownModelError when it is neither."""
        # Only the wanted entry's folder is looked at: this runs at each draw of a page.
        known = {entry["id"]: entry for entry in self._entries()}
        if model in known:
            return _info(known[model], _entry_folder(known[model]))
        if not ("/" in model or "\\" in model or os.path.isdir(model)):
            raise UnknownModelError(came=model, known=", ".join(known))
        folder = Path(os.path.abspath(os.path.expanduser(model)))  # the worker that will load it stands elsewhere
        return _info({"id": str(folder), "name": folder.name}, folder)

    def _entries(self) -> list[dict[str, Any]]:
        return [_read(path) for path in sorted((self._configs / "models").glob("*.yaml"))]

    def conditions(self, model: str) -> dict[str, Any]:
        """What is known, without loading it, of what decides this model's pixels, as pictures' records name it."""
        found: dict[str, Any] = {f"versions.{name}": number for name, number in versions().items()}
        path = self.find(model).path
        return {**found, "model.fingerprint": fingerprint(Path(path))} if path else found


def _read(path: Path) -> dict[str, Any]:
    entry: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return entry


def _entry_folder(entry: Mapping[str, Any]) -> Path | None:
    if entry.get("path"):
        return PROJECT_ROOT / entry["path"]
    return _cached_snapshot(entry["huggingface"])


def _cached_snapshot(repository: str) -> Path | None:
    """The folder of a repository that the Hugging Face cache holds already. Never touches the network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _info(entry: Mapping[str, Any], folder: Path | None) -> ModelInfo:
    defaults = entry.get("defaults") or _folder_defaults(folder)
    return ModelInfo(
        id=entry["id"],
        name=_bilingual(entry["name"]),
        description=_bilingual(entry.get("description", "")),
        path=str(folder) if folder else None,
        default_width=defaults["width"],
        default_height=defaults["height"],
        default_steps=defaults["num_inference_steps"],
        default_guidance=float(defaults["guidance_scale"]),
        size_multiple=PATCH,
        max_side=_max_side(folder),
        problem=_problem(entry["id"], folder),
        trained_side=entry.get("trained_side", max(defaults["width"], defaults["height"])),
    )


def _bilingual(words: str | Mapping[str, str]) -> Mapping[str, str]:
    return {"en": words, "zh": words} if isinstance(words, str) else words


def _problem(model: str, folder: Path | None) -> ModelError | None:
    if folder is None:
        return problem(model, model, "download")
    try:
        check_folder(folder, model)
    except ModelError as error:
        return error
    return None


def _max_side(folder: Path | None) -> int:
    """Longest side in pixels: beyond it the table of rotary positions ends (axes_lens, in tokens; text axis first)."""
    config = _component_config(folder, "transformer")
    lengths = config.get("axes_lens", [0, POSITIONS_LIMIT, POSITIONS_LIMIT])
    return min(lengths[1:]) * PATCH


def _folder_defaults(folder: Path | None) -> dict[str, Any]:
    """Turbo's settings at the size that the VAE was made for."""
    side = _component_config(folder, "vae").get("sample_size", 1024)
    return {"width": side, "height": side, "num_inference_steps": 8, "guidance_scale": 0.0}


def _component_config(folder: Path | None, component: str) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(((folder or Path()) / component / "config.json").read_text(encoding="utf-8"))
        return data
    except (OSError, ValueError):
        return {}
