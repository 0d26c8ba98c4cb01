"""Measure how fast a device multiplies matrices: `python -m core.inference.calibration cuda bfloat16` prints operations a second.

A process of its own, as whoever asks does not load torch.
"""

from __future__ import annotations

import sys
import time

SECONDS = 1.0  # of measuring, after a warm-up
SIDE = {"cpu": 1024, "cuda": 8192, "mps": 4096}


def operations_a_second(device: str, dtype: str, seconds: float = SECONDS) -> float:
    """Return the operations a second of square matrix products, repeated for `seconds`."""
    import torch

    side = SIDE[device]
    one = torch.randn(side, side, device=device).to(getattr(torch, dtype))
    wait = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(device, lambda: None)
    best, until = 0.0, 0.0
    while not until or time.perf_counter() < until:
        began = time.perf_counter()
        torch.mm(one, one)
        wait()
        now = time.perf_counter()
        until = until or now + seconds  # the first product is the warm-up
        best = max(best, 2.0 * side**3 / (now - began))
    return best


if __name__ == "__main__":
    print(operations_a_second(sys.argv[1], sys.argv[2]))
