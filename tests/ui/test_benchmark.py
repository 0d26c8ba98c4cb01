"""The benchmark page: put together, durable from its first moment, watched, cancelled, read, voted on, reopened."""

from __future__ import annotations

import pytest

from core.benchmark import votes as voting
from core.benchmark.report import report
from core.errors import OutOfMemoryError
from core.types import JobState
from tests.ui.conftest import all_text


def filled(open_page, **fields):
    """The form with short values in place of what it proposes."""
    page = open_page("comparison")
    values = {"prompts": "a red house, day\na blue car at night", "seeds": "7, 8", **fields}
    page.text_area(key="comparison:prompts").set_value(values["prompts"])
    page.text_input(key="comparison:seeds").set_value(values["seeds"])
    page.text_area(key="comparison:options:2").set_value(values.get("second", "num_inference_steps = 4"))
    page.selectbox(key="comparison:profile:2").set_value("")
    return page.run()


def begun(open_page, **fields):
    page = filled(open_page, **fields)
    page.button(key="start_benchmark").click().run()
    assert not page.exception, page.exception
    return page


def shown_html(page):
    return "".join(element.proto.body for element in page.get("html"))


def test_a_benchmark_is_queued_a_job_a_column_and_kept_before_the_page_says_so(studio, open_page):
    page = begun(open_page)
    (benchmark,) = studio.benchmarks.recent()
    assert benchmark.prompts == ("a red house, day", "a blue car at night") and benchmark.seeds == (7, 8)
    assert [column.name for column in benchmark.columns] == ["demo", "demo · num_inference_steps 4"]
    first, second = studio.queue.submitted
    assert [(one.prompt, one.seed) for one in first.per_image_requests()] == list(benchmark.cells)
    assert (first.num_inference_steps, second.num_inference_steps) == (8, 4)
    assert page.query_params["comparison"] in (benchmark.id, [benchmark.id])
    assert all(job.client for job in studio.queue.active())


def test_progress_cancel_and_going_on(studio, open_page):
    page = begun(open_page)
    studio.queue.finish(studio.queue.active()[0].id)
    page.run()
    assert "4 / 4" in shown_html(page) and "0 / 4 · Next" in shown_html(page)
    page.button(key="cancel_benchmark").click().run()
    assert not studio.queue.active()
    assert [job.state for job in studio.queue.recent(5)] == [JobState.CANCELLED, JobState.DONE]
    assert "4 of 8 images were generated" in all_text(page)
    page.button(key="retry_benchmark").click().run()
    assert len(studio.queue.active()) == 1


def test_figures_images_links_and_errors(studio, open_page):
    page = begun(open_page)
    first, second = studio.queue.active()
    studio.queue.finish(first.id)
    studio.queue.fail(second.id, OutOfMemoryError(device="cuda", width=256, height=256))
    page.run()
    found = shown_html(page)
    for words in ("Time per image", "2.2 s", "612 MB", "4 / 4", "Out of memory on cuda", "0 / 4"):
        assert words in found
    page.button_group(key="comparison:view").set_value("images").run()
    found = shown_html(page)
    ids = studio.queue.get(first.id).image_ids
    assert all(f"history?image={image_id}" in found and f"/api/thumbnails/{image_id}" in found for image_id in ids)
    assert "a red house, day · seed 7" in found and found.count("no image") == 4


def test_the_vote_is_blind_stored_and_summed_up(studio, open_page):
    page = begun(open_page)
    assert studio.queue.active()
    page.button_group(key="comparison:view").set_value("vote").run()
    assert "Voting starts when" in all_text(page)
    for job in studio.queue.active():
        studio.queue.finish(job.id)
    page.run()
    (benchmark,) = studio.benchmarks.recent()
    names = [column.name for column in benchmark.columns]
    for number in range(4):
        said = all_text(page) + shown_html(page)
        assert f"Pair {number + 1} of 4" in said
        if number == 0:
            assert not any(f">{name}<" in said for name in names)
        page.button(key=f"vote_{('left', 'right', 'equal', 'left')[number]}").click().run()
    votes = studio.benchmarks.votes(benchmark.id)
    assert len(votes) == 4 and [vote.winner for vote in votes].count(None) == 1
    assert "You have voted on all 4 pairs" in all_text(page)
    assert "Too few votes (3 decided)" in all_text(page)
    page.button_group(key="comparison:view").set_value("table").run()
    assert "1 equal" in shown_html(page)


def test_F5_keeps_it_and_the_list_opens_it_again(studio, open_page):
    begun(open_page)
    (benchmark,) = studio.benchmarks.recent()
    again = open_page("comparison", comparison=benchmark.id)
    assert again.button(key="cancel_benchmark")
    again.button(key="new_benchmark").click().run()
    assert "Saved benchmarks" in all_text(again)
    again.button(key=f"open_{benchmark.id}").click().run()
    assert again.button(key="cancel_benchmark")
    again.button(key="new_benchmark").click().run()
    again.button(key=f"forget_{benchmark.id}").click().run()
    assert studio.benchmarks.recent() == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"second": "generation.seed = 3"}, "the same in every column"),
        ({"second": "stepps = 4"}, "column 2: there is no option stepps"),
        ({"second": "num_inference_steps = 4\nsteps: 4"}, "write all of them the same way"),
        ({"second": "output.directory = /tmp"}, "there is no option output.directory"),
        ({"second": "num_inference_steps = 1000"}, "1000&#x27; cannot be used"),
        ({"prompts": ""}, "prompts = 0 cannot be used; allowed: 1 - 400"),
        ({"prompts": "a\na"}, "each once"),
        ({"seeds": "7, x"}, "x&#x27; cannot be used"),
        ({"seeds": ""}, "seeds = 0"),
        ({"seeds": " ".join(map(str, range(150)))}, "images = 600"),
    ],
)
def test_what_cannot_be_used_is_told_and_nothing_is_queued(studio, open_page, fields, words):
    page = begun(open_page, **fields)
    assert words in all_text(page) + shown_html(page)
    assert studio.queue.submitted == [] and studio.benchmarks.recent() == []


def test_a_model_that_is_not_here_says_so_and_offers_the_models_page(studio, open_page):
    page = filled(open_page)
    page.selectbox(key="comparison:model:2").set_value("z-image-turbo").run()
    assert page.button(key="start_benchmark").disabled
    assert page.button(key="get_model_2").label == "Download on the Models page"


def test_columns_come_and_go(studio, open_page):
    page = filled(open_page)
    page.button(key="add_column").click().run()
    assert len([one for one in page.selectbox if one.label == "Model"]) == 3
    page.button(key="remove_column_1").click().run()
    page.button(key="start_benchmark").click().run()
    assert len(studio.benchmarks.recent()[0].columns) == 2


def test_an_unknown_benchmark_is_a_card(studio, open_page):
    assert "There is no benchmark with the id nothing" in all_text(open_page("comparison", comparison="nothing"))


def test_sides_change_from_pair_to_pair_but_not_from_look_to_look(studio, open_page):
    begun(open_page, seeds=" ".join(map(str, range(12))))
    for job in studio.queue.active():
        studio.queue.finish(job.id)
    found = report(studio, studio.benchmarks.recent()[0])
    questions = voting.questions(found, "anna")
    assert questions == voting.questions(found, "anna") != voting.questions(found, "ben")
    assert {question.left for question in questions} == {0, 1} and len(questions) == 24


def test_overrides_are_fields_of_the_options(studio, open_page):
    page = filled(open_page, second="")
    page.multiselect(key="comparison:override:2:").set_value(["generation.num_inference_steps", "vae.enable_tiling"]).run()
    page.number_input(key="comparison:override:2:generation.num_inference_steps").set_value(3)
    page.multiselect(key="comparison:override:all:").set_value(["generation.cfg_scale"]).run()
    page.number_input(key="comparison:override:all:generation.cfg_scale").set_value(2.0)
    page.button(key="start_benchmark").click().run()
    assert not page.exception, page.exception
    plain, own = studio.queue.submitted
    assert (plain.num_inference_steps, own.num_inference_steps) == (8, 3) and plain.cfg_scale == own.cfg_scale == 2.0
    assert own.options["vae.enable_tiling"] and not plain.options["vae.enable_tiling"]
