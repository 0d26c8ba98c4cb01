"""What open pages ask for every half second: the words of the jobs in work, and a mark that says when to draw again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from core.errors import WorkerDiedError
from core.types import JobState, Phase
from tests.ui.conftest import component_data
from ui import pulse


@pytest.fixture
def ask(studio):
    """What the service answers now."""
    client = TestClient(Starlette(routes=[pulse.route(lambda: studio)]))
    return lambda lang="en": client.get(pulse.PATH, params={"lang": lang}).json()


def new_job(studio):
    return studio.submit(studio.new_request({"prompt": "a red house", "num_images": 2})).id


def test_progress_is_told_in_the_viewers_language_and_is_no_reason_to_draw_again(studio, ask):
    job_id = new_job(studio)
    studio.queue.advance(job_id, 2)
    first = ask()
    assert first["jobs"][job_id]["words"] == "Step 2 of 8 · picture 1 of 2 · 2.4 s left"
    assert ask("zh")["jobs"][job_id]["words"].startswith("第 2 / 8 步")
    assert ask("tlh") == ask("zh"), "an unknown language is the first one"
    studio.queue.advance(job_id, 3)
    second = ask()
    assert second["mark"] == first["mark"] == pulse.mark(studio.board())
    assert second["jobs"][job_id]["done"] > first["jobs"][job_id]["done"]
    sources = [told["jobs"][job_id]["src"] for told in (first, second)]
    assert sources == [f"/api/jobs/{job_id}/preview?at=1.{step}" for step in (2, 3)]
    later = replace(studio.queue.jobs[job_id].progress, step=4)  # a step for whose preview there was no time
    studio.queue.jobs[job_id] = replace(studio.queue.jobs[job_id], progress=later)
    assert ask()["jobs"][job_id]["src"] == sources[1], "what the browser has already it does not ask for again"


def test_there_is_no_preview_before_the_first_step(studio, ask):
    job_id = new_job(studio)
    assert ask()["jobs"] == {}, "what waits has words only where it is drawn"
    studio.queue.advance(job_id, 0, Phase.LOADING)
    assert ask()["jobs"][job_id]["src"] == ""


@pytest.mark.parametrize(
    "change",
    [
        lambda queue, job: queue.advance(job, 1),
        lambda queue, job: queue.hold(job, True),
        lambda queue, job: queue.request_cancel(job),
        lambda queue, job: queue.finish(job),
        lambda queue, job: queue.pause(True),
        lambda queue, job: queue.jobs.update({job: replace(queue.jobs[job], position=2)}),
        lambda queue, job: queue.jobs.update({job: replace(queue.jobs[job], error=WorkerDiedError(detail="x"))}),
        lambda queue, job: queue.jobs.update({"gone by now": replace(queue.jobs[job], state=JobState.DONE)}),
    ],
    ids=["begins", "held", "cancelled", "ends", "paused", "moved", "error", "came and ended"],
)
def test_whatever_else_changes_is_one(studio, ask, change):
    job_id = new_job(studio)
    before = ask()["mark"]
    change(studio.queue, job_id)
    assert ask()["mark"] != before


def test_the_page_has_the_mark_of_what_it_shows(studio, open_page, ask):
    job_id = new_job(studio)
    [bar] = component_data(open_page(job=job_id), "pulse")
    assert (bar["mark"], bar["job"], bar["url"]) == (ask()["mark"], job_id, "/pulse?lang=en")
    [silent] = component_data(open_page("queue"), "pulse")
    assert (silent["mark"], silent["job"]) == (ask()["mark"], "")


def test_a_row_of_a_job_in_work_is_kept_up_to_date_by_the_browser(studio, open_page):
    watched, other = new_job(studio), new_job(studio)
    studio.queue.advance(other, 4)
    for page in (open_page(job=watched), open_page("queue"), open_page()):
        [line] = component_data(page, "words")
        assert line["job"] == other and line["words"].startswith("Step 4 of 8")
