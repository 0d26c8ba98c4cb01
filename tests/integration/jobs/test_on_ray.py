"""What a Ray of this machine adds to the contract that both executors keep (test_job_life): several workers, and their ends."""

import os
import signal
import socket
import sys
from contextlib import suppress

import psutil
import pytest

from core.errors import OptionError, UnavailableError, WorkerDiedError
from core.jobs.generator_protocol import actor_gone, node_gone
from core.studio import bootstrap
from core.studio.bootstrap import build_studio
from core.types import JobState
from tests.integration.jobs.harness import JobHarness, make_settings, wait_for
from tests.options import measured

posix = pytest.mark.skipif(sys.platform == "win32", reason="kills with POSIX signals")


@pytest.fixture
def two(on_ray: JobHarness):
    """The Ray of this folder with two workers, brought about as a page does it, and with one afterwards."""
    on_ray.worker_pid()
    on_ray.supervisor.add_worker(on_ray.supervisor.status().nodes[0].id)
    resting(on_ray, 2)
    yield on_ray
    on_ray.supervisor.drain_worker(on_ray.supervisor.status().workers[-1].id)
    resting(on_ray, 1)


def resting(harness: JobHarness, count: int) -> None:
    wait_for(lambda: [worker.state for worker in harness.supervisor.status().workers] == ["idle"] * count)


@pytest.mark.option("worker.executor", "worker.ray_workers")
def test_a_job_is_spread_over_the_workers_each_image_in_its_place_and_what_they_are_is_seen(two: JobHarness) -> None:
    job_id = two.submit(num_images=6, fake_step_seconds=0.25)
    both = two.until(job_id, lambda job: bool(job.progress and job.progress.workers == 2))
    assert both.progress and both.progress.images == 6
    seen = wait_for(
        lambda: (
            (found := two.supervisor.status()).state == "busy"
            and [worker.job for worker in found.workers] == [job_id] * 2
            and found
        )
    )
    job = two.wait(job_id)
    assert job.state is JobState.DONE and job.error is None and job.crashes == 0
    records = [two.history.get(image) for image in job.image_ids]
    assert [(record.place, record.request.seed) for record in records] == [(k, 6 + k) for k in range(1, 7)]
    assert len(list(two.directory.glob(f"20*/*_{records[0].request.seed}_*.png"))) >= 1
    (node,) = seen.nodes
    assert (node.cpus, node.gpus) == (os.cpu_count(), 0)
    assert {worker.node for worker in seen.workers} == {node.name} and len({w.pid for w in seen.workers}) == 2
    measured("worker.executor", "ray: six images of one job by two workers at once, each in its place with its seed")
    measured("worker.ray_workers", f"{len(seen.workers)} workers of {len({w.pid for w in seen.workers})} processes")
    resting(two, 2)
    assert sum(worker.images_hour for worker in two.supervisor.status().workers) >= 6


@posix
@pytest.mark.slow
def test_the_job_of_a_killed_worker_is_run_again_once_and_no_image_is_made_twice(two: JobHarness) -> None:
    job_id, following = two.submit(num_images=5, fake_step_seconds=0.1), two.submit()
    two.until(job_id, lambda job: len(job.image_ids) == 2)
    victim = wait_for(lambda: next((w for w in two.supervisor.status().workers if w.job == job_id), None))
    os.kill(victim.pid, signal.SIGKILL)
    told = two.until(job_id, lambda job: job.crashes == 1)
    assert isinstance(told.error, WorkerDiedError) or told.state is JobState.RUNNING
    job = two.wait(job_id)
    assert job.state is JobState.DONE and job.error is None and job.crashes == 1
    assert [two.history.get(image).place for image in job.image_ids] == [1, 2, 3, 4, 5]
    assert two.wait(following).state is JobState.DONE
    resting(two, 2)
    assert victim.pid not in [worker.pid for worker in two.supervisor.status().workers]


@posix
def test_ray_listens_on_this_machine_only(on_ray: JobHarness) -> None:
    family = psutil.Process(on_ray.worker_pid())
    ports = []
    for process in (family, *family.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # a worker that was drained may just be ending
            ports += [one.laddr for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN]
    assert ports and {address.ip for address in ports} <= {"127.0.0.1", "::ffff:127.0.0.1"}


def test_where_ray_is_missing_the_studio_says_so_at_once(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "find_spec", lambda name: None)
    with pytest.raises(UnavailableError) as refused:
        build_studio(make_settings(tmp_path, **{"worker.executor": "ray"}))
    for language, words in (("en", "the package ray is missing"), ("zh", "缺少 ray 软件包")):
        assert words in refused.value.message(language) and "requirements-extras.txt" in refused.value.message(language)


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_said_on_every_page(tmp_path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"  # nobody listens there
        harness = JobHarness(tmp_path, **{"worker.executor": "ray", "worker.ray_address": address})
        try:
            harness.supervisor.start()
            trouble = wait_for(lambda: harness.supervisor.status().trouble)
        finally:
            harness.close()
    assert "the Ray cluster cannot be reached" in trouble.message("en") and "无法连接 Ray 集群" in trouble.message("zh")


def test_another_studio_and_a_cluster_do_not_go_together(tmp_path) -> None:
    values = {"worker.executor": "ray", "remote.url": "http://127.0.0.1:1"}
    with pytest.raises(OptionError, match=r"remote\.url"):
        build_studio(make_settings(tmp_path, **values))


def test_reasons_are_in_both_languages() -> None:
    for reason in (actor_gone("two"), node_gone("two")):
        assert "two" in reason["en"] and "two" in reason["zh"]
