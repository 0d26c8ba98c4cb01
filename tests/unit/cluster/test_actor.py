"""What a worker says, and when: each step of the image that is looked at, the others' together."""

import pytest

from core.cluster.actor import GeneratorActor
from core.cluster.transport import Ended, Step
from core.types import Phase, ResumeState
from tests.integration.jobs.harness import make_request
from tests.unit.cluster.threads import FAKE


def answers(shown: bool) -> list[tuple[Step | Ended, ...]]:
    """What each call of `listen` brought, for one image."""
    actor = GeneratorActor(FAKE, "configs", {})
    actor.prepare(1, None, {})
    while not actor.listen().messages:
        pass
    if shown:
        actor.show(2)
    actor.generate(2, make_request(fake_step_seconds=0.05), ResumeState("job"))
    heard = []
    while not (heard and isinstance(heard[-1][-1], Ended)):
        heard += [said] if (said := actor.listen().messages) else []
    return heard


@pytest.mark.parametrize("shown", [True, False])
def test_steps_come_as_they_happen_where_they_are_shown_and_together_where_not(shown: bool) -> None:
    heard = answers(shown)
    steps = [message.progress.step for said in heard for message in said if isinstance(message, Step)
             and message.progress.phase is Phase.STEPS]  # fmt: skip
    assert steps == [1, 2, 3, 4]
    assert len(heard) >= 4 if shown else len(heard) <= 2  # 0.2 s of drawing in one answer, or two on a slow machine
