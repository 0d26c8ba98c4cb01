"""Say by environment variables how the worker's threads wait for one another: OpenMP reads them once, before torch is loaded."""

from __future__ import annotations

import sys
from collections.abc import Mapping

POLICY, SPIN_VARIABLE, COUNT = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS"
SPIN = "20000"  # turns, about a millisecond; the worker switches them off while other programs are busy, see thread_spin
ASLEEP = {SPIN_VARIABLE: "0"}  # several workers that share the cores


def waiting(given: Mapping[str, str], platform: str = sys.platform) -> dict[str, str]:
    """Return what a worker is told beside the variables that are `given`; what its user has set decides.

    Threads spin where the worker can switch that off (libgomp, with a thread for each core), else they sleep.
    """
    if platform == "linux" and not any(name in given for name in (POLICY, SPIN_VARIABLE, COUNT)):
        return {SPIN_VARIABLE: SPIN}
    return {} if POLICY in given or SPIN_VARIABLE in given else {POLICY: "passive"}
