"""Why a rerun would not be, or was not, identical: the files that took part are compared by hash."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from core.history import used_files
from core.studio.images import expected_changes, rerun_result
from core.types import Change, Difference, GenerationRequest, ImageRecord, WorkerStatus


def record(**hashes: str) -> ImageRecord:
    files = [
        {"name": name, "weight": 1.0, "sha256": digest, "tensors_sha256": digest} for name, digest in hashes.items()
    ]
    effective: dict[str, Any] = (
        {"model.fingerprint": "abc", "lora.files": files} if files else {"model.fingerprint": "abc"}
    )
    request = GenerationRequest("a red house", seed=1)
    return ImageRecord("0" * 32, None, datetime.now(UTC), "x.png", "png", 8, 8, 1, request, (8, 8), {}, effective)


def test_a_changed_lora_file_is_told_before_a_rerun() -> None:
    known = {"model.fingerprint": "abc", "lora.ink": "new"}
    found = expected_changes(
        record(ink="old", neon="same"), {**known, "lora.neon": "same"}, WorkerStatus("idle")
    )
    assert found == (Change("lora.ink", "old", "new"),)


def test_a_changed_lora_file_is_the_reason_after_a_rerun() -> None:
    different = Difference(same_size=True, largest=9, mean=1.0, changed=0.5, psnr=30.0)
    found = rerun_result(record(ink="old"), record(ink="new"), different)
    assert found.reasons == (Change("lora.ink", "old", "new"),)
    assert rerun_result(record(ink="old"), record(ink="old"), different).reasons == ()


def test_a_part_of_the_model_and_an_embedding_are_told_by_name() -> None:
    then = {"model.fingerprint": "a", "model.files": {"vae": "1", "controlnet": "2"}}
    before = replace(record(), effective={**then, "embedding.files": [{"name": "moody", "sha256": "old"}]})
    now = {"model.fingerprint": "b", "model.files": {"vae": "3", "controlnet": "2"}, "embedding.moody": "new"}
    found = expected_changes(before, now, WorkerStatus("idle"))
    assert found == (Change("model.files.vae", "1", "3"), Change("embedding.moody", "old", "new"))


def test_a_record_of_before_the_hashes_of_parts_tells_the_revision() -> None:
    found = expected_changes(record(), {"model.fingerprint": "b", "model.files": {"vae": "3"}}, WorkerStatus("idle"))
    assert found == (Change("model.fingerprint", "abc", "b"),)


def test_a_record_without_hashes_says_nothing() -> None:
    odd = replace(record(), effective={"lora.files": ["ink", {"name": "a"}, 3]})
    assert used_files.hashes(odd.effective) == {}
