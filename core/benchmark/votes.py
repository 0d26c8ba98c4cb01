"""Run the blind vote: select the next pair and its sides, and evaluate all votes.

Both follow from who votes and what there is, so that a page can be loaded again without changing its question.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from core.benchmark.report import BenchmarkReport
from core.types import Vote

MIN_VOTES = 10  # votes between two columns below which no result is given
ALPHA = 0.05  # significance level of the sign test; above it no result is given
SIDES = LEFT, RIGHT, EQUAL = ("left", "right", "equal")


@dataclass(frozen=True)
class VotePair:
    """Two images of the same prompt and seed: their index, and the columns on the left and on the right."""

    place: int
    left: int
    right: int

    def answer(self, side: str, voter: str) -> Vote:
        """Return the vote for LEFT, RIGHT or EQUAL."""
        one, other = sorted((self.left, self.right))
        winner = {LEFT: self.left, RIGHT: self.right, EQUAL: None}[side]
        return Vote(self.place, one, other, winner, voter)


@dataclass(frozen=True)
class PairResult:
    """All votes between two columns, and the preferred one (`leader`) if the lead is significant."""

    one: int
    other: int
    wins_one: int
    wins_other: int
    equal: int

    @property
    def decided(self) -> int:
        return self.wins_one + self.wins_other

    @property
    def leader(self) -> int | None:
        """Return the preferred column, or None if the lead is not significant."""
        if self.decided < MIN_VOTES or sign_test_p(self.wins_one, self.wins_other) >= ALPHA:
            return None
        return self.one if self.wins_one > self.wins_other else self.other


@dataclass(frozen=True)
class Tally:
    """Wins, losses and ties of one column over all its votes."""

    wins: int = 0
    losses: int = 0
    equal: int = 0


def questions(report: BenchmarkReport, voter: str) -> list[VotePair]:
    """Return all pairs of finished images in the random order of this voter, with random sides."""
    found = []
    benchmark = report.benchmark
    for place in range(1, len(benchmark.cells) + 1):
        there = [k for k, measured in enumerate(report.columns) if measured.images[place - 1] is not None]
        for one, other in combinations(there, 2):
            dice = random.Random(f"{benchmark.id}/{voter}/{place}/{one}/{other}")
            left, right = (one, other) if dice.random() < 0.5 else (other, one)
            found.append((dice.random(), VotePair(place, left, right)))
    return [question for _, question in sorted(found, key=lambda pair: pair[0])]


def next_question(report: BenchmarkReport, votes: Sequence[Vote], voter: str) -> VotePair | None:
    """Return the first pair that this voter has not answered, or None."""
    answered = {(vote.place, vote.one, vote.other) for vote in votes if vote.voter == voter}
    for question in questions(report, voter):
        if (question.place, *sorted((question.left, question.right))) not in answered:
            return question
    return None


def tallies(votes: Sequence[Vote], columns: int) -> list[Tally]:
    """Return wins, losses and ties of each column."""
    found = []
    for k in range(columns):
        mine = [vote for vote in votes if k in (vote.one, vote.other)]
        wins = sum(vote.winner == k for vote in mine)
        equal = sum(vote.winner is None for vote in mine)
        found.append(Tally(wins, len(mine) - wins - equal, equal))
    return found


def duels(votes: Sequence[Vote], columns: int) -> list[PairResult]:
    """Return the results of each pair of columns that has votes."""
    found = []
    for one, other in combinations(range(columns), 2):
        mine = [vote.winner for vote in votes if (vote.one, vote.other) == (one, other)]
        if mine:
            found.append(PairResult(one, other, mine.count(one), mine.count(other), mine.count(None)))
    return found


def sign_test_p(wins: int, losses: int) -> float:
    """Return the two-sided p-value of the sign test."""
    count, most = wins + losses, max(wins, losses)
    tail = sum(math.comb(count, k) for k in range(most, count + 1)) / 2**count
    return min(1.0, 2 * tail)
