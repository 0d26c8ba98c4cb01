"""The loop of worker and dispatcher: it ends by its own word or when it is told to, never by what goes wrong."""

import logging
from threading import Event

import pytest

from core.jobs import worker_process


def test_what_is_raised_is_logged_and_tried_again_until_a_turn_gives_a_code(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_process, "RETRY_SECONDS", 0.0)
    course = iter([None, OSError("the disk is full"), None, 71])

    def turn() -> int | None:
        found = next(course)
        if isinstance(found, Exception):
            raise found
        return found

    with caplog.at_level(logging.ERROR):
        assert worker_process.retry_loop(turn, Event(), "the queue could not be served") == 71
    assert "the queue could not be served" in caplog.text and "the disk is full" in caplog.text


def test_it_ends_after_the_turn_in_which_it_is_told_to() -> None:
    stopping = Event()
    assert worker_process.retry_loop(lambda: stopping.set(), stopping, "nothing") == 0
    assert worker_process.retry_loop(lambda: pytest.fail("it was told to end"), stopping, "nothing") == 0
