"""Whether an image comes out the same again: what can be known before, and what the two images say afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.config.lora_syntax import FILES
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
CHOSEN = ("model.device", "model.dtype")  # by the request or, where it says "auto", by the machine


def conditions(effective: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decided the pixels, flat: the model's revision, device, dtype, library versions, the hash of every LoRA file."""
    found = {name: effective[name] for name in DECISIVE if name in effective}
    versions = effective.get("versions")
    if isinstance(versions, Mapping):
        found |= {f"versions.{name}": value for name, value in versions.items()}
    return found | {lora_condition(name): digest for name, digest in lora_hashes(effective).items()}


def lora_condition(name: str) -> str:
    """Return the name of the condition that this LoRA is the same file."""
    return f"lora.{name}"


def lora_hashes(effective: Mapping[str, Any]) -> dict[str, str]:
    """Return name and SHA-256 of each LoRA file that took part, as the record has them."""
    files = effective.get(FILES)
    return {
        str(file["name"]): str(file["sha256"])
        for file in (files if isinstance(files, list | tuple) else ())
        if isinstance(file, Mapping) and "name" in file and "sha256" in file
    }


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Change, ...]:
    """The conditions that both know and that differ."""
    return tuple(Change(name, value, now[name]) for name, value in before.items() if name in now and now[name] != value)


def expected(record: ImageRecord, known: Mapping[str, Any], worker: WorkerStatus) -> tuple[Change, ...]:
    """What will be other than it was for `record`, by what is known before a run.

    `known` is of its model and the libraries; the device and the dtype that "auto" means are known while it is loaded.
    """
    now = dict(known)
    if worker.model == record.request.model:
        now |= {decision.option: decision.effective for decision in worker.decisions if decision.option in DECISIVE}
    asked = {name: record.request.options.get(name, AUTO) for name in CHOSEN}
    now |= {name: value for name, value in asked.items() if value != AUTO}
    return changes(conditions(record.effective), now)


def judged(before: ImageRecord, again: ImageRecord, difference: Difference) -> RerunResult:
    """Identical, or different for these reasons; with none, the same conditions gave another image."""
    reasons = changes(conditions(before.effective), conditions(again.effective))
    if before.format != again.format:
        reasons = (*reasons, Change("output.format", before.format, again.format))
    return RerunResult(difference, () if difference.identical else reasons)
