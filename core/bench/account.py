"""Measure what the processor did while images were generated: seconds by what used them.

A clock tells how long a thing took on a machine that may have had other work; processor time tells what the thing itself
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

COMMAND = "this command"
OTHERS = "other programs"
RAY = "Ray itself"
Roles = Callable[[], Mapping[int, str]]  # what the processes are called, by pid; those that are none of them are Ray's


@dataclass
class Account:
    """Adds up wall time, and processor time by role, between each `open` and `close`."""

    roles: Roles
    wall: float = 0.0
    used: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _before: tuple[float, float, Mapping[int, float]] = (0.0, 0.0, {})

    def open(self) -> None:
        """Start counting."""
        self._before = time.perf_counter(), _busy(), _own()

    def close(self) -> None:
        """Stop counting. Processes that ended meanwhile are not counted."""
        began, busy, own = self._before
        self.wall += time.perf_counter() - began
        ours, roles = 0.0, {**self.roles(), os.getpid(): COMMAND}
        for pid, seconds in _own().items():
            took = seconds - own.get(pid, 0.0)
            self.used[roles.get(pid, RAY)] += took
            ours += took
        self.used[OTHERS] += max(0.0, _busy() - busy - ours)

    def shares(self) -> dict[str, float]:
        """Return the share of all cores that each role used, 0 to 1."""
        whole = self.wall * (os.cpu_count() or 1)
        return {role: round(seconds / whole, 4) for role, seconds in self.used.items() if whole}

    def own(self) -> float:
        """Return processor seconds without those of other programs."""
        return sum(seconds for role, seconds in self.used.items() if role != OTHERS)


def _own() -> dict[int, float]:
    """Return seconds of the processor that this process and all below it have used, by pid."""
    me, found = psutil.Process(), {}
    for process in (me, *me.children(recursive=True)):
        with suppress(psutil.Error):
            times = process.cpu_times()
            found[process.pid] = times.user + times.system
    return found


def _busy() -> float:
    """Return seconds that all cores together were not idle; what the host took of a virtual machine is among them."""
    times = psutil.cpu_times()
    rest = sum(getattr(times, name, 0.0) for name in ("nice", "irq", "softirq", "steal"))
    return float(times.user + times.system + rest)
