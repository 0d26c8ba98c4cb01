"""Which worker gets an image, and how many workers each machine has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.cluster.transport import Node
from core.cluster.worker_pool import Candidate, best, plan, threads
from core.config.schema import AUTO

GIGA = 2**30
OPTIONS = {"model.dtype": "float32"}


def test_a_worker_that_has_the_model_is_asked_first_and_one_that_has_it_as_wanted_before_it():
    empty = Candidate("empty", memory_total=80 * GIGA, memory_free=80 * GIGA)
    other = Candidate("other", "sdxl", {}, 80 * GIGA, 70 * GIGA)
    loaded = Candidate("loaded", "demo", {"model.dtype": "bfloat16"}, 8 * GIGA, GIGA)
    as_wanted = Candidate("as wanted", "demo", OPTIONS, 8 * GIGA, GIGA // 2)
    assert best([empty, other, loaded, as_wanted], "demo", OPTIONS, GIGA) == as_wanted
    assert best([empty, other, loaded], "demo", OPTIONS, GIGA) == loaded


def test_else_the_freest_that_has_the_memory_and_none_is_refused_for_want_of_it():
    small = Candidate("small", memory_total=8 * GIGA, memory_free=8 * GIGA)
    busy = Candidate("busy", memory_total=24 * GIGA, memory_free=4 * GIGA)
    large = Candidate("large", memory_total=24 * GIGA, memory_free=20 * GIGA)
    assert best([small, busy, large], "turbo", {}, 20 * GIGA) == large
    assert best([small, busy], "turbo", {}, 20 * GIGA) == busy
    assert best([small], "turbo", {}, 20 * GIGA) == small
    assert best([small, busy], "turbo", {}, None) == small


@given(st.lists(st.tuples(st.integers(1, 64), st.integers(0, 8)), max_size=8), st.just(AUTO) | st.integers(0, 16))
def test_every_card_has_a_worker_and_only_machines_without_one_follow_the_option(machines, workers):
    nodes = [Node(str(k), str(k), cpus, gpus) for k, (cpus, gpus) in enumerate(machines)]
    planned = plan(nodes, workers)
    assert all(planned[node.id] == node.gpus for node in nodes if node.gpus)
    without = {planned[node.id] for node in nodes if not node.gpus}
    expected = workers if workers != AUTO else (0 if any(node.gpus for node in nodes) else 1)
    assert without <= {expected}


@pytest.mark.parametrize(("cpus", "workers", "each"), [(8, 2, 4), (2, 2, 1), (2, 5, 1), (8, 3, 2), (4, 0, 4)])
def test_workers_share_the_cores_of_their_machine(cpus, workers, each):
    assert threads(Node("a", "a", cpus, 0), workers) == each
