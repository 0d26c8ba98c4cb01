"""The same image again: the verdict, what is known before it, new seeds, and sweeps."""

from __future__ import annotations

from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from core.config.options import SCHEMA
from core.errors import InputError, NotFoundError
from core.server import create_api
from core.studio.images import changed_conditions, expected_changes, rerun_result
from core.types import Axis, Change, Difference
from tests.ui.conftest import all_text
from ui.state import form as form_state

STEPS, TILES = "generation.num_inference_steps", "vae.enable_tiling"


def run_again(studio, open_page, record):
    page = open_page("history", image=record.id)
    page.button(key="run_again").click().run()
    studio.queue.finish(studio.queue.recent(1)[0].id)
    page.switch_page("views/generate.py").run()
    assert not page.exception
    return page


def test_a_image_that_comes_out_the_same_is_called_identical(studio, open_page):
    page = run_again(studio, open_page, studio.fill_history(1)[0])
    assert "Identical to the original" in all_text(page)


def test_one_that_does_not_is_called_different_with_the_reason(studio, open_page):
    record = studio.fill_history(1)[0]
    path = studio.history.file(record.id)
    studio.history.records[0] = replace(record, effective={**record.effective, "model.dtype": "bfloat16"})
    path.write_bytes(studio.history.file(studio.history.generated(replace(record.request, seed=1)).id).read_bytes())
    said = all_text(run_again(studio, open_page, studio.history.get(record.id)))
    assert "Different from the original." in said and "PSNR" in said
    assert f"{SCHEMA.options['model.dtype'].label['en']} bfloat16 → float32" in said


def test_what_is_known_before_is_said_before(studio, open_page):
    record = studio.fill_history(1)[0]
    studio.history.records[0] = replace(
        record, effective={**record.effective, "versions": {"torch": "1.0", "other": "1"}}
    )
    assert "torch 1.0 → 2.13.0" in all_text(open_page("history", image=record.id))
    studio.history.records[0] = record
    assert "will probably differ" not in all_text(open_page("history", image=record.id))
    studio.history.records[0] = replace(record, request=replace(record.request, model="gone"))
    assert "gone" in all_text(open_page("history", image=record.id))


@pytest.mark.parametrize(
    ("effective", "options", "loaded", "names"),
    [
        ({"model.fingerprint": "other"}, {}, "none", ["model.fingerprint"]),
        ({"model.dtype": "bfloat16"}, {}, "demo", ["model.dtype"]),
        ({"model.dtype": "bfloat16"}, {}, "none", []),  # nobody knows what "auto" will mean
        ({"model.dtype": "float32"}, {"model.dtype": "bfloat16"}, "demo", ["model.dtype"]),
        (
            {"model.device": "cuda", "versions": {"diffusers": "0.41"}},
            {},
            "demo",
            ["model.device", "versions.diffusers"],
        ),
    ],
)
def test_what_will_differ_is_known_where_it_can_be(studio, effective, options, loaded, names):
    record = studio.fill_history(1)[0]
    request = replace(record.request, options={**record.request.options, **options})
    known, worker = studio.catalog.conditions("demo"), replace(studio.worker.status(), model=loaded)
    found = expected_changes(replace(record, request=request, effective=effective), known, worker)
    assert [change.name for change in found] == names


def test_what_a_file_says_of_its_versions_is_shown_as_text(studio, open_page):
    record = studio.fill_history(1)[0]
    words = "![x](http://127.0.0.1:9/x.png)<img src=x onerror=alert(1)>"
    studio.history.records[0] = replace(record, effective={**record.effective, "versions": {"torch": words}})
    page = open_page("history", image=record.id)
    assert not any(
        "![x]" in str(getattr(one, "value", ""))
        for kind in ("markdown", "caption", "warning")
        for one in page.get(kind)
    )
    bodies = "".join(element.proto.body for element in page.get("html"))
    assert "&lt;img src=x" in bodies and "<img src=x" not in bodies


def test_only_what_both_know_is_compared():
    assert changed_conditions({"a": 1, "b": 2}, {"b": 3, "c": 4}) == (Change("b", 2, 3),)


def test_an_identical_image_needs_no_reason(studio):
    record = studio.fill_history(1)[0]
    other = replace(record, effective={"model.dtype": "float16"})
    assert rerun_result(record, other, Difference(True)).reasons == ()
    assert rerun_result(record, other, Difference(True, largest=1)).reasons[0].name == "model.dtype"


def test_new_seeds_are_one_job_of_many(studio, open_page):
    record = studio.fill_history(1)[0]
    page = open_page("history", image=record.id)
    page.number_input(key="vary_count").set_value(3).run()
    page.button(key="vary_seeds").click().run()
    (asked,) = studio.queue.submitted
    assert asked.num_images == 3 and asked.seed >= 0
    assert replace(asked, seed=record.request.seed, num_images=1) == record.request


def test_a_sweep_is_a_job_for_each_cell_row_by_row(studio, open_page):
    record = studio.fill_history(1)[0]
    page = open_page("history", image=record.id)
    page.selectbox(key="vary_x").set_value(STEPS).run()
    page.text_input(key=f"vary_x_{STEPS}").set_value("4, 8，12").run()
    page.selectbox(key="vary_y").set_value(TILES).run()
    page.button(key="vary_sweep").click().run()
    assert not page.exception
    cells = [(asked.num_inference_steps, asked.options[TILES]) for asked in studio.queue.submitted]
    assert cells == [(4, False), (8, False), (12, False), (4, True), (8, True), (12, True)]
    assert {asked.seed for asked in studio.queue.submitted} == {record.request.seed}
    for job in studio.queue.recent():
        studio.queue.finish(job.id)
    sheet = studio.last_sweep()
    page = open_page("sheet", sheet=sheet.id)
    table = "".join(element.proto.body for element in page.get("html"))
    for job_id in sheet.jobs:
        assert f"history?image={studio.queue.get(job_id).image_ids[0]}" in table


@pytest.mark.slow
def test_the_form_itself_can_be_plotted_on_three_axes(studio, open_page):
    page = open_page()
    page.text_area(key=form_state.widget_key("generation.prompt")).set_value("a red house <lora:ink-print:0.5>").run()
    page.selectbox(key="vary_x").set_value("prompt.replace").run()
    page.text_input(key="vary_x_prompt.replace").set_value('red，"blue, small"').run()
    page.selectbox(key="vary_y").set_value("lora.weight:ink-print").run()
    page.text_input(key="vary_y_lora.weight:ink-print").set_value("0, 1").run()
    page.selectbox(key="vary_z").set_value("generation.sampler").run()
    page.multiselect(key="vary_z_generation.sampler").set_value(["euler", "heun"]).run()
    page.button(key="vary_sweep").click().run()
    assert not page.exception
    cells = [(a.prompt, a.options["lora.use"], a.options["generation.sampler"]) for a in studio.queue.submitted]
    words = ("a red house", "a blue, small house")
    weights = ("ink-print:0",), ("ink-print:1",)
    assert cells == [(word, weight, name) for name in ("euler", "heun") for weight in weights for word in words]
    assert len({asked.seed for asked in studio.queue.submitted}) == 1 and studio.queue.submitted[0].seed >= 0
    sheet = studio.last_sweep()
    headings = [heading.value for heading in open_page("sheet", sheet=sheet.id).subheader]
    assert headings == ["Sampler: euler", "Sampler: heun"]


def test_jobs_of_a_model_follow_one_another_whatever_the_axis(studio, monkeypatch):
    other = replace(studio.catalog.find("demo"), id="other")
    models = {"demo": studio.catalog.find("demo"), "other": other}
    monkeypatch.setattr(studio.catalog, "find", models.__getitem__)
    request = studio.requests.new({"prompt": "a house"})
    sheet = studio.reruns.sweep_request(request, [Axis("model.id", ("demo", "other")), Axis(STEPS, (4, 8))])
    assert [asked.model for asked in studio.queue.submitted] == ["demo", "demo", "other", "other"]
    cells = [studio.queue.get(job_id).request for job_id in sheet.jobs]
    assert [(cell.model, cell.num_inference_steps) for cell in cells] == [("demo", 4), ("other", 4), ("demo", 8), ("other", 8)]


def test_the_contact_sheet_waits_for_the_last_image(studio):
    record = studio.fill_history(1)[0]
    sheet = studio.reruns.sweep(record.id, [Axis(STEPS, (4, 8))])
    client = TestClient(create_api(lambda: studio), base_url="http://127.0.0.1:8501")
    studio.queue.finish(sheet.jobs[0])
    assert client.get(f"/sheets/{sheet.id}").status_code == 404
    studio.queue.finish(sheet.jobs[1])
    assert client.get(f"/sheets/{sheet.id}").content.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "axes",
    [
        [],
        [Axis(STEPS, ())],
        [Axis(STEPS, (4, 9000))],
        [Axis(STEPS, tuple(range(1, 102)))],
        [Axis("none", (1,))],
        [Axis(STEPS, (4,)), Axis("generation.seed", (1,)), Axis(TILES, (True,)), Axis("generation.width", (64,))],
        [Axis(STEPS, (4,)), Axis(STEPS, (8,))],
        [Axis("prompt.replace", ("no such words", "blue"))],
        [Axis("lora.weight:none", (1,))],
        [Axis("model.id", ("none",))],
    ],
)
def test_what_cannot_be_swept_queues_nothing(studio, axes):
    record = studio.fill_history(1)[0]
    with pytest.raises(InputError):
        studio.reruns.sweep(record.id, axes)
    assert studio.queue.submitted == []


def test_a_sheet_that_is_not_there(studio, open_page):
    with pytest.raises(NotFoundError):
        studio.sweeps.file("../../etc/passwd")
    assert "There is no X/Y plot" in "".join(element.proto.body for element in open_page("sheet", sheet="x").get("html"))
