"""The front door: everything that the page, the command line and the service can ask for.

Its verbs stand at desks: jobs, pictures, input pictures, making again, comparisons, models, the machine.
What these modules do not know: Streamlit, torch, SQL, how a worker is started (see `bootstrap`).
"""

from __future__ import annotations

from core.studio.again import Again
from core.studio.compared import Compared
from core.studio.inputs import InputPictures
from core.studio.machine import Machine
from core.studio.models import Models


class Studio(Again, Compared, InputPictures, Models, Machine):
    """All verbs behind one door."""

    def start(self) -> None:
        """Start the worker process (and keep it alive) unless another studio over the same folder already has one."""
        self._worker.start()

    def resume_downloads(self) -> None:
        """Go on with the downloads that the end of the last app cut off."""
        self._downloads.resume_interrupted()

    def stop(self) -> None:
        """End the worker that this studio started."""
        self._downloads.stop()
        self._worker.stop()
