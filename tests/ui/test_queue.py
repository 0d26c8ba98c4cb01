"""The queue page: one's own jobs first, and every button reaches the studio's verb."""

from __future__ import annotations

import pytest

from core.errors import CrashLoopError, WorkerDiedError, WorkerStartError
from core.jobs import generator_protocol
from core.types import JobState, SubmitOptions, WorkerStatus
from tests.ui.conftest import all_text
from ui.state import form as form_state
from ui.state import session


def queued(studio, prompt, client="page:e3b0c44298fc1c14"):  # the digest of no cookie
    return studio.queue.submit(studio.requests.new({"prompt": prompt, "seed": 1}), SubmitOptions(client=client)).id


def test_an_empty_queue_says_so(open_page):
    page = open_page("queue")
    assert "The queue is empty." in all_text(page) and page.button(key="clear_mine").disabled


@pytest.fixture
def several_people(monkeypatch):
    """The viewer is known by a login, so others are others; else everybody on the machine is one person."""
    monkeypatch.setattr(session, "user", lambda: "")


def test_on_one_machine_without_users_all_jobs_are_in_one_list(studio, open_page):
    queued(studio, "of a program", client="api:other")
    queued(studio, "my house")
    page = open_page("queue")
    assert [heading.value for heading in page.subheader] == ["Jobs · 2"]
    page.button(key="clear_mine").click().run()
    assert not studio.queue.active()


def test_own_jobs_come_first_and_show_what_they_are(studio, open_page, several_people):
    queued(studio, "of another", client="page:other")
    queued(studio, "my house")
    page = open_page("queue")
    words = all_text(page)
    assert words.index("my house") < words.index("of another")
    assert [heading.value for heading in page.subheader] == ["Yours · 1", "Other clients · 1"]


def test_a_long_queue_is_shown_page_by_page(studio, open_page, several_people):
    for number in range(55):
        queued(studio, f"house {number}", client="page:other")
    queued(studio, "my house")
    page = open_page("queue")
    words = all_text(page)
    assert "my house" in words and "house 14 " in words and "house 15 " not in words and "1–15 of 55" in words
    for _ in range(3):
        page.button(key="following_others").click().run()
    words = all_text(page)
    assert "46–55 of 55" in words and "house 54 " in words and page.button(key="following_others").disabled
    for job in studio.queue.active(60, client="page:other", after=studio.queue.active(30)[-1].id):
        studio.queue.cancel(job.id)
    page.run()
    assert "house 0 " in all_text(page), "the page that is gone by now is not shown empty"


def test_own_jobs_that_wait_behind_many_can_be_cleared(studio, open_page, several_people, monkeypatch):
    monkeypatch.setattr("core.jobs.queue.MAX_SHOWN", 3)  # of the snapshot that all pages share
    others = [queued(studio, f"house {number}", client="page:other") for number in range(4)]
    mine = queued(studio, "my house")
    page = open_page("queue")
    page.button(key="clear_mine").click().run()
    assert studio.queue.get(mine).state is JobState.CANCELLED
    assert [job.id for job in studio.queue.active()] == others


def test_clearing_finished_jobs_keeps_the_later_ones(studio, open_page):
    first = queued(studio, "an old house")
    studio.queue.finish(first)
    page = open_page("queue")
    assert "an old house" in all_text(page)
    page.button(key="clear_ended").click().run()
    assert "an old house" not in all_text(page) and page.button(key="clear_ended").disabled
    cleared = page.query_params["cleared"]
    studio.queue.finish(queued(studio, "a new house"))
    words = all_text(open_page("queue", cleared=cleared[0] if isinstance(cleared, list) else cleared))
    assert "a new house" in words and "an old house" not in words


def test_the_page_submits_under_its_own_name(studio, open_page):
    page = open_page()
    page.text_area(key=form_state.widget_key("generation.prompt")).set_value("a boat")
    page.button(key="generate").click().run()
    assert studio.queue.recent(1)[0].client == "page:e3b0c44298fc1c14"


def test_hold_resume_cancel_and_retry(studio, open_page):
    job_id = queued(studio, "a house")
    page = open_page("queue")
    page.button(key=f"hold_{job_id}").click().run()
    assert studio.queue.get(job_id).held and "Paused" in all_text(page)
    page.button(key=f"resume_{job_id}").click().run()
    assert not studio.queue.get(job_id).held
    page.button(key=f"cancel_{job_id}").click().run()
    assert studio.queue.get(job_id).state is JobState.CANCELLED
    page.button(key=f"retry_{job_id}").click().run()
    assert studio.queue.get(job_id).state is JobState.QUEUED


def test_moving_asks_for_the_position(studio, open_page, monkeypatch):
    job_id = queued(studio, "a house")
    asked = []
    monkeypatch.setattr(studio.queue, "move", lambda *arguments: asked.append(arguments))
    page = open_page("queue")
    for name in ("top", "up", "down"):
        page.button(key=f"{name}_{job_id}").click().run()
    assert asked == [(job_id, 1), (job_id, 0), (job_id, 2)]


def test_pause_and_clear_act_on_the_queue(studio, open_page, several_people):
    mine, other = queued(studio, "mine"), queued(studio, "theirs", client="page:other")
    page = open_page("queue")
    page.button(key="pause_all").click().run()
    assert studio.queue.is_paused() and "The queue is paused" in all_text(page)
    page.button(key="pause_all").click().run()
    assert not studio.queue.is_paused()
    page.button(key="clear_mine").click().run()
    assert studio.queue.get(mine).state is JobState.CANCELLED and studio.queue.get(other).state is JobState.QUEUED


def test_who_watches_a_job_while_the_queue_is_paused_is_told_and_can_end_it(studio, open_page):
    page = open_page(job=queued(studio, "a house"))
    assert "go_on" not in [button.key for button in page.button]
    studio.queue.pause(True)
    assert "The queue is paused" in all_text(page.run())
    page.button(key="go_on").click().run()
    assert not studio.queue.is_paused()


def test_what_failed_says_why(studio, open_page):
    job_id = queued(studio, "a house")
    studio.queue.fail(job_id, CrashLoopError(crashes=3, detail=generator_protocol.ended(-9)))
    assert "Failed: The worker process ended 3 times" in all_text(open_page("queue"))
    assert "失败：工作进程已在此任务中途结束 3 次，最近一次：信号 9，被强制结束" in all_text(
        open_page("queue", lang="zh")
    )


@pytest.mark.by_default("killed", "card")
@pytest.mark.parametrize(
    ("reason", "english", "chinese"),
    [
        (generator_protocol.ended(-11), "signal 11: segmentation fault", "信号 11，段错误"),
        (generator_protocol.ended(-9), "signal 9: killed, often for want of memory", "信号 9，被强制结束，常因内存不足"),
        (generator_protocol.silent(600), "no step in 600 s", "600 秒内没有任何进展"),
        (generator_protocol.device("CUDA error: unknown"), "the device failed: CUDA error", "设备故障：CUDA error"),
    ],
    ids=["segfault", "killed", "hang", "card"],
)
def test_a_job_that_is_run_again_says_what_its_worker_died_of(studio, open_page, reason, english, chinese):
    job_id = queued(studio, "a house")
    studio.queue.change_row(job_id, error=WorkerDiedError(detail=reason).to_dict(), crashes=1)
    for words, language in ((english, "en"), (chinese, "zh")):
        assert words in all_text(open_page(job=job_id, lang=language))
        assert words in all_text(open_page("queue", lang=language))


def test_a_worker_that_does_not_come_up_is_told_on_every_page(studio, open_page, monkeypatch):
    trouble = WorkerStartError(times=3, detail=generator_protocol.ended(-9), log="outputs/logs/worker.out")
    monkeypatch.setattr(studio.worker, "status", lambda: WorkerStatus("stopped", trouble=trouble))
    for name in ("", "queue", "history", "system"):
        words = all_text(open_page(name))
        assert "Worker failed to start" in words and "signal 9: killed" in words


def test_what_is_gone_by_now_is_a_card(studio, open_page):
    job_id = queued(studio, "a house")
    page = open_page("queue")
    studio.queue.delete(job_id)
    page.button(key=f"cancel_{job_id}").click().run()
    assert "no job with the id" in all_text(page)


def test_what_a_job_made_leads_to_the_history_in_the_viewers_language(studio, open_page):
    job = studio.queue.submit(
        studio.requests.new({"prompt": 'a "red" <house>', "seed": 1, "num_images": 6}), SubmitOptions()
    )
    studio.queue.finish(job.id)
    first, second, *_ = studio.queue.get(job.id).image_ids
    studio.history.trash([second])
    page = open_page("queue")
    strip = next(element.proto.body for element in page.get("html") if "zd-strip" in element.proto.body)
    assert f'href="history?image={first}&amp;lang=en"' in strip
    assert strip.count("<img") == 3 and second not in strip and "+2" in strip
    assert "a &quot;red&quot; &lt;house&gt;" in strip and "<house>" not in strip
    assert "Done · 3.0 s · 20" in all_text(page)
