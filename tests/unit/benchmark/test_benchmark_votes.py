"""What votes add up to, and when they say nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.benchmark.votes import LEFT, RIGHT, VotePair, duels, sign_test_p, tallies
from core.types import Vote


def votes(wins: int, losses: int, equal: int = 0) -> list[Vote]:
    winners = [0] * wins + [1] * losses + [None] * equal
    return [Vote(place, 0, 1, winner) for place, winner in enumerate(winners, start=1)]


@pytest.mark.parametrize(
    ("wins", "losses", "leader"),
    [(9, 0, None), (10, 0, 0), (9, 1, 0), (8, 2, None), (1, 9, 1), (40, 40, None), (15, 5, 0)],
)
def test_a_leader_needs_enough_votes_and_a_lead_that_chance_does_not_give(
    wins: int, losses: int, leader: int | None
) -> None:
    (duel,) = duels(votes(wins, losses, equal=3), 2)
    assert (duel.wins_one, duel.wins_other, duel.equal, duel.leader) == (wins, losses, 3, leader)


@given(st.integers(0, 60), st.integers(0, 60))
def test_chance_is_one_for_a_draw_and_the_same_both_ways(wins: int, losses: int) -> None:
    assert 0 < sign_test_p(wins, losses) == sign_test_p(losses, wins) <= 1
    assert sign_test_p(wins, wins) == 1
    assert sign_test_p(9, 1) == pytest.approx(22 / 1024)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from([0, 1, None])).filter(
            lambda one: one[0] < one[1]
        )
    )
)
def test_every_vote_counts_once_on_each_side(cast: list[tuple[int, int, int | None]]) -> None:
    given_votes = [
        Vote(k, one, other, None if side is None else (one, other)[side]) for k, (one, other, side) in enumerate(cast)
    ]
    sums = tallies(given_votes, 4)
    decided = sum(vote.winner is not None for vote in given_votes)
    assert sum(one.wins for one in sums) == sum(one.losses for one in sums) == decided
    assert sum(one.equal for one in sums) == 2 * (len(given_votes) - decided)


def test_the_side_is_forgotten_and_the_column_kept() -> None:
    question = VotePair(place=3, left=2, right=0)
    assert question.answer(LEFT, "anna") == Vote(3, 0, 2, 2, "anna")
    assert question.answer(RIGHT, "anna") == Vote(3, 0, 2, 0, "anna")
    assert question.answer("equal", "anna") == Vote(3, 0, 2, None, "anna")
