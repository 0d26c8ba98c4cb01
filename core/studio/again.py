"""A picture made again: the same, and compared with the first; or over the values of an option."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from core import reproduction, requests
from core.errors import (
    OptionError,
)
from core.studio.jobs import Jobs
from core.studio.pictures import Pictures
from core.types import (
    Axis,
    Change,
    GenerationRequest,
    Sheet,
    Verdict,
)

MAX_CELLS = 100  # pictures of one sweep


class Again(Jobs, Pictures):
    """The verbs of second makings."""

    def expected_changes(self, image_id: str) -> tuple[Change, ...]:
        """Why a second making would not be identical, as far as it can be known before it. UnknownModelError when there is none."""
        record = self.image(image_id)
        known = self._catalog.conditions(record.request.model)
        return reproduction.expected(record, known, self._worker.status())

    def verdict(self, image_id: str, again: str) -> Verdict:
        """A picture and its second making, pixel by pixel, with the reasons of a difference."""
        return reproduction.judged(self.image(image_id), self.image(again), self.difference(image_id, again))

    def sweep(self, image_id: str, axes: Sequence[Axis]) -> Sheet:
        """Draw a picture again for every value of one axis, or for every pair of values of two, each as a job.

        Raises InputError before anything is queued when a value can't be used or the cells are too many.
        """
        cells = list(product(*(axis.values for axis in reversed(axes))))
        if not 1 <= len(axes) <= 2 or not 1 <= len(cells) <= MAX_CELLS:
            allowed = {"en": f"1 - {MAX_CELLS}, on one axis or two", "zh": f"1 - {MAX_CELLS}，一个或两个轴"}
            raise OptionError(source="sweep", key="cells", came=len(cells), allowed=allowed)
        request = self.image(image_id).request
        singles: list[GenerationRequest] = []
        for cell in cells:
            values = {axis.key: value for axis, value in zip(reversed(axes), cell, strict=True)}
            singles.append(requests.with_values(request, values))
            self._check_single(singles[-1], self._catalog.find(request.model), "sweep")
        return self._sheets.add(image_id, axes, [self.submit(single).id for single in singles])

    def sheet(self, sheet_id: str) -> Sheet:
        """A sweep; NotFoundError when there is none."""
        return self._sheets.get(sheet_id)

    def sheet_file(self, sheet_id: str) -> Path:
        """The contact sheet; NotFoundError until the last of its jobs has ended."""
        return self._sheets.file(sheet_id)
