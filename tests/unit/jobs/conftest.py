from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.jobs.shop import Shop


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One worker for all the tests of a file: it must survive each of them."""
    shop = Shop(tmp_path_factory.mktemp("outputs"))
    shop.supervisor.start()
    yield shop
    shop.close()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A folder of its own; the test starts the worker."""
    shop = Shop(tmp_path)
    yield shop
    shop.close()
