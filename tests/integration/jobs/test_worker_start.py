"""What a worker process is started with, and what the next job learns from the one before."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from core.config.compile_cache import INDUCTOR, TRITON, cache_variables
from core.config.thread_environment import COUNT, POLICY, SPIN, SPIN_VARIABLE
from core.jobs import supervisor
from core.types import Phase
from tests.integration.jobs.harness import JobHarness, make_request


def test_a_job_knows_its_time_from_the_one_before(harness: JobHarness) -> None:
    harness.supervisor.start()
    harness.wait(harness.submit(fake_step_seconds=0.25))
    past = harness.history.seconds_of_past(make_request(fake_step_seconds=0.25))
    assert past is not None and past >= 1.0
    for changed in ({"width": 128}, {"num_inference_steps": 5}, {"cfg_scale": 2.0}, {"model": "other"}):
        assert harness.history.seconds_of_past(make_request(fake_step_seconds=0.25, **changed)) is None
    assert harness.history.seconds_of_past(make_request(fake_step_seconds=0.3)) is None, "other options, another time"
    job_id = harness.submit(num_images=2, fake_step_seconds=0.25)
    first = harness.until(job_id, lambda job: bool(job.progress and job.progress.phase is Phase.STEPS))
    assert first.progress is not None and first.progress.eta_seconds is not None
    assert first.progress.eta_seconds > past, "a whole image is still to come"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads sleep")
@pytest.mark.parametrize(("own", "told"), [(None, (SPIN, None)), ("active", (None, "active"))], ids=["spin", "own"])
@pytest.mark.by_default("sqlite-spin")
def test_threads_of_the_worker_spin_unless_the_user_says_otherwise(
    harness: JobHarness, monkeypatch: pytest.MonkeyPatch, own: str | None, told: tuple[str | None, str | None]
) -> None:
    monkeypatch.setattr(supervisor, "subprocess", subprocess)  # the environment that a process begins with is not that of a fork
    for name in (POLICY, SPIN_VARIABLE, COUNT, INDUCTOR, TRITON):  # torch sets the last two itself, once it has compiled
        monkeypatch.delenv(name, raising=False)
    if own:
        monkeypatch.setenv(POLICY, own)
    harness.supervisor.start()
    found = psutil.Process(harness.worker_pid()).environ()
    assert (found.get(SPIN_VARIABLE), found.get(POLICY)) == told
    assert {name: found[name] for name in (INDUCTOR, TRITON)} == cache_variables(harness.supervisor._settings.output_directory, {})
