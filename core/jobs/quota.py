"""Limit what one user may generate: images and pixels an hour, and space on the disk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, and_, func, or_, select

from core.errors import QueueFullError, Text
from core.history.image_rows import OWNER
from core.i18n import localize
from core.jobs import job_rows
from core.storage.database import timestamp
from core.storage.tables import image_labels, images, jobs
from core.types import USER_CLIENT, GenerationRequest, Usage

WINDOW = timedelta(hours=1)
MEGAPIXEL, MEGABYTE = 1_000_000, 1 << 20


class QuotaError(QueueFullError):
    """A user would have generated more than a user may."""

    key: str
    used: float
    asked: float
    cure: Text


@dataclass(frozen=True)
class Quota:
    """The limits of each user; 0 = none. Admins have no quota."""

    images_per_hour: int = 0
    megapixels_per_hour: int = 0
    disk_mb: int = 0

    def check(self, connection: Connection, client: str, adding: Iterable[GenerationRequest]) -> None:
        """Raise QuotaError when a user would have more with these requests.

        Images count while their job waits or runs, and for an hour after it has ended.
        """
        if not (self.images_per_hour or self.megapixels_per_hour or self.disk_mb):
            return
        added = [single for request in adding for single in request.per_image_requests()]
        if self.images_per_hour or self.megapixels_per_hour:
            known = _of_last_hour(connection, client)
            _demand("quota.images_per_hour", self.images_per_hour, len(known), len(added))
            _demand("quota.megapixels_per_hour", self.megapixels_per_hour, _megapixels(known), _megapixels(added))
        if self.disk_mb:
            used = _stored(connection, client).get(client, (0, 0))[1] / MEGABYTE
            if used >= self.disk_mb:
                raise QuotaError(key="quota.disk_mb", used=round(used), asked=len(added), allowed=self.disk_mb, cure=_DELETE)


def use_of(connection: Connection, client: str) -> Usage:
    """Return how much a user has generated."""
    recent = _of_last_hour(connection, client)
    stored = _stored(connection, client).get(client, (0, 0))
    return Usage(stored[0], stored[1], len(recent), round(_megapixels(recent), 2))


def uses(connection: Connection) -> dict[str, Usage]:
    """Return how much each user has generated, by client: of all that have images or jobs."""
    known = set(_stored(connection))
    known.update(connection.scalars(select(jobs.c.client).where(jobs.c.client.startswith(USER_CLIENT)).distinct()))
    return {client: use_of(connection, client) for client in sorted(known)}


def _stored(connection: Connection, client: str | None = None) -> dict[str, tuple[int, int]]:
    """Return (images, bytes) by owner."""
    labelled = image_labels.join(images, images.c.number == image_labels.c.number)
    columns = image_labels.c.name, func.count().label("n"), func.sum(images.c.bytes).label("size")
    wanted = select(*columns).select_from(labelled).where(image_labels.c.kind == OWNER).group_by(image_labels.c.name)
    if client is not None:
        wanted = wanted.where(image_labels.c.name == client)
    return {row.name: (int(row.n), int(row.size)) for row in connection.execute(wanted)}


def _of_last_hour(connection: Connection, client: str) -> list[GenerationRequest]:
    """Return the images, as single requests, of a user's jobs that are active or ended within the last hour."""
    ended = and_(jobs.c.finished_at >= timestamp(datetime.now(UTC) - WINDOW), jobs.c.started_at.is_not(None))
    wanted = job_rows.select_jobs().where(
        jobs.c.client == client, or_(jobs.c.state.in_(job_rows.ACTIVE), ended)
    )
    found = job_rows.read_jobs(connection, wanted)
    return [single for job in found for single in job.request.per_image_requests()]


def _megapixels(singles: Iterable[GenerationRequest]) -> float:
    return sum(single.width * single.height for single in singles) / MEGAPIXEL


def _demand(key: str, allowed: int, used: float, asked: float) -> None:
    if allowed and used + asked > allowed:
        raise QuotaError(key=key, used=round(used, 1), asked=round(asked, 1), allowed=allowed, cure=_WAIT)


_WAIT = localize("jobs.quota.wait")
_DELETE = localize("jobs.quota.delete")
