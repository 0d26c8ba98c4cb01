"""How many examples Hypothesis tries: a tenth of them by default, all in a run that includes what is slow."""

share = 0.1  # tests/conftest.py sets it before tests are collected
FEWEST = 3


def examples(count: int) -> int:
    """Return how many of `count` examples this run tries."""
    return max(FEWEST, round(count * share))
