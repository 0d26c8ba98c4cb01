"""Configure, start and end a worker's process: settings, folder lock, parent watchdog, log, retry loop."""

from __future__ import annotations

import argparse
import faulthandler
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO, Any

import psutil

from core.config.options import SCHEMA
from core.config.schema import AUTO
from core.config.typed_settings import Options
from core.jobs.generator_protocol import APP_CLOSED, DEFAULT_GENERATOR, EXIT_LOCKED, ended
from core.storage.database import Database
from core.storage.files import Files
from core.storage.image_containers import OPTION, set_budget
from core.storage.object_store import open_files

DATABASE_FILE = "studio.db"
LOCK_FILE = "worker.lock"
LOG_FILE = "logs/worker.log"
OUTPUT_FILE = "logs/worker.out"  # what libraries print, and the last words of a crash


def open_database(directory: Path, values: Mapping[str, Any]) -> Database:
    """Open the database that the settings name: on a server, or the file in the output folder."""
    return Database(str(values.get("storage.database") or "") or directory / DATABASE_FILE)


def open_store(directory: Path, values: Mapping[str, Any]) -> Files:
    """Return where the settings keep images: in the output folder, or where several machines reach them; set the pixel budget.

    Raises as `open_files`.
    """
    if (pixels := values.get(OPTION)) is not None:
        set_budget(int(pixels))
    return open_files(str(values.get("storage.images") or ""), directory)


@dataclass(frozen=True)
class WorkerConfig:
    """All that a worker needs to begin: one JSON line on its stdin. Paths are absolute."""

    worker_id: str
    parent_pid: int  # the worker ends when this process is gone
    output_directory: Path
    configs: Path  # the folder with the model catalogue
    values: Mapping[str, Any]  # settings by schema key
    unloaded_from: int | None = None  # bytes of the worker before, which ended to give them back; load nothing unasked

    def to_line(self) -> str:
        """Return one line of ASCII."""
        return json.dumps({**vars(self), "values": dict(self.values)}, default=str) + "\n"

    @staticmethod
    def from_line(line: str | bytes) -> WorkerConfig:
        """Read what `to_line` wrote. ValueError or KeyError for anything else."""
        data = json.loads(line)
        return WorkerConfig(
            worker_id=data["worker_id"],
            parent_pid=data["parent_pid"],
            output_directory=Path(data["output_directory"]),
            configs=Path(data["configs"]),
            values=SCHEMA.current(data["values"]),
            unloaded_from=data["unloaded_from"],
        )


ALLOCATOR_VARIABLE = "PYTORCH_CUDA_ALLOC_CONF"


def allocator_settings(values: Mapping[str, Any], given: str = "", platform: str = sys.platform) -> str:
    """Return settings for PyTorch's CUDA allocator, such as "expandable_segments:True,max_split_size_mb:128".

    "" leaves all to PyTorch. `given` is the present value of the variable: set by the user, it wins. PyTorch reads the
    variable when it starts and never again, so it is set for the new process.
    """
    option = Options(values)
    if given:
        return given
    wanted = option.memory.expandable_segments
    expand = platform == "linux" if wanted == AUTO else wanted == "on"
    parts = {"expandable_segments": "True"} if expand else {}
    if option.memory.max_split_size_mb != AUTO:
        parts["max_split_size_mb"] = str(option.memory.max_split_size_mb)
    return ",".join(f"{name}:{value}" for name, value in parts.items())


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


_SAME_START_SECONDS = 2.0  # a stepped clock moves the start times that the system reports a little
OWNER_SECONDS = 0.5  # how often the owner is looked for, should its end of stdin be held open by someone else
GRACE_SECONDS = 1.2  # to end the step or the file in hand once the app is gone


def is_alive(pid: int, started: float) -> bool:
    """Return True if that very process runs: a reused pid has another start time, and a zombie does not run."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < _SAME_START_SECONDS
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


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
