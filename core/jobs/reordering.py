"""The order of the waiting jobs, as plain lists."""

from __future__ import annotations

from collections.abc import Sequence

Ranked = tuple[str, int, int]  # id, priority, place


def moved(line: Sequence[Ranked], job_id: str, position: int) -> list[Ranked]:
    """What changes when a job of `line` (in the order of running) is put at `position` (from 1; beyond the ends: there).

    The job keeps its priority as far as its new neighbours allow. The places that there are go round among the jobs,
    so that they stay unique and later arrivals stay behind.
    """
    mover = next(entry for entry in line if entry[0] == job_id)
    rest = [entry for entry in line if entry[0] != job_id]
    at = min(max(position - 1, 0), len(rest))
    highest = rest[at - 1][1] if at > 0 else None
    lowest = rest[at][1] if at < len(rest) else None
    priority = mover[1] if lowest is None else max(mover[1], lowest)
    priority = priority if highest is None else min(priority, highest)
    order = [*rest[:at], (job_id, priority, mover[2]), *rest[at:]]
    places = sorted(place for _, _, place in line)
    new = [(name, rank, place) for (name, rank, _), place in zip(order, places, strict=True)]
    return [entry for entry in new if entry not in line]
