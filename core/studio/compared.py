"""Models and settings compared: stored with their jobs, asked about, voted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from core.demo.reader import Obedience, obedience
from core.storage.records import new_id
from core.studio.jobs import Jobs
from core.studio.pictures import Pictures
from core.types import Column, Comparison, GenerationRequest, JobTerms, Vote


class Compared(Jobs, Pictures):
    """The verbs of comparisons; what is asked for and what is measured is in core.comparison."""

    def compare(
        self,
        columns: Sequence[Column],
        wanted: Sequence[GenerationRequest],
        order: Sequence[int],
        terms: JobTerms | None = None,
        most: int | None = None,
    ) -> Comparison:
        """Queue the requests of these columns, one each, in this order.

        The comparison and all its jobs are on disk when this returns, or none of it. Raises InputError or ModelError
        before that for what can't be drawn. With `most`, QueueFullError when the client would have more active jobs.
        """
        for request in wanted:
            self._check(request)
        created_at = datetime.now(UTC)
        cells = [(own["prompt"], own["seed"]) for own in wanted[0].pictures]
        prompts, seeds = (tuple(dict.fromkeys(cell[k] for cell in cells)) for k in (0, 1))
        comparison = Comparison(new_id(created_at), created_at, tuple(columns), prompts, seeds)

        def keep(connection: Any, ids: Sequence[str]) -> None:
            jobs = dict(zip(order, ids, strict=True))
            placed = tuple(replace(column, job=jobs[k]) for k, column in enumerate(columns))
            self._comparisons.put(connection, replace(comparison, columns=placed))

        self._queue.add_all([wanted[k] for k in order], terms, keep, most)
        return self.comparison(comparison.id)

    def comparison(self, comparison_id: str) -> Comparison:
        """A comparison; NotFoundError when there is none."""
        return self._comparisons.get(comparison_id)

    def comparisons(self, limit: int = 50) -> Sequence[Comparison]:
        """The latest, newest first."""
        return self._comparisons.recent(limit)

    def forget_comparison(self, comparison_id: str) -> None:
        """Delete a comparison and its votes; its pictures stay in the history."""
        self._comparisons.forget(comparison_id)

    def vote(self, comparison_id: str, vote: Vote) -> None:
        """Keep a vote about two pictures of a comparison; a second one by the same voter replaces it."""
        self._comparisons.vote(comparison_id, vote)

    def votes(self, comparison_id: str) -> Sequence[Vote]:
        """All votes about a comparison."""
        return self._comparisons.votes(comparison_id)

    def obedience(self, image_id: str) -> Obedience | None:
        """How much of what its prompt names a picture of the embedded model shows; None: nothing of that world is named."""
        return obedience(self.image_file(image_id), self.image(image_id).request.prompt)
