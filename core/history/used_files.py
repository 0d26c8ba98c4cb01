"""List the files that an image was made with, and their hashes, from its record.

Parts of the model, LoRAs, embeddings, ControlNets, the model of depth maps, upscalers. What decided nothing in the end is not among
them: a tiny decoder makes previews alone, and the boxes that a detector found are in the request.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

MODEL = "model"
LORA, EMBEDDING, CONTROLNET, PREPROCESSOR, UPSCALER = "lora", "embedding", "controlnet", "preprocessor", "upscaler"
HASHES = {LORA: "sha256", EMBEDDING: "sha256", CONTROLNET: "hash", PREPROCESSOR: "hash"}  # in the list `<kind>.files`
KINDS = (*HASHES, UPSCALER)
UPSCALED_WITH = ("hires.upscaled_with", "upscale.upscaled_with")  # "name (hash)"; without a hash it is an embedded one
DIGITS = 10  # of an upscaler's SHA-256 in the record
_UPSCALER = re.compile(rf"(.+) \(([0-9a-f]{{{DIGITS}}})\)")

# Hashes of the model, the most exact first: contents by part; names, sizes and samples by part; names, sizes and headers of all.
WEIGHTS, PARTS, FINGERPRINT = "model.weights", "model.files", "model.fingerprint"

_LEVELS = (WEIGHTS, PARTS, FINGERPRINT)


def file_hashes(effective: Mapping[str, Any], kind: str) -> dict[str, str]:
    """Return the hash of each file of a kind that took part, by name."""
    if kind == UPSCALER:
        found = (_UPSCALER.fullmatch(str(effective.get(key, ""))) for key in UPSCALED_WITH)
        return {match[1]: match[2] for match in found if match}
    field = HASHES[kind]
    return {str(file["name"]): str(file[field]) for file in _listed(effective, kind) if "name" in file and field in file}


def hashes(effective: Mapping[str, Any]) -> dict[str, str]:
    """Return the hashes of all files beside the model, by `<kind>.<name>`."""
    return {f"{kind}.{name}": digest for kind in KINDS for name, digest in file_hashes(effective, kind).items()}


def model_hashes(effective: Mapping[str, Any]) -> dict[str, str]:
    """Return the hashes of the model, flat: `model.weights.<part>`, `model.files.<part>`, `model.fingerprint`."""
    found = {}
    for key in (WEIGHTS, PARTS):
        by_part = effective.get(key)
        for part, digest in by_part.items() if isinstance(by_part, Mapping) else ():
            found[f"{key}.{part}"] = str(digest)
    return found | ({FINGERPRINT: str(effective[FINGERPRINT])} if FINGERPRINT in effective else {})


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of flat values that differ; of the model's hashes those of the most exact kind that both have."""
    level = next((level for level in _LEVELS if _has(before, level) and _has(now, level)), "")
    for name, digest in before.items():
        if name in now and now[name] != digest and (not name.startswith(_LEVELS) or name.startswith(level)):
            yield name


def named(name: str) -> tuple[str, str]:
    """Return the kind and the plain name of a flat hash: MODEL with its part, "" for all of it; ("", name) of anything else."""
    if name == FINGERPRINT:
        return MODEL, ""
    for level in (WEIGHTS, PARTS):
        if name.startswith(f"{level}."):
            return MODEL, name.removeprefix(f"{level}.")
    kind, _, rest = name.partition(".")
    return (kind, rest) if kind in KINDS else ("", name)


def _has(hashes: Mapping[str, Any], level: str) -> bool:
    return any(name.startswith(level) for name in hashes)


def _listed(effective: Mapping[str, Any], kind: str) -> Iterator[Mapping[str, Any]]:
    files = effective.get(f"{kind}.files")
    yield from (file for file in (files if isinstance(files, list | tuple) else ()) if isinstance(file, Mapping))
