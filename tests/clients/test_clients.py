"""The clients against a live service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.packages import PACKAGES, AwayError, Package, install, run
from tests.clients.sequences import SEQUENCES, Sequence_, play
from tests.integration.server.live import Served, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("outputs")) as running:
        yield running


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda sequence: sequence.name)
def test_requests_of_its_source_are_answered(served: Served, sequence: Sequence_) -> None:
    play(sequence, served.url)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_package_works_unchanged(served: Served, package: Package) -> None:
    try:
        install(package)
    except AwayError as error:
        pytest.skip(str(error))
    run(package, served.url)
