"""What open pages ask for every half second: the words of the jobs in work, and a mark that says when to draw again."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from core.errors import WorkerDiedError
from core.server import USER_HEADER
from core.types import Axis, Phase, Progress, SubmitOptions
from tests.ui.conftest import all_text, component_data
from ui import progress_poll


@pytest.fixture
def ask(studio):
    """What the service answers now."""
    client = TestClient(Starlette(routes=[progress_poll.route(lambda: studio)]))
    return lambda lang="en": client.get(progress_poll.PATH, params={"lang": lang}).json()


def new_job(studio):
    return studio.queue.submit(studio.requests.new({"prompt": "a red house", "num_images": 2})).id


def test_progress_is_told_in_the_viewers_language_and_is_no_reason_to_draw_again(studio, ask):
    job_id = new_job(studio)
    studio.queue.advance(job_id, 2)
    first = ask()
    assert first["jobs"][job_id]["words"] == "Step 2 of 8 · image 1 of 2 · 2.4 s left"
    assert ask("zh")["jobs"][job_id]["words"].startswith("第 2 / 8 步")
    assert ask("tlh") == ask("zh"), "an unknown language is the first one"
    studio.queue.advance(job_id, 3)
    second = ask()
    assert second["mark"] == first["mark"] == progress_poll.mark(studio.queue.snapshot())
    assert second["jobs"][job_id]["done"] > first["jobs"][job_id]["done"]
    sources = [told["jobs"][job_id]["src"] for told in (first, second)]
    assert sources == [f"/api/jobs/{job_id}/preview?at=1.{step}" for step in (2, 3)]
    studio.queue.advance(job_id, 4, preview=False)  # a step for whose preview there was no time
    assert ask()["jobs"][job_id]["src"] == sources[1], "what the browser has already it does not ask for again"


def test_a_model_that_loads_says_what_it_has_read(studio, ask):
    job_id = new_job(studio)
    studio.queue.advance(job_id, 0, Phase.LOADING)
    reading = Progress(Phase.LOADING, detail="large", read_bytes=3_100_000_000, total_bytes=12_300_000_000)
    studio.queue.report(job_id, reading)
    assert ask()["jobs"][job_id]["words"] == "Loading model · 3.1 GB of 12.3 GB of weights read · large"
    assert "读取权重 3.1 GB / 12.3 GB" in ask("zh")["jobs"][job_id]["words"]


def test_who_asks_is_told_how_many_jobs_are_theirs(studio, ask):
    studio.queue.submit(studio.requests.new({"prompt": "of another"}), SubmitOptions(client="user:anna"))
    job_id = new_job(studio)
    studio.queue.advance(job_id, 2)
    told = ask()
    assert (told["total"], told["mine"], told["running"]) == (2, 2, [job_id]), "nobody is told apart here"
    client = TestClient(Starlette(routes=[progress_poll.route(lambda: studio)]))
    told = client.get(progress_poll.PATH, headers={USER_HEADER: "anna"}).json()
    assert (told["total"], told["mine"], told["running"]) == (2, 1, [])


def test_there_is_no_preview_before_the_first_step(studio, ask):
    job_id = new_job(studio)
    assert ask()["jobs"] == {}, "what waits has words only where it is drawn"
    studio.queue.advance(job_id, 0, Phase.LOADING)
    assert ask()["jobs"][job_id]["src"] == ""


@pytest.mark.parametrize(
    "change",
    [
        lambda queue, job: queue.advance(job, 1),
        lambda queue, job: queue.pause_job(job, True),
        lambda queue, job: queue.cancel(job),
        lambda queue, job: queue.finish(job),
        lambda queue, job: queue.pause(True),
        lambda queue, job: queue.move(queue.put(queue.get(job).request).id, 1),
        lambda queue, job: queue.change_row(job, error=WorkerDiedError(detail="x").to_dict()),
        lambda queue, job: queue.finish(queue.put(queue.get(job).request).id),
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
    [line] = component_data(open_page("queue"), "words")
    assert line["job"] == other and line["words"].startswith("Step 4 of 8")
    [strip] = component_data(open_page(job=other), "session")
    assert [job["id"] for job in strip["jobs"]] == [other], "of jobs of others only the one that is watched"
    assert strip["jobs"][0]["words"].startswith("Step 4 of 8") and watched not in str(strip)


def test_guide_sheet_and_benchmark_look_the_same_way(studio, open_page, ask):
    record = studio.fill_history(1)[0]
    sheet = studio.reruns.sweep(record.id, [Axis("generation.num_inference_steps", (4, 8))])
    _, second = sheet.jobs
    studio.queue.advance(second, 3)
    page = open_page("sheet", sheet=sheet.id)
    [bar] = component_data(page, "pulse")
    assert (bar["mark"], bar["job"]) == (ask()["mark"], second), "the bar is that of the one in work"
    cells = "".join(element.proto.body for element in page.get("html"))
    assert "generating" in cells and "Step 3" not in cells, "what nobody keeps up to date is not said"
    for job_id in sheet.jobs:
        studio.queue.finish(job_id)
    assert component_data(open_page("sheet", sheet=sheet.id), "pulse") == []

    guide = open_page("guide")
    guide.button(key="run_quality").click().run()
    [bar] = component_data(guide, "pulse")
    assert (bar["mark"], bar["job"]) == (ask()["mark"], studio.queue.active()[0].id)
    assert "0 of 3" in all_text(guide)


def test_a_benchmark_is_drawn_again_with_each_image_of_the_job_in_work(studio, open_page, ask):
    page = open_page("comparison")
    page.text_input(key="comparison:seeds").set_value("7, 8").run()
    page.button(key="start_benchmark").click().run()
    jobs = [job.id for job in studio.queue.active()]
    studio.queue.advance(jobs[0], 3)
    [bar] = component_data(page.run(), "pulse")
    told = ask()
    assert bar["by_image"] and bar["job"] == jobs[0] and told["jobs"][jobs[0]]["image"] == 1
    assert bar["mark"] == f"{told['mark']}.1"
    studio.queue.finish(jobs[0])
    [bar] = component_data(page.run(), "pulse")
    assert (bar["mark"], bar["job"]) == (ask()["mark"], jobs[1]), "what waits has no image in work"
