"""Start and end a process that serves the queue: configuration, folder lock, parent watchdog, log, retry loop."""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

import psutil

from core.jobs.exit_reasons import APP_CLOSED, EXIT_LOCKED, ended
from core.jobs.generator_protocol import DEFAULT_GENERATOR
from core.jobs.worker_config import LOCK_FILE, LOG_FILE, WorkerConfig, open_database
from core.jobs.worker_registry import is_alive
from core.storage.database import Database

log = logging.getLogger(__name__)

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> None:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class FolderLock:
    """An exclusive lock on a file, held until the process ends, however it ends.

    Not the package filelock: it locks with flock, which forked children (torch.compile has some) keep when the worker dies.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")

    def take(self) -> bool:
        """Return True when the lock is ours, False when another process has it."""
        try:
            _try_lock(self._file)
        except OSError:
            return False
        return True


RETRY_SECONDS = 1.0  # after a database or a disk that refused


def retry_loop(turn: Callable[[], int | None], stopping: threading.Event, trouble: str) -> int:
    """Call `turn` until it returns an exit code, or until `stopping` (0). Errors are logged as `trouble` and retried."""
    while not stopping.is_set():
        try:
            code = turn()
        except Exception:
            log.exception("%s; trying again in %g s", trouble, RETRY_SECONDS)
            stopping.wait(RETRY_SECONDS)
        else:
            if code is not None:
                return code
    return 0


OWNER_SECONDS = 0.5  # how often the owner is looked for, should its end of stdin be held open by someone else
GRACE_SECONDS = 1.2  # to end the step or the file in hand once the app is gone


def watch_parent(owner: psutil.Process, stopping: threading.Event) -> None:
    """Start daemon threads that end this process when the app is gone: first by `stopping`, then at once."""

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


Serve = Callable[[WorkerConfig, Database, str, threading.Event], int]  # the generator's name; set when it is to end


def serve(description: str, work: Serve) -> int:
    """Read the configuration, take the lock, work. Return 0 or one of the exit codes of `exit_reasons`."""
    faulthandler.enable()
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--generator", default=DEFAULT_GENERATOR, help="module:function that builds the generator")
    arguments = parser.parse_args()
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        config = WorkerConfig.from_line(stdin.readline())
    stopping = threading.Event()
    try:
        watch_parent(psutil.Process(config.parent_pid), stopping)
    except psutil.NoSuchProcess:
        return 0
    lock = FolderLock(config.output_directory / LOCK_FILE)
    if not lock.take():
        return EXIT_LOCKED
    _log_to(config.output_directory / LOG_FILE)
    log.info("worker %s begins, pid %d", config.worker_id, os.getpid())
    code = work(config, open_database(config.output_directory, config.values), arguments.generator, stopping)
    log.info("worker %s ends: %s", config.worker_id, (ended(code) if code else APP_CLOSED)["en"])
    return code


def _log_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(path, maxBytes=2_000_000, backupCount=2, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of every step of an update
    logging.captureWarnings(True)
