"""The app with a worker that draws plain images, a step in a tenth of a second: python -m tests.browser.fake_app

It is what the pages are tested with where the image does not matter: the processor is left to the browser.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from core.jobs.supervisor import WorkerSupervisor
from core.studio import bootstrap
from tests.integration.jobs.fake_generator import FakeGenerator

STEP_SECONDS = 0.1


def build_generator(configs: Path, values: Mapping[str, Any]) -> FakeGenerator:
    return FakeGenerator(STEP_SECONDS)


if __name__ == "__main__":
    from ui.serve import main  # not in the worker, which has no use for the pages

    bootstrap.WorkerSupervisor = partial(  # type: ignore[misc, assignment]
        WorkerSupervisor, generator="tests.browser.fake_app:build_generator"
    )
    sys.exit(main())
