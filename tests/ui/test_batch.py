"""The batch panel and the choice of when a job begins: what reaches the studio, and what is refused before it does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from streamlit.elements.lib import policies

from core.batch.wildcards import expand
from tests.ui.conftest import all_text
from tests.ui.test_queue import queued
from ui.state import form as form_state
from ui.state import generate_page as generate_state


def test_pasted_prompts_become_one_job(studio, open_page):
    page = open_page()
    page.number_input(key=form_state.widget_key("generation.seed")).set_value(50)
    page.text_area(key="batch_text").set_value("a {red|blue} house\n\na tree").run()
    assert "50: a" in all_text(page) and "Add 2 images to queue" in all_text(page)
    page.button(key="queue_batch").click().run()
    [request] = studio.queue.submitted
    assert [(one.prompt, one.seed) for one in request.per_image_requests()] == [
        (expand("a {red|blue} house", 50, lambda name: ()), 50),
        ("a tree", 51),
    ]
    assert request.per_image_requests()[0].template == "a {red|blue} house"
    assert "… and 1 more prompts" in all_text(open_page("queue"))


def test_a_table_comes_as_a_file(studio, open_page):
    page = open_page()
    page.file_uploader(key="batch_file").upload("list.csv", "prompt,width\na house,128\n红房子,\n".encode()).run()
    page.button(key="queue_batch").click().run()
    assert [(one.prompt, one.width) for one in studio.queue.submitted[0].per_image_requests()] == [
        ("a house", 128),
        ("红房子", 256),
    ]


def test_bad_rows_are_told_and_there_is_nothing_to_press(studio, open_page):
    page = open_page()
    page.text_area(key="batch_text").set_value("prompt,width\na,64\n<b>x</b>,9\n").run()
    words = all_text(page)
    assert "row 3, width: got &#x27;9&#x27;" in words and "Nothing was queued" in words
    assert not [button for button in page.button if button.key == "queue_batch"] and not studio.queue.submitted


def test_a_job_is_held_until_it_is_told_and_the_next_one_is_not(studio, open_page, monkeypatch):
    warned = []
    monkeypatch.setattr(policies._LOGGER, "warning", lambda *words, **_: warned.append(words))
    page = open_page()
    page.text_area(key=form_state.widget_key("generation.prompt")).set_value("a boat")
    page.segmented_control(key=generate_state.WHEN).set_value(generate_state.HELD).run()
    page.button(key="generate").click().run()
    job = studio.queue.recent(1)[0]
    assert job.held
    page.button(key="run_now").click().run()
    assert not studio.queue.get(job.id).held
    page.button(key="generate").click().run()
    assert not studio.queue.recent(1)[0].held and studio.queue.recent(1)[0].id != job.id
    assert not warned, "the log is for what the user can do something about"


def test_a_job_waits_until_a_time(studio, open_page):
    page = open_page()
    page.text_area(key=form_state.widget_key("generation.prompt")).set_value("a boat")
    page.segmented_control(key=generate_state.WHEN).set_value(generate_state.AT_TIME).run()
    page.datetime_input(key=generate_state.UNTIL).set_value(datetime(2031, 5, 4, 3, 0)).run()
    page.button(key="generate").click().run()
    assert studio.queue.recent(1)[0].not_before == datetime(2031, 5, 4, 3, 0, tzinfo=UTC)


def test_a_row_of_the_queue_says_until_when_and_can_run_at_once(studio, open_page):
    job_id = queued(studio, "a house")
    studio.queue.postpone(job_id, datetime.now(UTC) + timedelta(hours=5))
    page = open_page("queue")
    assert "Scheduled for" in all_text(page)
    page.button(key=f"now_{job_id}").click().run()
    assert studio.queue.get(job_id).not_before is None
