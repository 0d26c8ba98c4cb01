"""The judge of the model must itself be trustworthy."""

import pytest

from core.demo import classifier


@pytest.mark.by_default("size0")
@pytest.mark.parametrize("size", [(256, 256), (512, 512), (512, 288), (288, 512)])
def test_it_reads_fresh_drawings(size):
    rates = classifier.accuracy(classifier.load(), count=60, size=size)
    assert min(rates.values()) >= 0.98, rates


def test_its_weights_are_small():
    assert classifier.WEIGHTS.stat().st_size <= 2_000_000
