"""Let the threads of torch spin while they wait for one another, but sleep while another program wants the cores.

Asleep, each of the thousands of short operations of a small image waits for threads to wake up; spinning beside a busy
program, they take its turns and lose their own. libgomp reads how long threads spin once, when it is loaded (GOMP_SPINCOUNT),
yet they hardly spin while the process has more threads in teams than there are cores. So the switch is one more team, which
does nothing, kept for as long as others are busy. Pixels do not depend on it.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable

import psutil
import torch

from core.config.thread_environment import SPIN, SPIN_VARIABLE

LOOK_SECONDS = 0.1
ASLEEP_SECONDS = 0.05  # between two looks while the threads sleep: a job of a second shall not sleep for long
LOOKS = 5  # whose mean counts before the threads sleep: others are busy for moments all the time, the app's server among them
BUSY_CORES = 0.5  # taken by others: then the threads sleep
FREE_CORES = 0.25  # and below that, once, they spin again
MOST_TEAMS = 4

log = logging.getLogger(__name__)


class OthersLoad:
    """How many cores other programs took between two calls."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._last = self._times()

    def __call__(self) -> float:
        last, self._last = self._last, self._times()
        seconds, busy, own = (now - before for now, before in zip(self._last, last, strict=True))
        return max(0.0, busy - own) / seconds if seconds > 0 else 0.0

    def _times(self) -> tuple[float, float, float]:
        """Return the seconds of the clock, of all that the cores did, and of this process."""
        whole, own = psutil.cpu_times(), self._process.cpu_times()
        idle = whole.idle + getattr(whole, "iowait", 0.0) + getattr(whole, "guest", 0.0) + getattr(whole, "guest_nice", 0.0)
        return time.monotonic(), sum(whole) - idle, own.user + own.system


class Teams:
    """Threads with a team each, which does nothing, so that there are more threads in teams than cores."""

    def __init__(self) -> None:
        threads, cores = torch.get_num_threads(), len(os.sched_getaffinity(0))
        self._count = min(MOST_TEAMS, max(1, math.ceil((cores + 1 - threads) / max(1, threads - 1))))
        self._ended: threading.Event | None = None

    @property
    def kept(self) -> bool:
        """Return whether there are any."""
        return self._ended is not None

    def keep(self) -> None:
        """Begin them."""
        if self._ended is None:
            self._ended = threading.Event()
            for _ in range(self._count):
                threading.Thread(target=_keep_team, args=(self._ended,), name="idle-team", daemon=True).start()

    def end(self) -> None:
        """End them."""
        if self._ended is not None:
            self._ended.set()
            self._ended = None


def _keep_team(ended: threading.Event) -> None:
    torch.ones(1 << 18).add_(1)  # enough for a team
    ended.wait()


class SpinSwitch:
    """Look at what other programs do, and have the threads sleep or spin."""

    def __init__(self, load: Callable[[], float], teams: Teams) -> None:
        self._load = load
        self._teams = teams
        self._seen = deque[float](maxlen=LOOKS)  # since the threads spin
        teams.keep()  # until the first look

    def look(self) -> None:
        """Look once."""
        cores = self._load()
        if self._teams.kept:
            if cores < FREE_CORES:
                self._teams.end()
            return
        self._seen.append(cores)
        if len(self._seen) == LOOKS and sum(self._seen) / LOOKS > BUSY_CORES:
            self._teams.keep()
            self._seen.clear()

    def run(self) -> None:
        """Look for as long as the process lives."""
        while True:
            time.sleep(ASLEEP_SECONDS if self._teams.kept else LOOK_SECONDS)
            try:
                self.look()
            except (OSError, psutil.Error):
                log.warning("what other programs do can't be read: the threads stay as they are", exc_info=True)
                return


def start() -> None:
    """Start the switch in this process, if it was told to spin by the studio, not by its user, and has threads that wait."""
    if os.environ.get(SPIN_VARIABLE) == SPIN and torch.get_num_threads() > 1:
        switch = SpinSwitch(OthersLoad(), Teams())
        threading.Thread(target=switch.run, name="spin-switch", daemon=True).start()
