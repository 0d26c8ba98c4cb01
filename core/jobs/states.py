"""The life of a job, as data: which state may follow which.

queued -> loading -> running -> done
 ^ |         |          |
 | `---------+----------+----> cancelled | failed
 |           |          |           |
 `-----------+----------+-----------'  interrupted, paused; retried

"""

from __future__ import annotations

from collections.abc import Mapping

from core.types import JobState

TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.LOADING, JobState.CANCELLED, JobState.FAILED}),
    JobState.LOADING: frozenset(
        {JobState.LOADING, JobState.RUNNING, JobState.QUEUED, JobState.CANCELLED, JobState.FAILED}
    ),
    JobState.RUNNING: frozenset(
        {JobState.RUNNING, JobState.QUEUED, JobState.DONE, JobState.CANCELLED, JobState.FAILED}
    ),
    JobState.DONE: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
}

IN_WORK = (JobState.LOADING, JobState.RUNNING)  # a worker holds the job
ACTIVE = (JobState.QUEUED, *IN_WORK)
ENDED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


class IllegalTransition(RuntimeError):
    """A mistake in our own code: the job can't go from its state to the one asked for."""


def check_transition(job_id: str, present: JobState, following: JobState) -> None:
    """Raise IllegalTransition unless `following` may come after `present`."""
    if following not in TRANSITIONS[present]:
        allowed = ", ".join(sorted(TRANSITIONS[present])) or "nothing"
        raise IllegalTransition(f"job {job_id} is {present}; {following} was asked for, allowed: {allowed}")
