"""The pool over real actors in threads: who is there, who is free, what becomes of those that go."""

import queue
import time

import pytest

from core.cluster.transport import Ended, Freed, Lost
from core.types import ResumeState
from tests.integration.jobs.harness import make_request
from tests.unit.cluster.threads import FAKE, ThreadLink, machine, running, until

JOB = ResumeState("job")


def ids(pool):
    return [worker.id for worker in pool.workers()]


def test_a_machine_that_comes_gets_workers_and_one_that_goes_takes_them_along():
    link = ThreadLink(machine("one"))
    with running(link, workers=2) as pool:
        assert [worker.node for worker in pool.workers()] == ["one", "one"]
        assert [(node.name, node.cpus) for node in pool.nodes()] == [("one", 4)]
        link.machines.append(machine("two", gpus=3))
        until(lambda: [worker.node for worker in pool.workers()].count("two") == 3)


def test_workers_are_added_and_drained_by_hand_and_a_drained_one_finishes_its_image():
    link = ThreadLink(machine())
    with running(link, workers=1) as pool:
        inbox = queue.SimpleQueue()
        first = pool.take(make_request(), "job", inbox)
        pool.generate(first, make_request(fake_step_seconds=0.05), JOB)
        pool.add("id of one")
        until(lambda: [worker.state for worker in pool.workers()] == ["busy", "idle"])
        pool.drain(first)
        assert pool.workers()[0].state == "draining" and not pool.stays(first)
        until(lambda: isinstance(inbox.get(timeout=30)[1], Ended))
        assert ids(pool)[0] == first
        pool.release(first)
        until(lambda: first not in ids(pool))
        assert len(ids(pool)) == 1
        pool.drain(ids(pool)[0])
        until(lambda: not pool.workers())


def test_a_worker_with_the_model_is_taken_before_one_without():
    link = ThreadLink(machine())
    with running(link, workers=3) as pool:
        for _ in range(4):
            inbox = queue.SimpleQueue()
            taken = pool.take(make_request(), "job", inbox)
            pool.generate(taken, make_request(), JOB)
            until(lambda inbox=inbox: isinstance(inbox.get(timeout=30)[1], Ended))
            pool.release(taken)
        assert [worker.images_hour for worker in pool.workers() if worker.model] == [4]


def test_a_worker_that_is_gone_tells_whoever_has_it_and_is_replaced():
    link = ThreadLink(machine())
    with running(link, workers=1) as pool:
        inbox = queue.SimpleQueue()
        taken = pool.take(make_request(), "job", inbox)
        pool.generate(taken, make_request(fake_step_seconds=0.2), JOB)
        link.kill(taken, pool)
        lost = until(lambda: next((said for _, said in [inbox.get(timeout=30)] if isinstance(said, Lost)), None))
        assert lost.reason["en"] == "the worker on one is gone" and "one" in lost.reason["zh"]
        until(lambda: ids(pool) not in ([], [taken]))
        assert pool.status().state in ("starting", "idle")


def test_a_worker_that_says_nothing_for_too_long_is_replaced_and_a_resting_one_is_not():
    link = ThreadLink(machine())
    with running(link, workers=2, hang=0.5) as pool:
        time.sleep(0.7)
        inbox, before = queue.SimpleQueue(), ids(pool)
        taken = pool.take(make_request(), "job", inbox)
        pool.generate(taken, make_request(fake_step_seconds=5.0), JOB)
        lost = until(lambda: next((said for _, said in [inbox.get(timeout=30)] if isinstance(said, Lost)), None))
        assert lost.reason["en"] == "no step in 0.5 s"
        assert set(before) & set(ids(pool)) == set(before) - {taken}


def test_workers_that_end_before_they_begin_are_told_of_after_some():
    link = ThreadLink(machine(), generator="tests.integration.jobs.fake_generator:build_nothing")
    with running(link, workers=1) as pool:  # it begins, for each job will say why it can't
        assert not pool.failing
        assert pool.refused is not None and "libtorch.so" in str(pool.refused.error)


def test_a_model_is_loaded_on_all_that_rest_and_given_back():
    link = ThreadLink(machine(), generator=FAKE)
    with running(link, workers=2) as pool:
        pool.load("demo", {})
        until(lambda: [worker.model for worker in pool.workers()] == ["demo", "demo"])
        assert pool.status().model == "demo"
        before = ids(pool)
        assert pool.renew() == 2
        until(lambda: len(ids(pool)) == 2 and all(worker.state == "idle" for worker in pool.workers()))
        assert not set(before) & set(ids(pool)) and pool.status().model is None


@pytest.mark.parametrize("taken", [False, True])
def test_a_worker_given_back_in_the_middle_of_a_image_stops_and_is_free_again(taken):
    link = ThreadLink(machine())
    with running(link, workers=1) as pool:
        worker = pool.take(make_request(), "job", queue.SimpleQueue())
        pool.generate(worker, make_request(fake_step_seconds=0.05, num_inference_steps=1000), JOB)
        pool.release(worker)
        until(pool.has_free)
        assert ids(pool) == [worker]


def test_what_a_model_needs_is_looked_up_only_where_it_decides():
    asked = []
    with running(ThreadLink(machine()), workers=2) as pool:
        pool._need = asked.append
        first, second = (pool.take(make_request(), "job", queue.SimpleQueue()) for _ in range(2))
        assert first and second and first != second and asked == ["demo"]
        assert pool.take(make_request(), "job", queue.SimpleQueue()) is None and asked == ["demo"]


def test_who_found_no_worker_free_is_told_once_when_there_is_one():
    with running(ThreadLink(machine()), workers=1) as pool:
        first, second = queue.SimpleQueue(), queue.SimpleQueue()
        taken = pool.take(make_request(), "a", first)
        assert [pool.take(make_request(), "b", second) for _ in range(3)] == [None] * 3
        pool.generate(taken, make_request(), JOB)
        until(lambda: isinstance(first.get(timeout=30)[1], Ended))
        assert second.empty()  # it is still in the hands of the first
        pool.release(taken)
        assert second.get(timeout=30)[1] == Freed() and second.empty()
        assert pool.take(make_request(), "b", second) == taken
