"""Prompts written by a worker of the cluster, over the real pool and actors in threads."""

from __future__ import annotations

import threading
import time

from core.cluster.dispatcher import write_prompt
from core.errors import UnknownModelError
from core.jobs.worker_commands import PromptCommand
from tests.integration.jobs.fake_generator import FakeGenerator
from tests.unit.cluster.threads import ThreadLink, machine, running, until

BUILD = "tests.unit.cluster.test_prompt_writing:build_writer"


class Writer(FakeGenerator):
    """Repeats the words of the text, one after the other, until it is cancelled."""

    def write_prompt(self, model, options, task, text, seed, on_progress, on_text, is_cancelled):
        self.load(model, options, on_progress)
        if text == "refuse":
            raise UnknownModelError(value=model, known="demo")
        written = ""
        for word in f"{task} {text} {seed}".split() * (1000 if text == "long" else 1):
            written = f"{written} {word}".strip()
            on_text(written)
            if is_cancelled():
                break
            time.sleep(0.002)
        return written


def build_writer(configs, values):
    return Writer()


def asked(text):
    return PromptCommand("one", "demo", {}, "enhance", text, 7)


def written(pool, text, is_cancelled=lambda: False):
    answers = []
    write_prompt(pool, asked(text), answers.append, is_cancelled, threading.Event())
    return answers


def test_words_come_as_they_are_written_and_the_worker_is_free_again():
    with running(ThreadLink(machine(), generator=BUILD), workers=1) as pool:
        answers = written(pool, "a house")
        assert [one.done for one in answers] == [False] * (len(answers) - 1) + [True]
        assert answers[-1].text == "enhance a house 7" and answers[-1].error is None and len(answers) > 2
        until(pool.has_free)


def test_cancelling_ends_it_with_what_there_is():
    with running(ThreadLink(machine(), generator=BUILD), workers=1) as pool:
        seen = []
        answers = written(pool, "long", lambda: bool(seen.append(1) or len(seen) > 3))
        assert answers[-1].done and answers[-1].text.startswith("enhance long 7") and len(answers[-1].text) < 20_000
        until(pool.has_free)


def test_an_error_is_the_answer():
    with running(ThreadLink(machine(), generator=BUILD), workers=1) as pool:
        last = written(pool, "refuse")[-1]
        assert last.done and isinstance(last.error, UnknownModelError)
        until(pool.has_free)


def test_a_worker_that_is_gone_is_the_answer():
    link = ThreadLink(machine(), generator=BUILD)
    with running(link, workers=1) as pool:
        answers = []

        def kill_once(answer):
            if not answers:
                link.kill(pool.workers()[0].id, pool)
            answers.append(answer)

        write_prompt(pool, asked("long"), kill_once, lambda: False, threading.Event())
        assert answers[-1].done and "gone" in answers[-1].error.message("en")
