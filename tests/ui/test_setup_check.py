"""The guide: each step sets its options, draws, shows progress, can be cancelled, and says what it found."""

from __future__ import annotations

import pytest

from core.errors import OutOfMemoryError
from core.studio import self_test
from core.types import JobState
from tests.ui.conftest import all_text


def begin(studio, open_page, step):
    page = open_page("guide")
    page.button(key=f"run_{step}").click().run()
    assert not page.exception
    return page


def finish(studio):
    for job in studio.queue.active():
        studio.queue.finish(job.id)


@pytest.mark.parametrize(("step", "count"), [("stable", 10), ("quality", 3), ("speed", 3), ("control", 5)])
def test_a_step_sets_its_options_draws_and_judges(studio, open_page, step, count):
    page = begin(studio, open_page, step)
    jobs = studio.queue.submitted
    assert len(jobs) == count
    for key, value in self_test.BY_KEY[step].sets.items():
        if key in jobs[0].options and value != "auto":
            assert jobs[0].options[key] == value
    finish(studio)
    page.run()
    findings = "".join(element.proto.body for element in page.get("html"))
    assert "Exactly the size asked for" in findings or step == "speed"
    assert f"{count} of {count}" in findings
    assert page.button(key=f"run_{step}").label == "Test again"
    verdict = [element.value for element in (*page.success, *page.error)]
    assert verdict and ("All checks passed." in verdict) is ('class="no"' not in findings)


def test_control_compares_the_images(studio, open_page):
    page = begin(studio, open_page, "control")
    first, second, third, *_ = studio.queue.submitted
    assert first == second and third.seed == first.seed + 1
    finish(studio)
    page.run()
    findings = "".join(element.proto.body for element in page.get("html"))
    assert '<li class="yes"><b>The same seed gives the same image</b> 0.0%' in findings


def test_progress_and_cancel(studio, open_page):
    page = begin(studio, open_page, "stable")
    studio.queue.finish(studio.queue.active()[0].id)
    page.run()
    assert page.button(key="run_quality").disabled, "one at a time"
    page.button(key="cancel_stable").click().run()
    assert not studio.queue.active()
    states = [job.state for job in studio.queue.recent(20)]
    assert (states.count(JobState.DONE), states.count(JobState.CANCELLED)) == (1, 9)
    assert "A check failed" in all_text(page.run())


def test_an_error_is_said_and_F5_keeps_the_findings(studio, open_page):
    page = begin(studio, open_page, "quality")
    for job in studio.queue.active():
        studio.queue.fail(job.id, OutOfMemoryError(device="cuda", width=256, height=256))
    page.run()
    runs = page.query_params["runs"]
    again = open_page("guide", runs=runs[0] if isinstance(runs, list) else runs)
    assert "Out of memory on cuda" in "".join(element.proto.body for element in again.get("html"))


def test_the_steps_name_options_by_their_labels(open_page):
    said = [caption.value for caption in open_page("guide").caption]
    assert len(said) == 4 and all(words.startswith("Precision") and "dtype" not in words for words in said)
