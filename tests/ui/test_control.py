"""The control image on the Generate page: given, previewed at once, sent with the request; greyed without a ControlNet."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from core.config.control_units import MODES
from core.models.families import FAMILIES
from core.studio.request_builder import RequestBuilder
from core.types import CONTROL
from tests.ui import page_studio
from tests.ui.conftest import all_text
from ui import formats


@pytest.fixture
def controlled(monkeypatch):
    """The embedded model with a ControlNet."""
    monkeypatch.setattr(page_studio, "DEMO", replace(page_studio.DEMO, inputs=(CONTROL,)))


def image():
    """A white square on black."""
    image = Image.new("RGB", (128, 128))
    image.paste("white", (32, 32, 96, 96))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def seen(studio, page, preprocess):
    """The pixels of the control image."""
    request = studio.requests.new({"controlnet.preprocessor": preprocess})
    request = replace(request, inputs={CONTROL: page.session_state["control_image"]})
    return np.asarray(Image.open(io.BytesIO(studio.requests.control_image(request))))


def test_the_image_is_shown_as_the_controlnet_sees_it_and_goes_with_the_request(studio, open_page, controlled):
    page = open_page()
    assert "Add one above" in all_text(page)
    page.file_uploader(key="control_upload").upload("square.png", image(), "image/png").run()
    assert not page.exception and not page.error
    assert len(page.get("image")) == 1
    outlines = seen(studio, page, "canny")
    assert outlines.shape == (256, 256, 3) and set(np.unique(outlines)) == {0, 255}
    page.selectbox(key="w:controlnet.preprocessor").set_value("none").run()
    assert not [one for one in page.slider if one.key == "w:controlnet.canny_low"]
    assert seen(studio, page, "none").mean() > 3 * outlines.mean(), "the square itself"
    page.text_area(key="w:generation.prompt").set_value("a box").run()
    page.button(key="generate").click().run()
    (job,) = studio.queue.recent()
    assert job.request.inputs == {CONTROL: page.session_state["control_image"]}
    assert job.request.options["controlnet.preprocessor"] == "none"


def test_without_one_the_error_says_what_is_missing(studio, open_page, controlled):
    page = open_page()
    page.text_area(key="w:generation.prompt").set_value("a box").run()
    page.button(key="generate").click().run()
    assert studio.queue.recent() == []
    assert "none was given; give one" in " ".join(str(one.proto) for one in page.get("html")) + all_text(page)


def test_thresholds_that_contradict_each_other_are_said_in_the_previews_place(studio, open_page, controlled):
    page = open_page()
    page.file_uploader(key="control_upload").upload("square.png", image(), "image/png").run()
    page.slider(key="w:controlnet.canny_low").set_value(250).run()
    assert formats.literal("controlnet.canny_low") in " ".join(one.value for one in page.warning)


def test_models_without_a_controlnet_grey_it_with_the_reason(studio, open_page, monkeypatch):
    flux = FAMILIES["Flux2KleinPipeline"].cannot["controlnet."]
    cannot = {f"controlnet.{name}": flux for name in ("scale", "preprocessor", "units")}
    monkeypatch.setattr(page_studio, "DEMO", replace(page_studio.DEMO, cannot=cannot))
    page = open_page()
    assert not [one for one in page.selectbox if one.key == "w:controlnet.preprocessor"]
    assert "this model has no ControlNet" in all_text(page)
    assert not page.file_uploader or all(one.key != "control_upload" for one in page.file_uploader)


@pytest.fixture
def networks(monkeypatch):
    """Three ControlNets for the embedded model: with control modes, a Union, and one without either."""
    types = {"lines": (), "union": ("pose", "depth"), "plain": ()}
    for name, answer in (
        ("controlnets", lambda self, model: list(types)),
        ("union_types", lambda self, name: types[name]),
        ("control_modes", lambda self, name: MODES if name == "lines" else ()),
    ):
        monkeypatch.setattr(RequestBuilder, name, answer)


def test_several_controlnets_with_image_weight_and_range(studio, open_page, networks):
    page = open_page()
    page.button(key="control_add").click().run()
    page.button(key="control_add").click().run()
    page.file_uploader(key="control_upload_0").upload("square.png", image(), "image/png").run()
    page.selectbox(key="unit:0:preprocessor").set_value("pose").run()
    assert page.button(key="control_pose_0").label == "Find the pose"
    page.selectbox(key="unit:0:preprocessor").set_value("canny").run()
    page.slider(key="unit:0:weight").set_value(0.8).run()
    page.slider(key="unit:0:window").set_value((0.1, 0.6)).run()
    page.selectbox(key="unit:1:name").set_value("union").run()
    page.selectbox(key="unit:1:kind").set_value("pose").run()
    assert not page.exception and not page.error
    assert len(page.get("image")) == 2, "the second sees the image of the first"
    page.text_area(key="w:generation.prompt").set_value("a box").run()
    page.button(key="generate").click().run()
    (job,) = studio.queue.recent()
    assert job.request.options["controlnet.units"] == (
        "lines:0.8:preprocessor=canny:start=0.1:end=0.6", "union:0.75:type=pose",
    )  # fmt: skip
    assert job.request.inputs == {CONTROL: page.session_state["control_image"]}
    page.button(key="control_remove_0").click().run()
    assert page.session_state["control_image"] == "" and page.selectbox(key="unit:0:name").value == "union"


def test_only_fields_that_act_are_shown(open_page, networks):
    page = open_page()
    page.button(key="control_add").click().run()

    def fields():
        return {one.key.rpartition(":")[2] for one in page.selectbox if str(one.key).startswith("unit:0:")}

    assert fields() == {"name", "preprocessor", "mode"}
    page.selectbox(key="unit:0:name").set_value("plain").run()
    assert fields() == {"name", "preprocessor"}
    page.selectbox(key="unit:0:name").set_value("lines").run()
    page.selectbox(key="unit:0:mode").set_value("prompt").run()
    page.selectbox(key="unit:0:name").set_value("union").run()
    assert fields() == {"name", "preprocessor", "kind", "mode"}, "what is set can be unset"
    page.selectbox(key="unit:0:mode").set_value("balanced").run()
    assert not page.exception and fields() == {"name", "preprocessor", "kind"}


def test_a_unit_without_an_image_says_so(open_page, networks):
    page = open_page()
    page.button(key="control_add").click().run()
    assert "ControlNet lines has no image" in all_text(page)
