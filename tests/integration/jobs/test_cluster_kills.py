"""Two machines of a Ray cluster, here two nodes on loopback: workers, a machine and the dispatcher are killed at any moment."""

import os
import random
import secrets
import sys
import time
from collections import Counter
from contextlib import suppress

import psutil
import pytest

from core.types import HistoryQuery, JobState
from tests.integration.jobs.harness import JobHarness, wait_for
from tests.integration.jobs.test_kills import active_or_parked
from tests.options import measured

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="kills with POSIX signals"),
    pytest.mark.timeout(2400),
]
NODE = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 100 * 2**20}


class Ground:
    """The cluster: a head that stays, as the app's own machine does, and a second machine that may go and come."""

    def __init__(self) -> None:
        os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(True, head_node_args={**NODE, "include_dashboard": False, "node_name": "first"})
        self.second = self.add()

    def add(self):
        return self.cluster.add_node(**NODE, node_name="second")

    def lose_machine(self) -> None:
        """The second machine goes as if its plug was pulled, and another comes in its place."""
        self.cluster.remove_node(self.second, allow_graceful=False)
        self.second = self.add()

    def close(self) -> None:
        self.cluster.shutdown()


@pytest.fixture(scope="module")
def ground():
    ground = Ground()
    yield ground
    ground.close()


@pytest.fixture
def clustered(ground, tmp_path):
    values = {"worker.executor": "ray", "worker.ray_workers": 1, "worker.ray_address": ground.cluster.address}
    harness = JobHarness(tmp_path, **values)
    harness.supervisor.start()
    yield harness
    harness.close()


@pytest.mark.option("worker.ray_address")
def test_the_workers_are_on_the_machines_of_the_cluster_that_was_named(clustered: JobHarness) -> None:
    wait_for(lambda: [worker.state for worker in clustered.supervisor.status().workers] == ["idle", "idle"])
    status = clustered.supervisor.status()
    assert {node.name for node in status.nodes} == {"first", "second"} == {worker.node for worker in status.workers}
    job = clustered.wait(clustered.submit(num_images=4, fake_step_seconds=0.05))
    assert job.state is JobState.DONE and len(job.image_ids) == 4
    measured("worker.ray_address", "a cluster of two machines: a worker on each, four images by both")


def kill(victim: str, harness: JobHarness, ground: Ground, dice: random.Random) -> None:
    if victim == "machine":
        ground.lose_machine()
        return
    status = harness.supervisor.status()
    pids = [status.pid] if victim == "dispatcher" else [worker.pid for worker in status.workers if worker.pid]
    with suppress(psutil.NoSuchProcess, IndexError):
        psutil.Process(dice.choice(pids)).kill()


@pytest.mark.parametrize(("jobs", "kills"), [(70, 50)])
def test_after_any_kills_there_are_exactly_the_images_asked_for(
    clustered: JobHarness, ground: Ground, jobs: int, kills: int
) -> None:
    harness, dice, hits, parked = clustered, random.Random(20_261_125), Counter[str](), Counter[str]()
    asked = {
        harness.submit(num_images=count, seed=1000 * k, fake_step_seconds=0.15): count
        for k, count in enumerate(dice.choices((1, 2, 4, 6), k=jobs), start=1)
    }
    for _ in range(kills):
        wait_for(lambda: harness.queue.busy_workers() or not active_or_parked(harness, asked, parked))
        time.sleep(dice.uniform(0.0, 2.0))
        victim = dice.choices(("worker", "machine", "dispatcher"), (3, 2, 1))[0]
        hits[victim] += 1
        hits["in mid job"] += bool(harness.queue.busy_workers())
        kill(victim, harness, ground, dice)
    while active_or_parked(harness, asked, parked):
        time.sleep(0.1)
    made = [harness.queue.get(job_id) for job_id in asked]
    print(dict(hits), f"crashes {sum(job.crashes for job in made)}, parked and retried {len(parked)}")
    assert {job.state for job in made} == {JobState.DONE}
    seeds = [[harness.history.get(image).request.seed for image in job.image_ids] for job in made]
    assert seeds == [[1000 * k + n for n in range(count)] for k, count in enumerate(asked.values(), start=1)]
    harness.history.reconcile()
    page = harness.history.search(HistoryQuery(limit=500))
    files = {path.relative_to(harness.directory).as_posix() for path in harness.directory.glob("20*/*.png")}
    assert page.total == sum(asked.values()) == len(files)
    assert {record.file for record in page.records} == files and not any(record.missing for record in page.records)
