"""How a process that serves the queue begins and ends: its orders, its owner, the lock on its folder, its log."""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import threading
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path

import psutil

from core.jobs.generator_protocol import DEFAULT_GENERATOR
from core.jobs.lock import FolderLock
from core.jobs.parent_watchdog import watch_owner
from core.jobs.reasons import APP_CLOSED, ended
from core.jobs.worker_config import EXIT_LOCKED, LOCK_FILE, LOG_FILE, WorkerConfig, open_database
from core.storage.database import Database

Serve = Callable[[WorkerConfig, Database, str, threading.Event], int]  # the generator's name; set when it is to end

log = logging.getLogger(__name__)


def serve(description: str, work: Serve) -> int:
    """Read the orders, take the lock, work. The exit code is 0, or one of those that `orders` declares."""
    faulthandler.enable()
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--generator", default=DEFAULT_GENERATOR, help="module:function that builds the generator")
    arguments = parser.parse_args()
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        orders = WorkerConfig.from_line(stdin.readline())
    stopping = threading.Event()
    try:
        watch_owner(psutil.Process(orders.owner_pid), stopping)
    except psutil.NoSuchProcess:
        return 0
    lock = FolderLock(orders.output_directory / LOCK_FILE)
    if not lock.take():
        return EXIT_LOCKED
    _log_to(orders.output_directory / LOG_FILE)
    log.info("worker %s begins, pid %d", orders.worker_id, os.getpid())
    code = work(orders, open_database(orders.output_directory, orders.values), arguments.generator, stopping)
    log.info("worker %s ends: %s", orders.worker_id, (ended(code) if code else APP_CLOSED)["en"])
    return code


def _log_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(path, maxBytes=2_000_000, backupCount=2, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of every step of an update
    logging.captureWarnings(True)
