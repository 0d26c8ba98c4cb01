"""Read the parameters of files from elsewhere in a process of its own, which is ended when a file takes too long.

The parsers are bounded as they are; this is for the file that nobody thought of: it costs some seconds, not the server.
The process starts with the first file, serves all that follow, and ends with this one. A question is the length of a file
in eight bytes and the file; the answer is the length of a JSON text and the text.
"""

from __future__ import annotations

import atexit
import io
import json
import logging
import os
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict
from typing import IO, Any

from core.config.loader import PROJECT_ROOT
from core.history.importers import read_parameters
from core.types import FoundParameters, ImageParameters, NamedLora

log = logging.getLogger(__name__)

SECONDS = 5.0  # for one file; one of usual size takes some milliseconds
START_SECONDS = 60.0
MEMORY = 4 << 30  # bytes of address space; an image of the largest size takes a tenth of it
NOT_READ = "metadata"
_LENGTH = struct.Struct(">Q")


class ReadingProcess:
    """One process that reads file after file; a new one takes its place when it was ended."""

    def __init__(self, seconds: float = SECONDS, module: str = __name__) -> None:
        self._seconds = seconds
        self._module = module
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, data: bytes) -> FoundParameters | None:
        """Return what `read_parameters` says of a file; of one that takes too long, that it was not read."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._process = self._started()
            answer = _asked(self._process, data, self._seconds) if self._process is not None else None
        if answer is None:
            log.warning("the metadata of a file of %d bytes was not read within %g s", len(data), self._seconds)
            return FoundParameters("", {}, {NOT_READ: f"not read within {self._seconds:g} s"})
        return _found(json.loads(answer))

    def close(self) -> None:
        """End the process. The next file starts another."""
        with self._lock:
            if self._process is not None:
                _end(self._process)
                self._process = None

    def _started(self) -> subprocess.Popen[bytes] | None:
        """Return a process that has answered once, as what it imports takes longer than a file; None when it does not start."""
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                cwd=PROJECT_ROOT,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        except OSError as error:
            log.error("the process that reads image files does not start: %s", error)
            return None
        return process if _asked(process, b"", START_SECONDS) is not None else None


def _asked(process: subprocess.Popen[bytes], data: bytes, seconds: float) -> bytes | None:
    """Return the answer; None when the process died, or was ended because it took longer than `seconds`."""
    assert process.stdin is not None and process.stdout is not None
    deadline = threading.Timer(seconds, process.kill)
    deadline.daemon = True
    deadline.start()
    try:
        process.stdin.write(_LENGTH.pack(len(data)) + data)
        process.stdin.flush()
        answer = _block(process.stdout)
    except OSError:
        answer = None
    finally:
        deadline.cancel()
    if answer is None:
        _end(process)
    return answer


def _block(stream: IO[bytes]) -> bytes | None:
    """Return the next text of a stream; None at its end."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    block = stream.read(length)
    return block if len(block) == length else None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for stream in (process.stdin, process.stdout):
        with suppress(OSError):
            if stream is not None:
                stream.close()
    process.wait()


def _found(data: Any) -> FoundParameters | None:
    if data is None:
        return None
    loras = tuple(
        NamedLora(one["name"], one["weight"], tuple((part, weight) for part, weight in one["parts"]))
        for one in data["facts"].pop("loras")
    )
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in data["values"].items()}
    return FoundParameters(data["program"], values, data["unused"], ImageParameters(**data["facts"], loras=loras))


shared = ReadingProcess()
atexit.register(shared.close)


# -- the process -----------------------------------------------------------------------------------------------------


def main() -> None:
    """Answer until the questions end."""
    _limit_memory()
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    while (data := _block(questions)) is not None:
        answer = json.dumps(_read(data)).encode("ascii")
        answers.write(_LENGTH.pack(len(answer)) + answer)
        answers.flush()


def _read(data: bytes) -> Any:
    try:
        found = read_parameters(io.BytesIO(data))
    except MemoryError:
        found = FoundParameters("", {}, {NOT_READ: "too large"})
    return None if found is None else asdict(found)


def _limit_memory() -> None:
    if sys.platform != "win32":
        import resource

        with suppress(ValueError, OSError):  # macOS has no such limit
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    main()
