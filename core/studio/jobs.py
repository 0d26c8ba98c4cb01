"""From values to a request, into the queue, and what is done with jobs there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from core import requests
from core.batch.build import build
from core.batch.library import WildcardFiles
from core.batch.rows import read_rows
from core.config.layers import PROJECT_ROOT
from core.config.loras import uses_of
from core.studio.desk import Desk
from core.types import (
    GenerationRequest,
    Job,
    JobTerms,
    ModelInfo,
    QueueBoard,
)


class Jobs(Desk):
    """The verbs of requests and jobs."""

    def new_request(self, values: Mapping[str, Any] | None = None, source: str = "form") -> GenerationRequest:
        """A complete, checked request: `values` (by schema key or alias) over the settings over the model's defaults.

        Raises InputError naming `source` for the first value that cannot be used.
        """
        given = requests.checked(values or {}, source)
        chosen = {**self.settings.values, **given}
        return requests.build(chosen, given, self._catalog.find(chosen["model.id"]))

    def new_batch(
        self, given: bytes | str | Sequence[Any], values: Mapping[str, Any] | None = None, source: str = "batch",
        most: int | None = None, check: Callable[[GenerationRequest], None] = lambda single: None,
    ) -> GenerationRequest:  # fmt: skip
        """A complete request of many pictures: one for each line of a text, row of a CSV file or entry of a list.

        `values` are as for `new_request` and hold for what a row leaves out; wildcards are expanded here, by the seeds
        of the pictures. `check` is asked about each picture, too. Raises BatchError naming every row that can't be used;
        `source` is the file's name, or what else to call it.
        """
        base = requests.with_seed(self.new_request(values))
        model = self._catalog.find(base.model)
        if model.problem is not None:
            raise model.problem

        def check_single(single: GenerationRequest) -> None:
            self._check_single(single, model, source)
            check(single)

        limit = min(self.settings["batch.max_pictures"], most or self.settings["batch.max_pictures"])
        return build(base, read_rows(given, source), self._wildcards(), limit, check_single, source)

    def wildcards(self) -> tuple[str, ...]:
        """The names that may stand in a batch as __name__."""
        return self._wildcards().names()

    def _wildcards(self) -> WildcardFiles:
        shipped = self.settings.configs / "prompts" / "wildcards"
        return WildcardFiles(shipped, PROJECT_ROOT / str(self.settings["batch.wildcards"]))

    def submit(self, request: GenerationRequest, terms: JobTerms | None = None, most: int | None = None) -> Job:
        """Check the request, resolve seed -1 to a real one, and put it into the queue. It is durable when this returns.

        With `most`, QueueFullError when the client of `terms` has that many active jobs already.
        """
        self._check(request)
        return self._queue.add(requests.with_seed(request), terms, most)

    def _check(self, request: GenerationRequest) -> None:
        model = self._catalog.find(request.model)
        for single in request.singles() if request.pictures else (request,):
            self._check_single(single, model)
        requests.check_inputs(request, model, self._inputs.size)

    def _check_single(self, request: GenerationRequest, model: ModelInfo, source: str = "request") -> None:
        """Every field, and each LoRA that the option or the prompt names, before anything is queued."""
        requests.check(request, model, source)
        self._loras.check(uses_of(request, source), model)

    def cancel(self, job_id: str) -> Job:
        """Queued jobs are cancelled at once, running ones within one step."""
        return self._queue.request_cancel(job_id)

    def job(self, job_id: str) -> Job:
        """A snapshot; NotFoundError when there is none."""
        return self._queue.get(job_id)

    def jobs(self, limit: int = 50) -> Sequence[Job]:
        """The latest jobs, newest first."""
        return self._queue.recent(limit)

    def active_jobs(self, limit: int = 200) -> Sequence[Job]:
        """What is in work, then what waits, in the order of running."""
        return self._queue.active(limit)

    def board(self) -> QueueBoard:
        """What can still change, for looking often: it costs next to nothing while nothing has changed."""
        return self._queue.board()

    def clear_queue(self, client: str | None = None) -> int:
        """Cancel all that waits, of one client or of everyone; how many that were."""
        return self._queue.clear(client)

    def hold(self, job_id: str, held: bool) -> Job:
        """Pause a job (a running one within one step; its finished pictures are kept) or let it go on."""
        return self._queue.hold(job_id, held)

    def retry(self, job_id: str) -> Job:
        """Queue a failed or cancelled job again, for the pictures that it lacks."""
        return self._queue.retry(job_id)

    def postpone(self, job_id: str, not_before: datetime | None) -> Job:
        """Let a queued job wait until then (aware), or no longer."""
        return self._queue.postpone(job_id, not_before)

    def move(self, job_id: str, position: int) -> Job:
        """Put a queued job at this position, from 1."""
        return self._queue.move(job_id, position)

    def prioritise(self, job_id: str, priority: int) -> Job:
        """Give a queued job another priority, -100 to 100."""
        return self._queue.prioritise(job_id, priority)

    def pause_queue(self, paused: bool) -> None:
        """Let nothing new begin until the pause ends; what runs is finished."""
        self._queue.pause(paused)

    def queue_paused(self) -> bool:
        """Whether the queue is paused."""
        return self._queue.is_paused()

    def preview(self, job_id: str) -> bytes | None:
        """The latest preview of a running job, a small WebP."""
        return self._queue.preview(job_id)
