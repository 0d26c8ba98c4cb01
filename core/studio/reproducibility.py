"""Whether an image comes out the same again: what can be known before, and what the two images say afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.config.schema import AUTO
from core.types import Change, Difference, ImageRecord, RerunResult, WorkerStatus

# What may change the pixels of the same request; everything else that is in effect is part of the request.
DECISIVE = (
    "model.fingerprint",
    "model.device",
    "model.dtype",
    "scheduler",
    "scheduler.shift",
    "vae.tiles",
    "transformer.rope",
)
LORA, EMBEDDING = "lora", "embedding"  # kinds of files beside the model, each with a list `<kind>.files` in the record
PARTS = "model.files"  # in the record: a hash for each part of the model
CHOSEN = ("model.device", "model.dtype")  # by the request or, where it says "auto", by the machine


def conditions(effective: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decided the pixels, flat: the model's parts, device, dtype, library versions, the hash of every other file."""
    found = {name: effective[name] for name in DECISIVE if name in effective}
    versions = effective.get("versions")
    if isinstance(versions, Mapping):
        found |= {f"versions.{name}": value for name, value in versions.items()}
    if isinstance(files := effective.get(PARTS), Mapping):
        found |= {f"{PARTS}.{part}": digest for part, digest in files.items()}
    for kind in (LORA, EMBEDDING):
        found |= {f"{kind}.{name}": digest for name, digest in file_hashes(effective, kind).items()}
    return found


def file_hashes(effective: Mapping[str, Any], kind: str) -> dict[str, str]:
    """Return name and SHA-256 of each file of a kind that took part, LORA or EMBEDDING, as the record has them."""
    files = effective.get(f"{kind}.files")
    return {
        str(file["name"]): str(file["sha256"])
        for file in (files if isinstance(files, list | tuple) else ())
        if isinstance(file, Mapping) and "name" in file and "sha256" in file
    }


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Change, ...]:
    """Return the known conditions that differ. Where the changed part is known, the model's fingerprint is left out."""
    found = [Change(name, value, now[name]) for name, value in before.items() if name in now and now[name] != value]
    named = any(change.name.startswith(f"{PARTS}.") for change in found)
    return tuple(change for change in found if not (named and change.name == "model.fingerprint"))


def expected(record: ImageRecord, known: Mapping[str, Any], worker: WorkerStatus) -> tuple[Change, ...]:
    """Return what will differ from `record` in a rerun, as far as known before it.

    `known` is of its model and the libraries; the device and the dtype that "auto" means are known while it is loaded.
    """
    now = {**known, **{f"{PARTS}.{part}": digest for part, digest in known.get(PARTS, {}).items()}}
    if worker.model == record.request.model:
        now |= {decision.option: decision.effective for decision in worker.decisions if decision.option in DECISIVE}
    asked = {name: record.request.options.get(name, AUTO) for name in CHOSEN}
    now |= {name: value for name, value in asked.items() if value != AUTO}
    return changes(conditions(record.effective), now)


def judged(before: ImageRecord, again: ImageRecord, difference: Difference) -> RerunResult:
    """Return whether the rerun is identical, and the reasons of a difference as far as known."""
    reasons = changes(conditions(before.effective), conditions(again.effective))
    if before.format != again.format:
        reasons = (*reasons, Change("output.format", before.format, again.format))
    return RerunResult(difference, () if difference.identical else reasons)
