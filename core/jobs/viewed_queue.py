"""Restrict the queue to what one viewer may see and change.

Where there are users, each sees and changes the own jobs alone. Admins also see that others have jobs, without their prompts
and images, and may cancel, pause and reorder them. Jobs whose images are in a locked collection are not listed.

A quota limits what a user may generate in an hour and keep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from core.config.options import SCHEMA
from core.errors import AdminOnlyError, NotFoundError, OptionError, QueueFullError, Text
from core.history.hidden_collections import Scope
from core.history.image_rows import OWNER
from core.i18n import localize
from core.jobs import job_rows
from core.jobs.job_rows import ENDED
from core.jobs.queue import MAX_SHOWN, JobQueue
from core.storage.database import timestamp
from core.storage.tables import image_labels, images, jobs
from core.types import USER_CLIENT, GenerationRequest, Job, JobState, QueueSnapshot, SubmitOptions, Usage

_PLAIN = ("int", "float", "bool", "choice")  # types of options that do not tell what an image shows
_OWN_PRIORITY = localize("jobs.viewed_queue.own_priority")


class ViewedQueue(JobQueue):
    """A queue with the rights of a viewer. Raises NotFoundError for jobs that are not the viewer's."""

    def __init__(self, base: JobQueue, scope: Callable[[], Scope], quota: Quota) -> None:
        """Open the queue of `base`. `scope` is asked at each call what may be seen."""
        super().__init__(base._database, prepare=lambda request: base.prepare(request))
        self._base = base
        self._scope = scope
        self._quota = quota
        self._derived: tuple[QueueSnapshot, QueueSnapshot] | None = None

    # -- submitting --------------------------------------------------------------------------------------------------

    def submit(self, request: GenerationRequest, terms: SubmitOptions | None = None, most: int | None = None) -> Job:
        """Submit as the viewer. Raises QuotaError, besides what `JobQueue.submit` raises."""
        return super().submit(request, self._own_terms(terms), most)

    def submit_all(
        self,
        requests: Sequence[GenerationRequest],
        terms: SubmitOptions | None,
        keep: Callable[[Connection, Sequence[str]], None],
        most: int | None = None,
    ) -> Sequence[Job]:
        """Submit as the viewer. Raises QuotaError, besides what `JobQueue.submit_all` raises."""
        return super().submit_all(requests, self._own_terms(terms), keep, most)

    def _own_terms(self, terms: SubmitOptions | None) -> SubmitOptions:
        terms, viewer = terms or SubmitOptions(), self._scope().viewer
        if not viewer.private:
            return terms
        self._check_priority(terms.priority)
        return replace(terms, client=viewer.client if viewer.owner else terms.client)

    def _admit(self, connection: Connection, terms: SubmitOptions, requests: Sequence[GenerationRequest]) -> None:
        if self._limited:
            self._quota.check(connection, terms.client, requests)

    def _check_priority(self, priority: int) -> None:
        if self._limited and priority > 0:
            raise OptionError(source="queue", key="priority", value=priority, allowed=_OWN_PRIORITY)

    @property
    def _limited(self) -> bool:
        """Return True for a user who is no admin."""
        viewer = self._scope().viewer
        return viewer.private and not viewer.admin

    # -- looking -----------------------------------------------------------------------------------------------------

    def get(self, job_id: str) -> Job:
        """Return a job; one of another user without prompt and images, for admins."""
        return self._shown(super().get(job_id))

    def recent(self, limit: int = 50) -> Sequence[Job]:
        """Return the latest jobs of the viewer, newest first."""
        return self._listed(limit)

    def ended(self, limit: int) -> Sequence[Job]:
        """Return jobs of the viewer that are done, failed or cancelled, the latest submitted first."""
        return self._listed(limit, jobs.c.state.in_(ENDED))

    def _listed(self, limit: int, *conditions: ColumnElement[bool]) -> Sequence[Job]:
        wanted = job_rows.select_jobs().where(*conditions, *self._own()).order_by(jobs.c.number.desc()).limit(limit)
        with self._database.reading() as connection:
            found = job_rows.read_jobs(connection, wanted)
            hidden = self._scope().jobs_with_locked_images(connection, [job.id for job in found])
        return [job for job in found if job.id not in hidden]

    def _own(self) -> list[ColumnElement[bool]]:
        """Return the conditions for jobs of the viewer, see `Viewer.owns`."""
        viewer = self._scope().viewer
        if not viewer.private:
            return []
        own = jobs.c.client == viewer.client
        return [or_(own, ~jobs.c.client.startswith(USER_CLIENT))] if viewer.admin else [own]

    def active(
        self, limit: int = MAX_SHOWN, client: str | None = None, after: str | None = None, other_than: str | None = None
    ) -> Sequence[Job]:
        """Return running and waiting jobs as `JobQueue.active`: the viewer's own ones, for admins those of others, too."""
        if self._limited:
            own = self._scope().viewer.client
            if client not in (None, own) or other_than == own:
                return []
            client, other_than = own, None
        return [self._shown(job) for job in super().active(limit, client, after, other_than)]

    def count_active(self, client: str | None = None) -> int:
        """Return the number of running and waiting jobs, of one client or of all that the viewer sees."""
        return super().count_active(self._scope().viewer.client if self._limited and client is None else client)

    def snapshot(self) -> QueueSnapshot:
        """Return the jobs that the viewer sees as one snapshot: the same object until something is written."""
        whole = self._base.snapshot()
        if not self._scope().viewer.private:
            return whole
        if self._derived is None or self._derived[0] is not whole:
            self._derived = (whole, self._derive(whole))
        return self._derived[1]

    def _derive(self, whole: QueueSnapshot) -> QueueSnapshot:
        viewer = self._scope().viewer
        if viewer.admin:
            return replace(whole, jobs=tuple(self._shown(job) for job in whole.jobs))
        if whole.total <= len(whole.jobs):
            own = tuple(job for job in whole.jobs if viewer.owns(job.client))
            return replace(whole, jobs=own, total=len(own))
        return replace(whole, jobs=tuple(self.active()), total=self.count_active())

    def preview(self, job_id: str) -> bytes | None:
        """Return the latest preview of a running job of the viewer; None for other jobs."""
        viewer = self._scope().viewer
        if viewer.private and not viewer.owns(super().get(job_id).client):
            return None
        return super().preview(job_id)

    def change_mark(self) -> object:
        """Return the mark of the queue that all viewers share."""
        return self._base.change_mark()

    def first_position(self, job: Job) -> int:
        """Return the first position that the viewer may move a waiting job to: a user's jobs do not pass those of others."""
        if not self._limited:
            return 1
        line = self._line()
        here = next((k for k, (job_id, _) in enumerate(line) if job_id == job.id), 0)
        own = self._scope().viewer.client
        before = [k for k, (_, client) in enumerate(line[:here]) if client != own]
        return before[-1] + 2 if before else 1

    def _line(self) -> list[tuple[str, str]]:
        """Return (id, client) of all queued jobs, in the order of running."""
        waiting = select(jobs.c.id, jobs.c.client).where(jobs.c.state == JobState.QUEUED)
        with self._database.reading() as connection:
            return [(row.id, row.client) for row in connection.execute(waiting.order_by(*job_rows.RUN_ORDER))]

    # -- changing ----------------------------------------------------------------------------------------------------

    def cancel(self, job_id: str) -> Job:
        """Cancel a job of the viewer; admins cancel any."""
        self._demand(job_id)
        return self._shown(super().cancel(job_id))

    def clear(self, client: str | None = None) -> int:
        """Cancel the waiting jobs of the viewer, or for admins of any client or of all. Raises AdminOnlyError."""
        if self._limited and client != self._scope().viewer.client:
            raise AdminOnlyError(action=localize("jobs.viewed_queue.clear"))
        return super().clear(client)

    def pause_job(self, job_id: str, paused: bool) -> Job:
        """Pause or resume a job of the viewer; admins any."""
        self._demand(job_id)
        return self._shown(super().pause_job(job_id, paused))

    def retry(self, job_id: str) -> Job:
        """Queue a failed or cancelled job of the viewer again. Raises QuotaError, too."""
        self._demand(job_id)
        if self._limited:
            with self._database.reading() as connection:
                self._quota.check(connection, self._scope().viewer.client, [super().get(job_id).request])
        return self._shown(super().retry(job_id))

    def move(self, job_id: str, position: int) -> Job:
        """Put a queued job at a position; OptionError where a user's job would pass one of another user."""
        self._demand(job_id)
        if self._limited and position < (first := self.first_position(super().get(job_id))):
            allowed = localize("jobs.viewed_queue.own_position", first=first)
            raise OptionError(source="queue", key="position", value=position, allowed=allowed)
        return self._shown(super().move(job_id, position))

    def prioritise(self, job_id: str, priority: int) -> Job:
        """Give a queued job another priority; OptionError above 0 for users who are no admins."""
        self._demand(job_id)
        self._check_priority(priority)
        return self._shown(super().prioritise(job_id, priority))

    def postpone(self, job_id: str, not_before: datetime | None) -> Job:
        """Let a queued job of the viewer wait until a time; admins any."""
        self._demand(job_id)
        return self._shown(super().postpone(job_id, not_before))

    def pause(self, paused: bool) -> None:
        """Pause or resume the whole queue. Raises AdminOnlyError."""
        if self._limited:
            raise AdminOnlyError(action=localize("jobs.viewed_queue.pause"))
        super().pause(paused)

    def give_back(self, given: bool) -> None:
        """Have the workers give the GPU back, or use it again. Raises AdminOnlyError."""
        if self._limited:
            raise AdminOnlyError(action=localize("jobs.viewed_queue.give_back"))
        super().give_back(given)

    # -- rights ------------------------------------------------------------------------------------------------------

    def _demand(self, job_id: str) -> None:
        """Raise NotFoundError for a job that the viewer may not change."""
        if self._limited and not self._scope().viewer.owns(super().get(job_id).client):
            raise NotFoundError(kind="job", value=job_id)

    def _shown(self, job: Job) -> Job:
        scope = self._scope()
        if not scope.viewer.owns(job.client):
            if not scope.viewer.admin:
                raise NotFoundError(kind="job", value=job.id)
            return without_content(job)
        if scope.locked and job.image_ids:
            with self._database.reading() as connection:
                if scope.jobs_with_locked_images(connection, [job.id]):
                    raise NotFoundError(kind="job", value=job.id)
        return job


def without_content(job: Job) -> Job:
    """Return a job without all that tells what its images show: prompts, seeds, inputs, LoRAs, images, preview, error."""
    request = job.request
    plain = {
        key: value if (option := SCHEMA.options.get(key)) and option.type in _PLAIN else option.default if option else ""
        for key, value in request.options.items()
    }
    bare = GenerationRequest(
        prompt="", model=request.model, width=request.width, height=request.height, seed=0, options=plain,
        num_inference_steps=request.num_inference_steps, num_images=request.num_images, cfg_scale=request.cfg_scale,
    )  # fmt: skip
    progress = job.progress and replace(job.progress, preview=None, preview_step=0, detail="")
    return replace(job, request=bare, progress=progress, image_ids=(), error=None)


WINDOW = timedelta(hours=1)
MEGAPIXEL = MEGABYTE = 1_000_000


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


_WAIT = localize("jobs.viewed_queue.wait")
_DELETE = localize("jobs.viewed_queue.delete")
