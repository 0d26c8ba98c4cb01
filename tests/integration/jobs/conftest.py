from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.jobs.harness import JobHarness


@pytest.fixture(scope="package")
def on_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobHarness]:
    """Yield one worker on a Ray of this machine, for all the tests of this folder: starting one takes seconds."""
    values: dict[str, Any] = {"worker.executor": "ray", "worker.ray_workers": 1}
    harness = JobHarness(tmp_path_factory.mktemp("outputs"), **values)
    harness.supervisor.start()
    yield harness
    harness.close()


@pytest.fixture(scope="module", params=["local", "ray"])
def shared(
    request: pytest.FixtureRequest,
    dialect: str,
    tmp_path_factory: pytest.TempPathFactory,
    place_of: Callable[[Path], Path | str],
) -> Iterator[JobHarness]:
    """Yield one worker for all the tests of a file, of either executor: it must survive each of them."""
    if request.param == "ray":
        if dialect != "sqlite":
            pytest.skip("Ray and the database know nothing of each other: one of them is enough")
        yield request.getfixturevalue("on_ray")
        return
    folder = tmp_path_factory.mktemp("outputs")
    harness = JobHarness(folder, place=place_of(folder))
    harness.supervisor.start()
    yield harness
    harness.close()


@pytest.fixture
def harness(tmp_path: Path, place_of: Callable[[Path], Path | str]) -> Iterator[JobHarness]:
    """Yield a folder of its own; the test starts the worker."""
    harness = JobHarness(tmp_path, place=place_of(tmp_path))
    yield harness
    harness.close()
