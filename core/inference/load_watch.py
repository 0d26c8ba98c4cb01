"""Tell how much of a model's weight files is in memory while they are read, and stop reading when that is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import psutil
from torch.overrides import TorchFunctionMode

from core.errors import Cancelled

SAMPLE_SECONDS, TELL_SECONDS = 0.02, 0.5
_present: ContextVar[LoadWatch | None] = ContextVar("load_watch", default=None)


class LoadWatch(TorchFunctionMode):
    """Look in between torch's calls, which is where reading can be interrupted without a thread.

    The libraries map weight files into memory, so what has been read is the growth of the mapped pages in memory; they go as soon
    as a tensor was converted or moved to a GPU. What is copied out of a file without a mapping is counted by `copied`.
    """

    def __init__(self, on_bytes: Callable[[int, int], None], is_cancelled: Callable[[], bool]) -> None:
        """Call `on_bytes(read, total)`, and ask whether to stop, twice a second."""
        super().__init__()
        self._on_bytes, self._is_cancelled = on_bytes, is_cancelled
        self._process = psutil.Process()
        self._read = self._total = self._mapped = 0
        self._next_sample = self._next_word = 0.0
        self._cancelled = False

    @contextmanager
    def over(self, files: Iterable[Path]) -> Iterator[None]:
        """Watch while these files are read. Raises Cancelled inside."""
        self._total = sum(file.stat().st_size for file in set(files))
        self._mapped = self._mapped_now()
        token = _present.set(self)
        try:
            with self:
                yield
        except Exception:
            if self._cancelled:  # the libraries make an error of their own of whatever is raised while they read
                raise Cancelled from None
            raise
        finally:
            _present.reset(token)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.look()
        return func(*args, **(kwargs or {}))

    def look(self, copied: int = 0) -> None:
        """Count what has been read since the last look, and `copied` bytes; tell it now and then. Raises Cancelled."""
        self._read += copied
        now = time.monotonic()
        if now < self._next_sample:
            return
        self._next_sample = now + SAMPLE_SECONDS
        mapped = self._mapped_now()
        self._read += max(0, mapped - self._mapped)
        self._mapped = mapped
        if now < self._next_word:
            return
        self._next_word = now + TELL_SECONDS
        self._cancelled = self._cancelled or self._is_cancelled()
        if self._cancelled:
            raise Cancelled
        self._on_bytes(min(self._read, self._total), self._total)

    def _mapped_now(self) -> int:
        """Return the bytes of mapped files in memory; where the system does not tell, all memory of the process."""
        memory = self._process.memory_info()
        return int(getattr(memory, "shared", memory.rss))


def copied(count: int) -> None:
    """Tell the watch, if there is one, of bytes that were copied out of a file that is not mapped."""
    watch = _present.get()
    if watch is not None:
        watch.look(count)
