"""A worker in this process that runs the next job and kills itself at one seam of saving its second image."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.errors import SharedStorageError
from core.history import store
from core.history.store import History
from core.jobs.generator_protocol import LazyGenerator
from core.jobs.runner import JobRunner
from core.jobs.worker_process import open_database
from core.storage.files import LocalFiles
from tests.integration.jobs.fake_generator import FakeGenerator

WORKER = "killed"
IMAGE = 2  # of the job


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hold(*_: object) -> None:
    threading.Event().wait()


def is_second(prepared: Any) -> bool:
    return bool(getattr(prepared, "place", None) == IMAGE)


def after(owner: Any, name: str, then: Callable[..., object], concerns: Callable[..., bool]) -> None:
    """Call `then` after a method or function of `owner` whose arguments or result it concerns."""
    real = getattr(owner, name)

    def call(*arguments: Any, **named: Any) -> Any:
        result = real(*arguments, **named)
        if concerns(result, *arguments):
            then()
        return result

    setattr(owner, name, call)


def die_in_third_image() -> None:
    after(FakeGenerator, "_draw", die, lambda _result, _self, _single, k, *_rest: k == IMAGE + 1)


def prepared() -> None:
    """Encoded; nothing of it is written."""
    after(History, "prepare", die, lambda result, *_: is_second(result))


def file_written() -> None:
    """The file is there, the row is not committed."""
    after(store.image_rows, "put", die, lambda _result, _connection, record, *_: is_second(record))


def row_written() -> None:
    """All of it is there, and the next image has not been told so."""
    after(History, "commit", die, lambda _result, _self, image, *_: is_second(image))


def next_before_file() -> None:
    """The third image is made before anything of the second one is written."""
    after(History, "prepare", hold, lambda result, *_: is_second(result))
    die_in_third_image()


def next_before_row() -> None:
    """The third image is made while the second one has a file and no row."""
    count = iter(range(1, 10))
    after(LocalFiles, "write", hold, lambda *_: next(count) == IMAGE)
    die_in_third_image()


def store_away() -> None:
    def refuse(*_: object) -> None:
        raise SharedStorageError(path="s3://there", detail="away")

    count, write = iter(range(1, 10)), LocalFiles.write
    LocalFiles.write = lambda *arguments, **named: (  # type: ignore[method-assign]
        refuse() if next(count) >= IMAGE else write(*arguments, **named)
    )


def half_pending() -> None:
    """The store is away: the image is kept here, without its record."""
    store_away()
    after(store, "write_atomically", die, lambda _result, path, _data: path.suffix == ".image")


def next_while_pending() -> None:
    """The store is away: the second image is kept here and the third one is made."""
    store_away()
    die_in_third_image()


SEAMS = (prepared, file_written, row_written, next_before_file, next_before_row, half_pending, next_while_pending)

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    {seam.__name__: seam for seam in SEAMS}[sys.argv[2]]()
    database = open_database(folder, {"storage.database": ""})
    JobRunner(WORKER, database, folder, LazyGenerator(FakeGenerator), lambda state: None, threading.Event()).run_next()
