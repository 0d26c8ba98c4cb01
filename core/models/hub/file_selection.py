"""Select the files of a repository that are needed: the parts of the pipeline, and only the smallest variant of its weights."""

from __future__ import annotations

import re
from collections.abc import Sequence

from core.models.families.base import Family
from core.models.hub.hub_api import HubError, RemoteFile
from core.models.validation import VARIANTS, is_variant
from core.models.weight_files import SAFETENSORS

INDEX = "model_index.json"
CONFIG = "config.json"
_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*")  # one plain name: no folders, nothing hidden
_SMALL = (".json", ".txt", ".model", ".jinja")  # configurations and tokenizers


def needed(files: Sequence[RemoteFile], family: Family, only: str = "", is_part: bool = False) -> list[RemoteFile]:
    """Return the files to download, small ones first. Raises HubError when a part has no safetensors.

    Of the repository of one part, such as a ControlNet, its configuration and weights; `only` names the one file that is wanted.
    """
    if only:
        return _named(files, only)
    if (family.plain or is_part) and not any(file.path == INDEX for file in files):
        return _network(files)
    by_part = {part: _of_part(files, part) for part in family.parts}
    index = [file for file in files if file.path == INDEX]
    if not index:
        raise HubError("missing", INDEX)
    small = [file for part in by_part.values() for file in part if file.path.endswith(_SMALL) and not _is_index(file)]
    weights = _weights({part: by_part[part] for part in family.weighty})
    return [*index, *small, *sorted(weights, key=lambda file: file.size)]


def _named(files: Sequence[RemoteFile], name: str) -> list[RemoteFile]:
    found = [file for file in files if file.path == name]
    if not found:
        raise HubError("missing", name)
    return found


def _network(files: Sequence[RemoteFile]) -> list[RemoteFile]:
    """Return the parts of a folder that is one part itself."""
    config = _named(files, CONFIG)
    return [*config, *_weights({"": [file for file in files if _NAME.fullmatch(file.path)]})]


def _of_part(files: Sequence[RemoteFile], part: str) -> list[RemoteFile]:
    start = f"{part}/"
    return [file for file in files if file.path.startswith(start) and _NAME.fullmatch(file.path.removeprefix(start))]


def _weights(by_part: dict[str, list[RemoteFile]]) -> list[RemoteFile]:
    """Of the first variant that all parts have: the loader opens one variant for all."""
    for variant in VARIANTS:
        selected = {part: [file for file in files if _is_weight(file, variant)] for part, files in by_part.items()}
        if all(any(file.path.endswith(SAFETENSORS) for file in files) for files in selected.values()):
            return [file for files in selected.values() for file in files]
    plain = {part for part, files in by_part.items() if not any(_is_weight(file, "") for file in files)}
    raise HubError("safetensors", ", ".join(sorted(plain)) or "one variant")


def _is_index(file: RemoteFile) -> bool:
    return ".index." in file.path


def _is_weight(file: RemoteFile, variant: str) -> bool:
    name = file.path.rsplit("/", 1)[-1]
    return (name.endswith(SAFETENSORS) or (_is_index(file) and SAFETENSORS in name)) and is_variant(name, variant)
