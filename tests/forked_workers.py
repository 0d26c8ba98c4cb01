"""Worker processes with the fake generator, forked from one that has imported all they need: a second of CPU less for each."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from types import ModuleType, SimpleNamespace
from typing import IO, Any

from core.jobs import supervisor, worker
from core.jobs.worker_process import serve

FAKES = "tests.integration.jobs.fake_generator"  # generators of this module need no torch
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["core.jobs.worker", FAKES, __name__])
_GUARD = threading.Lock()  # multiprocessing looks at all of its processes whenever it starts one


class ForkedWorker:
    """What the supervisor uses of `subprocess.Popen`."""

    def __init__(self, command: list[str], env: Mapping[str, str], stdout: IO[bytes], **others: Any) -> None:
        reader, writer = _CONTEXT.Pipe(duplex=False)
        self.stdin = os.fdopen(os.dup(writer.fileno()), "wb")
        writer.close()
        self.returncode: int | None = None
        self._process = _CONTEXT.Process(target=_serve, args=(command, dict(env), reader, stdout.name), daemon=True)
        with _GUARD, _no_main():
            self._process.start()
        reader.close()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return its exit code, None while it runs."""
        with _GUARD:
            self._process.join(0)
            self.returncode = self._process.exitcode
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code; raises TimeoutExpired after `timeout` seconds."""
        wait([self._process.sentinel], timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("worker", timeout or 0.0)
        return code

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()


@contextmanager
def _no_main() -> Iterator[None]:
    """Hide `__main__` from multiprocessing, whose new process would run it first: a test of a page leaves its script there."""
    present = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = present


def _serve(command: list[str], environment: dict[str, str], stdin: Connection, output: str) -> None:
    """Become the worker that `command` starts."""
    os.setsid()
    os.dup2(stdin.fileno(), 0)
    stdin.close()
    written = os.open(output, os.O_WRONLY | os.O_APPEND)
    os.dup2(written, 1)
    os.dup2(written, 2)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = command[2:]
    sys.exit(serve("", worker._work))


def popen(command: list[str], **given: Any) -> ForkedWorker | subprocess.Popen[bytes]:
    """Start the process that the supervisor asks for."""
    if command[2] == worker.__name__ and command[-1].startswith(FAKES):
        return ForkedWorker(command, **given)
    return subprocess.Popen(command, **given)


PROCESSES = SimpleNamespace(**{**vars(subprocess), "Popen": popen})


def fork_workers() -> None:
    """Let supervisors of this process fork workers with the fake generator, where the system can."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        supervisor.subprocess = PROCESSES  # type: ignore[assignment]
