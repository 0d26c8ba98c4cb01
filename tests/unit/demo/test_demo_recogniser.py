"""The judge of the model must itself be trustworthy."""

from core.demo import recogniser


def test_it_reads_fresh_drawings():
    rates = recogniser.accuracy(recogniser.load(), count=200)
    assert min(rates.values()) >= 0.98, rates


def test_its_weights_are_small():
    assert recogniser.WEIGHTS.stat().st_size <= 2_000_000
