from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.jobs.shop import Shop


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, place_of: Callable[[Path], Path | str]) -> Iterator[Shop]:
    """One worker for all the tests of a file: it must survive each of them."""
    folder = tmp_path_factory.mktemp("outputs")
    shop = Shop(folder, place=place_of(folder))
    shop.supervisor.start()
    yield shop
    shop.close()


@pytest.fixture
def shop(tmp_path: Path, place_of: Callable[[Path], Path | str]) -> Iterator[Shop]:
    """A folder of its own; the test starts the worker."""
    shop = Shop(tmp_path, place=place_of(tmp_path))
    yield shop
    shop.close()
