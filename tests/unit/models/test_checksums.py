"""Weight files that change: against the hub's SHA-256, the trainer's, and what was seen before."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.models import fingerprint
from core.models.fingerprint import Checksums
from core.models.validation import MANIFEST


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "m").mkdir()
    save_file({"a": torch.arange(64.0)}, tmp_path / "m" / "a.safetensors")
    return tmp_path / "m" / "a.safetensors"


def flip(file: Path, quietly: bool = True) -> None:
    """Flip a bit of a number's mantissa; `quietly`: the time stays."""
    before, data = file.stat(), bytearray(file.read_bytes())
    data[-2] ^= 1
    file.write_bytes(data)
    later = before.st_mtime_ns + (0 if quietly else 10**9)
    os.utime(file, ns=(before.st_atime_ns, later))


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def by_download(file: Path) -> Path:
    (file.parent / MANIFEST).write_text(json.dumps({"files": {file.name: {"size": 1, "sha256": sha256(file)}}}))
    return file


def by_hub_cache(file: Path) -> Path:
    blob = file.parent.parent / "blobs" / sha256(file)
    blob.parent.mkdir()
    file.rename(blob)
    file.symlink_to(blob)
    return file


def by_local_dir(file: Path) -> Path:
    note = file.parent / ".cache" / "huggingface" / "download" / f"{file.name}.metadata"
    note.parent.mkdir(parents=True)
    note.write_text(f"{'a' * 40}\n{sha256(file)}\n1700000000.0\n")
    return file


def by_trainer(file: Path) -> Path:
    data = file.read_bytes()
    tensors = hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()
    save_file({"a": torch.arange(64.0)}, file, {"sshs_model_hash": tensors})
    return file


@pytest.mark.parametrize(
    ("publish", "source"), [(by_download, "download"), (by_hub_cache, "hub"), (by_local_dir, "hub"), (by_trainer, "trainer")]
)
def test_flipped_bit_differs_from_what_was_published(file, tmp_path, publish, source):
    publish(file)
    known = Checksums(tmp_path / "store")
    found = known.verify(file)
    assert (found.result, found.source, found.sha256) == ("same", source, sha256(file))
    flip(file, quietly=False)
    assert known.verify(file).result == "differs" and not known.verify(file).good


def test_without_a_published_hash_the_first_check_is_remembered(file, tmp_path):
    assert Checksums(tmp_path / "store").verify(file).result == "recorded"
    assert Checksums(tmp_path / "store").verify(file).result == "same"
    flip(file)
    assert Checksums(tmp_path / "store").verify(file).result == "differs"
    os.utime(file)
    assert [Checksums(tmp_path / "store").verify(file).result for _ in range(2)] == ["changed", "same"]


def test_load_notices_what_changed_since_the_first(file, tmp_path):
    def noticed():
        return [one.quietly for one in Checksums(tmp_path / "store").notice([file])]

    assert noticed() == noticed() == []
    os.utime(file)
    assert noticed() == [], "copied, with the same contents"
    flip(file, quietly=False)
    assert [noticed(), noticed()] == [[False], []], "said once: it was replaced"
    flip(file)
    assert [noticed(), noticed()] == [[True], [True]], "said until it is accepted"
    assert Checksums(tmp_path / "store").verify(file).result == "recorded"
    assert noticed() == []


def test_flips_of_one_byte_in_ten_thousand_reach_the_samples_of_a_large_file(tmp_path, monkeypatch):
    """Between the samples lies most of a large file: each sample of 16 KiB holds 1.6 flipped bytes on average."""
    monkeypatch.setattr("core.models.fingerprint.WHOLE", 1 << 20)
    file = tmp_path / "large.safetensors"
    data = bytearray(6 << 20)
    file.write_bytes(data)
    known = Checksums(tmp_path / "store")
    assert known.notice([file]) == []
    for place in range(4321, len(data), 10_000):
        data[place] ^= 1
    stat = file.stat()
    file.write_bytes(data)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert [one.quietly for one in known.notice([file])] == [True]


def test_records_that_cannot_be_read_are_begun_anew(file, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / fingerprint.FILE).write_text("{")
    assert Checksums(tmp_path / "store").verify(file).result == "recorded"
    (file.parent / MANIFEST).write_text("[1]")
    assert Checksums(tmp_path / "store").verify(file).result == "same"
