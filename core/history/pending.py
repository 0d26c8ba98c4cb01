"""Keep finished images on this machine while the database or the object store is away."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.storage.files import remove, write_atomically
from core.storage.image_writer import StoredFile

FOLDER = "pending"  # in the output folder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PendingImage:
    """A finished image that is not in the history yet: its encoded file and its record."""

    stored: StoredFile
    data: bytes
    record: Mapping[str, Any]
    record_beside: bool = False  # in a file beside the image, as it is not in the image itself

    @property
    def id(self) -> str:
        return str(self.record["id"])

    @property
    def job_id(self) -> str | None:
        job_id: str | None = self.record["job_id"]
        return job_id

    @property
    def place(self) -> int | None:
        """Return the image's index in its job, from 1."""
        place: int | None = self.record["place"]
        return place


class PendingImages:
    """Files in a folder of this machine, two for each image; they survive a restart."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / FOLDER

    def put(self, image: PendingImage) -> None:
        """Write an image durably. Raises DiskFullError, NotWritableError or StorageError."""
        write_atomically(self._folder / f"{image.id}.image", image.data)
        facts = {"stored": vars(image.stored), "record": dict(image.record), "record_beside": image.record_beside}
        write_atomically(
            self._folder / f"{image.id}.json", json.dumps(facts).encode()
        )  # last: it makes the image count

    def all(self, job_id: str | None = None) -> list[PendingImage]:
        """Return the images, of one job or of all, oldest first. Unreadable ones are left out and logged."""
        found = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                facts = json.loads(path.read_text(encoding="utf-8"))
                if job_id is not None and facts["record"]["job_id"] != job_id:
                    continue
                stored = StoredFile(**{**facts["stored"], "size": tuple(facts["stored"]["size"])})
                data = path.with_suffix(".image").read_bytes()
                found.append(PendingImage(stored, data, facts["record"], bool(facts["record_beside"])))
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.error("%s can't be read: %s", path, error)
        return found

    def places_of(self, job_id: str) -> frozenset[int]:
        """Return the indices of a job's pending images, from 1."""
        return frozenset(image.place for image in self.all(job_id) if image.place is not None)

    def remove(self, image_id: str) -> None:
        """Delete an image that is in the history now."""
        for suffix in ("json", "image"):
            remove(self._folder / f"{image_id}.{suffix}")
