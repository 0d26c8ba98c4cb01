"""Threads that wait: spinning alone, asleep beside other programs, and as their user says where he says it."""

from __future__ import annotations

import threading

import psutil
import pytest

from core.config.thread_environment import SPIN, waiting
from core.inference.thread_spin import OthersLoad, SpinSwitch, Teams


@pytest.mark.parametrize(
    ("given", "platform", "told"),
    [
        ({}, "linux", {"GOMP_SPINCOUNT": SPIN}),
        ({}, "darwin", {"OMP_WAIT_POLICY": "passive"}),
        ({"OMP_NUM_THREADS": "2"}, "linux", {"OMP_WAIT_POLICY": "passive"}),
        ({"OMP_WAIT_POLICY": "active"}, "linux", {}),
        ({"GOMP_SPINCOUNT": "5"}, "linux", {}),
    ],
)
def test_what_a_worker_is_told(given: dict[str, str], platform: str, told: dict[str, str]) -> None:
    assert waiting(given, platform) == told


def test_the_threads_sleep_while_others_are_busy() -> None:
    momentary, busy = [1.5, 0.0, 0.0, 0.0, 0.9], [0.6] * 5
    loads = iter([0.3, 0.1, *momentary, *busy, 0.4, 0.1])
    teams = Teams()
    switch = SpinSwitch(lambda: next(loads), teams)
    assert teams.kept, "asleep until the first look"
    kept = []
    for _ in range(14):
        switch.look()
        kept.append(teams.kept)
    spins = kept[1:9]
    assert kept[0] and not any(spins), "they spin once others take little, and while those are busy for moments"
    assert all(kept[9:13]) and not kept[13], "above a mean of the limit they sleep, for as long as others take more than little"


def test_teams_that_have_ended_leave_no_thread() -> None:
    def running() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "idle-team"]

    teams = Teams()
    teams.keep()
    begun = running()
    assert begun
    teams.end()
    for thread in begun:
        thread.join(60)
    assert not any(thread.is_alive() for thread in begun)


def test_the_load_of_others_leaves_out_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([(0.0, 0.0, 0.0), (2.0, 3.0, 2.0), (4.0, 6.0, 2.0), (4.0, 6.0, 2.0)])
    monkeypatch.setattr(OthersLoad, "_times", lambda load: next(times))
    load = OthersLoad()
    assert (load(), load(), load()) == (0.5, 1.5, 0.0)


def test_times_are_those_of_this_process() -> None:
    seconds, busy, own = OthersLoad()._times()
    assert seconds > 0 and busy > 0 and own <= sum(psutil.Process().cpu_times()[:2])
