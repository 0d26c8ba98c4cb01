"""A loop that no full disk and no lost database ends: what goes wrong is logged, and tried again after a while."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

RETRY_SECONDS = 1.0  # after a database or a disk that refused

log = logging.getLogger(__name__)


def keep_on(turn: Callable[[], int | None], stopping: threading.Event, trouble: str) -> int:
    """Take turns until one gives an exit code, or until `stopping`, which is 0. `trouble` says in the log what failed."""
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
