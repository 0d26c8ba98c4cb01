"""Ends this process when the app that started it is gone, so that a worker never outlives its app."""

from __future__ import annotations

import os
import threading
import time

import psutil

from core.jobs.worker_registry import is_alive

OWNER_SECONDS = 0.5  # how often the owner is looked for, should its end of stdin be held open by someone else
GRACE_SECONDS = 1.2  # to end the step or the file in hand once the app is gone


def watch_owner(owner: psutil.Process, stopping: threading.Event) -> None:
    """Start the daemon threads that end this process when the app is gone: first politely, then at once."""

    started = owner.create_time()

    def end() -> None:
        stopping.set()
        time.sleep(GRACE_SECONDS)
        os._exit(0)

    def watch_stdin() -> None:
        while os.read(0, 4096):  # not sys.stdin: its lock, held here, would make the interpreter abort at exit
            pass
        end()

    def watch_process() -> None:
        while is_alive(owner.pid, started):
            time.sleep(OWNER_SECONDS)
        end()

    for watch in (watch_stdin, watch_process):
        threading.Thread(target=watch, name=watch.__name__, daemon=True).start()
