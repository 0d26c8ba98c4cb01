from collections.abc import Iterator

import pytest

from tests.integration.server.live import Served, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Yield one service for all the tests of a file."""
    with serving(tmp_path_factory.mktemp("outputs")) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_fakes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Remove what a test asks of the fake generator after it."""
    yield
    if "served" in request.fixturenames:
        request.getfixturevalue("served").fakes.clear()
