"""An image to start from on the pages: chosen, sent from the history, with a mask, run again, and back to text."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from PIL import Image
from streamlit.util import calc_hash

from core.types import IMAGE, MASK, REFERENCES, InputSources
from tests.models.onnx_files import bright_squares
from tests.ui import page_studio
from tests.ui.conftest import all_text, component_data
from tests.ui.test_generate import only


def png(size=(320, 200), colour=(10, 120, 60)):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def with_image(open_page, data=None):
    page = open_page()
    page.text_area(key="w:generation.prompt").set_value("a red house")
    page.file_uploader(key="input_file_0").set_value([("mine.png", data or png(), "image/png")]).run()
    assert not page.exception
    return page


def test_without_a_image_it_is_as_before(studio, open_page):
    page = open_page()
    assert "w:img2img.denoising_strength" not in page.session_state
    page.text_area(key="w:generation.prompt").set_value("a red house")
    page.button(key="generate").click().run()
    assert (only(studio).inputs, only(studio).parent) == ({}, "")


def test_a_selected_image_is_refined_at_the_size_that_fits(studio, open_page):
    page = with_image(open_page)
    assert "5 of 8 steps will be run" in all_text(page)
    page.slider(key="w:img2img.denoising_strength").set_value(0.25).run()
    assert "2 of 8 steps will be run" in all_text(page)
    page.button(key="generate").click().run()
    request = only(studio)
    assert (
        request.inputs == {"image": studio.input_images.keep(png())}
        and request.options["img2img.denoising_strength"] == 0.25
    )
    assert (request.width, request.height) == (320, 200)
    page.button(key="remove_input").click().run()
    page.button(key="generate").click().run()
    assert studio.queue.submitted[-1].inputs == {}


def test_a_large_image_is_refined_at_the_models_size(studio, open_page):
    with_image(open_page, png((3200, 2000))).button(key="generate").click().run()
    request = only(studio)
    assert (request.width, request.height) == (320, 208)


@pytest.fixture
def edits(studio, monkeypatch):
    """Let the model edit several images by instruction."""
    model = replace(page_studio.DEMO, inputs=(IMAGE, MASK, *REFERENCES))
    monkeypatch.setattr(type(studio.catalog), "find", lambda self, name: model)
    monkeypatch.setattr(type(studio.catalog), "models", lambda self: (model,))


def test_further_images_of_a_model_that_edits_several(studio, open_page, edits):
    page = with_image(open_page)
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (9, 9, 9)]
    files = [(f"{k}.png", png((80, 64), colour), "image/png") for k, colour in enumerate(colours)]
    page.file_uploader(key="reference_files_1").set_value(files).run()
    assert "4 further images were given; allowed: 3" in all_text(page)
    page.file_uploader(key="reference_files_1").set_value(files[:2]).run()
    page.button(key="generate").click().run()
    assert list(only(studio).inputs) == ["image", "image_2", "image_3"]
    page.button(key="remove_references").click().run()
    page.button(key="generate").click().run()
    assert list(studio.queue.submitted[-1].inputs) == ["image"]


def test_images_of_an_edit_are_reordered_and_taken_out_one_by_one(studio, open_page, edits):
    page = with_image(open_page)
    given = [png((80, 64), (200, 0, 0)), png((96, 64), (0, 200, 0))]
    files = [(f"{k}.png", data, "image/png") for k, data in enumerate(given)]
    page.file_uploader(key="reference_files_1").set_value(files).run()
    mine, red, green = (studio.input_images.keep(data) for data in (png(), *given))
    page.button(key="earlier_2").click().run()
    assert page.session_state["sources"].inputs == {"image": mine, "image_2": green, "image_3": red}
    page.button(key="earlier_1").click().run()
    page.button(key="generate").click().run()
    assert only(studio).inputs == {"image": green, "image_2": mine, "image_3": red}
    assert (only(studio).width, only(studio).height) == (96, 64), "the first image gives the size"
    page.button(key="remove_reference_1").click().run()
    assert page.session_state["sources"].inputs == {"image": green, "image_2": red}


def test_images_of_the_history_join_an_edit_and_the_first_is_the_parent(studio, open_page, edits):
    first, second = studio.fill_history(2)
    page = open_page()
    page.session_state["sources"] = InputSources({IMAGE: studio.input_images.keep(png())}, first.id)
    page.query_params["image"] = second.id
    page._page_hash = calc_hash("history")
    page.run()
    assert page.button(key="detail_start_from").label == "Edit again"
    page.button(key="detail_refer_to").click().run()
    assert not page.exception
    assert [*page.session_state["sources"].inputs] == ["image", "image_2"]
    assert page.session_state["sources"].parent == first.id


def test_an_edit_is_shown_over_its_source_with_its_chain_and_branches(studio, open_page, edits):
    root = studio.fill_history(1)[0]
    source = {"image": studio.input_images.keep(png())}
    middle, branch = (
        studio.history.generated(replace(root.request, inputs=source, parent=root.id, seed=k)) for k in (1, 2)
    )
    last = studio.history.generated(replace(root.request, inputs=source, parent=middle.id))
    page = open_page()
    page.session_state["shown_image"], page.session_state["stage_tab"] = last.id, "compare"
    page.run()
    assert not page.exception
    said = all_text(page)
    assert "The images it was made from, oldest first: 2" in said
    assert "Branches, made from the same images: 1" in said
    (divider,) = component_data(page, "slider")
    shown = [one["src"] for one in divider["images"]]
    assert shown == [f"/api/inputs/{source['image']}", f"/api/images/{last.id}"]
    strips = [[one["id"] for one in strip["items"]] for strip in component_data(page, "gallery")]
    assert strips == [[root.id, middle.id], [branch.id]]
    assert page.button(key="start_from").label == "Edit again"
    page.session_state["shown_image"] = root.id
    page.run()
    assert "oldest first" not in all_text(page), "there is nothing to compare it with"


def test_an_edit_has_the_size_of_its_source(studio, open_page, edits):
    with_image(open_page, png((704, 448))).button(key="generate").click().run()
    assert (only(studio).width, only(studio).height) == (704, 448)


def test_what_is_no_image_is_told_and_nothing_changes(studio, open_page):
    page = with_image(open_page, b"no image")
    assert "mine.png cannot be used" in all_text(page)
    assert page.file_uploader(key="input_file_0")
    page.button(key="generate").click().run()
    assert only(studio).inputs == {}


def test_a_strength_without_a_step_is_told(studio, open_page):
    page = with_image(open_page)
    page.slider(key="w:img2img.denoising_strength").set_value(0.0).run()
    page.button(key="generate").click().run()
    assert "none would be run" in all_text(page) and studio.queue.submitted == []


def test_a_image_of_the_history_is_sent_to_the_form_and_is_the_parent(studio, open_page):
    record = studio.fill_history()[0]
    page = open_page("history", image=record.id)
    page.button(key="detail_start_from").click().run()
    assert not page.exception
    page.button(key="generate").click().run()
    request = only(studio)
    assert request.parent == record.id and set(request.inputs) == {"image"}
    assert (request.prompt, request.width, request.height) == (record.request.prompt, record.width, record.height)


def test_the_finished_image_is_refined_at_a_click(studio, open_page):
    job = studio.queue.submit(studio.requests.new({"prompt": "a red house"}))
    studio.queue.finish(job.id)
    record = studio.history.records[0]
    page = open_page(job=job.id)
    page.session_state["sections_open"] = frozenset()
    page.run()
    assert "off" in header(page, "Img2img")
    page.button(key="start_from").click().run()
    assert "denoising" in header(page, "Img2img")
    assert page.slider(key="w:img2img.denoising_strength").value == 0.6 and page.session_state["stage_tab"] == "mask"
    page.button(key="generate").click().run()
    assert studio.queue.submitted[-1].parent == record.id
    assert page.session_state["stage_tab"] == "result", "what is generated is shown"


def header(page, name):
    """What the header of an accordion says."""
    (label,) = [one.label for one in page.expander if one.label.startswith(name)]
    return label


def test_outpaint_gives_the_file_the_size_of_what_is_added(studio, open_page):
    page = with_image(open_page)
    page.number_input(key="w:outpaint.left").set_value(64).run()
    page.selectbox(key="w:outpaint.ratio").set_value("1:1").run()
    page.button(key="generate").click().run()
    request = only(studio)
    assert (request.options["outpaint.left"], request.options["outpaint.ratio"]) == (64, "1:1")
    assert request.width == request.height == 64 + 320


def test_boxes_are_typed_and_refused_by_name(studio, open_page):
    page = with_image(open_page)
    boxes = next(one for one in page.text_input if one.label == "Refine boxes")
    boxes.set_value("64x64+0+0, 32x32+64+0").run()
    assert "Only the boxes are regenerated" in all_text(page) and "over all boxes" in all_text(page)
    page.number_input(key="w:inpaint.padding").set_value(8).run()
    page.button(key="generate").click().run()
    options = only(studio).options
    assert (options["inpaint.boxes"], options["inpaint.padding"]) == (("64x64+0+0", "32x32+64+0"), 8)
    next(one for one in page.text_input if one.label == "Refine boxes").set_value("here").run()
    page.button(key="generate").click().run()
    assert "128x128+64+32" in all_text(page) and len(studio.queue.submitted) == 1


def test_painted_parts_become_boxes(studio, open_page):
    page = with_image(open_page)
    mask = Image.new("L", (320, 200))
    mask.paste(255, (16, 24, 80, 104))
    mask.paste(255, (200, 40, 240, 72))
    file = io.BytesIO()
    mask.save(file, "PNG")
    page.session_state["sources"] = replace(
        sources := page.session_state["sources"],
        inputs={**sources.inputs, MASK: studio.input_images.keep_mask(file.getvalue(), "mask")},
    )
    page.run()
    page.button(key="painted_boxes").click().run()
    page.button(key="generate").click().run()
    request = only(studio)
    assert request.options["inpaint.boxes"] == ("64x80+16+24", "40x32+200+40") and MASK not in request.inputs


def test_a_detector_fills_the_boxes(studio, open_page):
    folder = studio.requests._models / "detectors"
    folder.mkdir(parents=True)
    bright_squares(folder / "squares.onnx")
    picture = Image.new("RGB", (128, 128))
    picture.paste("white", (32, 48, 48, 64))
    file = io.BytesIO()
    picture.save(file, "PNG")
    page = with_image(open_page, file.getvalue())
    page.slider(key="detector_confidence").set_value(0.9).run()
    page.button(key="detect").click().run()
    page.button(key="generate").click().run()
    assert only(studio).options["inpaint.boxes"] == ("16x16+32+48",)


def test_selected_images_are_upscaled_as_jobs(studio, open_page):
    records = studio.fill_history(3)
    page = open_page("history")
    page.button(key="choose_all").click().run()
    page.button(key="upscale_chosen").click().run()
    assert not page.exception
    assert {job.parent for job in studio.queue.submitted} == {record.id for record in records}
    assert all(job.options["upscale.mode"] == "enlarge" for job in studio.queue.submitted)


def test_an_image_of_the_history_is_upscaled_as_a_job(studio, open_page):
    record = studio.fill_history()[0]
    page = open_page("history", image=record.id)
    page.button(key="detail_upscale").click().run()
    request = only(studio)
    assert (request.parent, request.options["upscale.mode"], request.prompt) == (
        record.id,
        "enlarge",
        record.request.prompt,
    )
    assert (request.width, request.height) == (2 * record.width, 2 * record.height)


def test_upscaling_of_the_source_image_sets_the_size(studio, open_page):
    page = with_image(open_page)
    page.session_state["section:hires"] = True
    page.run()
    page.selectbox(key="w:upscale.mode").set_value("enlarge").run()
    page.selectbox(key="w:upscale.method").set_value("compact-x4").run()
    page.button(key="generate").click().run()
    request = only(studio)
    assert (request.width, request.height) == (640, 400) and request.options["upscale.method"] == "compact-x4"


def test_the_fields_of_a_mask_are_shown_with_one(studio, open_page):
    page = with_image(open_page)
    assert "w:inpaint.mask_blur" not in [one.key for one in page.slider] + [one.key for one in page.number_input]
    kept = studio.input_images.keep(png(colour=(255, 255, 255)))
    page.session_state["sources"] = replace(
        page.session_state["sources"], inputs={**page.session_state["sources"].inputs, "mask_image": kept}
    )
    page.run()
    page.selectbox(key="w:inpaint.area").set_value("masked").run()
    page.selectbox(key="w:inpaint.fill").set_value("color").run()
    page.selectbox(key="w:inpaint.fill_color").set_value("white").run()
    page.button(key="generate").click().run()
    options = only(studio).options
    assert (options["inpaint.area"], options["inpaint.fill"], options["inpaint.fill_color"]) == (
        "masked",
        "color",
        "white",
    )


def test_the_detail_shows_where_a_image_comes_from_and_what_was_made_of_it(studio, open_page):
    parent = studio.fill_history()[0]
    inputs = {"image": studio.input_images.keep(png())}
    child = studio.history.generated(replace(parent.request, inputs=inputs, parent=parent.id))
    assert "Made from this image: 1" in all_text(open_page("history", image=parent.id))
    said = all_text(open_page("history", image=child.id))
    assert "The image it was made from" in said and f"/api/inputs/{inputs['image']}" in said
    studio.history.delete(parent.id)
    assert "no longer in the history" in all_text(open_page("history", image=child.id))


def test_run_again_and_use_these_settings_bring_the_inputs_back(studio, open_page):
    first = studio.fill_history()[0]
    inputs = {
        "image": studio.input_images.keep(png()),
        "mask_image": studio.input_images.keep(png(colour=(255, 255, 255))),
    }
    record = studio.history.generated(replace(first.request, inputs=inputs, parent=first.id))
    page = open_page("history", image=record.id)
    page.button(key="run_again").click().run()
    assert studio.queue.submitted[-1] == record.request
    page = open_page("history", image=record.id)
    page.button(key="use_settings").click().run()
    page.button(key="generate").click().run()
    assert (studio.queue.submitted[-1].inputs, studio.queue.submitted[-1].parent) == (inputs, first.id)


def test_a_model_that_takes_no_image_says_so(studio, open_page, monkeypatch):
    page = with_image(open_page)
    monkeypatch.setattr(page_studio, "DEMO", replace(page_studio.DEMO, inputs=()))
    page.run()
    assert "does not support img2img" in all_text(page)
    page.button(key="generate").click().run()
    assert "demo takes no such image" in all_text(page)


def test_the_quick_check_is_generated_from_text(studio, open_page):
    with_image(open_page).button(key="quick_check").click().run()
    assert only(studio).inputs == {}


def test_f5_finds_the_inputs_of_the_watched_job(studio, open_page):
    page = with_image(open_page)
    page.button(key="generate").click().run()
    again = open_page(job=studio.queue.recent(1)[0].id)
    again.button(key="generate").click().run()
    assert studio.queue.submitted[-1].inputs == studio.queue.submitted[0].inputs != {}
