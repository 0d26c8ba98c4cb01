"""Save the images of a job in a thread, each while the next one is generated."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

log = logging.getLogger(__name__)


class ImageSaver:
    """One thread of a running job. At most one image is being saved; when the block ends, all are.

    What saving an image raises, is raised by the next `put`, or at the end of the block. Of a block that ends with an
    error it is logged.
    """

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._thread = ThreadPoolExecutor(1, "save")
        self._saving: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.wait()
        except Exception:  # whatever saving meets: the error that ended the block is the one to raise
            if error is None:
                raise
            log.exception("job %s: an image could not be saved", self._job_id)
        finally:
            self._thread.shutdown()

    def put(self, save: Callable[[], None]) -> None:
        """Call `save` in the thread once the image before it is saved."""
        self.wait()
        self._saving = self._thread.submit(save)

    def wait(self) -> None:
        """Return when all images are saved. Raises what the last one raised."""
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.result()
