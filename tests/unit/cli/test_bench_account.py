"""Processor time by what used it."""

import os
import subprocess
import sys
import time

import pytest

from core.bench.executors import COMMAND, OTHERS, RAY, Account

BURN = """import sys, time
sys.stdin.readline()
began = time.process_time()
while time.process_time() - began < {}: pass
print(flush=True)
sys.stdin.read()"""


def burning(seconds: float) -> subprocess.Popen[bytes]:
    """A process that, once told to, uses the processor for so long, and then waits for its end."""
    command = [sys.executable, "-c", BURN.format(seconds)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)


def test_each_process_counts_for_its_role_and_those_without_one_for_ray() -> None:
    both = burning(0.4), burning(0.3)
    account = Account(lambda: {both[0].pid: "workers"})
    account.open()
    try:
        for process in both:
            assert process.stdin and process.stdin.write(b"\n")
        for process in both:
            assert process.stdout and process.stdout.readline()
        until = time.process_time() + 0.2
        while time.process_time() < until:
            pass
        account.close()
    finally:
        for process in both:
            process.communicate()
    assert 0.37 <= account.used["workers"] <= 0.6 and 0.27 <= account.used[RAY] <= 0.5
    assert 0.15 <= account.used[COMMAND] <= 0.5 and account.used[OTHERS] >= 0.0
    assert account.own() == pytest.approx(sum(account.used[role] for role in ("workers", RAY, COMMAND)))
    whole = account.wall * (os.cpu_count() or 1)
    assert account.shares() == {role: round(seconds / whole, 4) for role, seconds in account.used.items()}
