"""Whether a picture comes out the same again: what can be known before, and what the two pictures say afterwards.

What this module does not know: files, the queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.types import Change, Difference, ImageRecord, Verdict, WorkerStatus

# What may change the pixels of the same request; everything else that is in effect is part of the request.
DECISIVE = ("model.fingerprint", "model.device", "model.dtype", "scheduler", "scheduler.shift", "vae.tiles")


def conditions(effective: Mapping[str, Any]) -> dict[str, Any]:
    """What a picture was made under, flat: revision of the model, device, dtype, versions of libraries."""
    found = {name: effective[name] for name in DECISIVE if name in effective}
    versions = effective.get("versions")
    return found | (
        {f"versions.{name}": value for name, value in versions.items()} if isinstance(versions, Mapping) else {}
    )


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Change, ...]:
    """The conditions that both know and that differ."""
    return tuple(Change(name, value, now[name]) for name, value in before.items() if name in now and now[name] != value)


def expected(record: ImageRecord, worker: WorkerStatus) -> tuple[Change, ...]:
    """What is known before a run to be other than it was for `record`: of a model that is not loaded, the libraries only."""
    now: dict[str, Any] = {f"versions.{name}": version for name, version in worker.versions.items()}
    if worker.model == record.request.model:
        now |= {decision.option: decision.effective for decision in worker.decisions if decision.option in DECISIVE}
        if worker.device is not None:
            now["model.device"] = worker.device
    return changes(conditions(record.effective), now)


def judged(before: ImageRecord, again: ImageRecord, difference: Difference) -> Verdict:
    """Identical, or different for these reasons; with none, the same conditions gave another picture."""
    reasons = changes(conditions(before.effective), conditions(again.effective))
    if before.format != again.format:
        reasons = (*reasons, Change("output.format", before.format, again.format))
    return Verdict(difference, () if difference.identical else reasons)
