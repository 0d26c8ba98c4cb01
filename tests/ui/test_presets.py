"""Presets and wildcards on the Generate page, over the studio in memory."""

from __future__ import annotations

import pytest

from core.batch.templates import is_template
from core.config.loader import load_settings
from tests.ui.conftest import all_text, use
from tests.ui.page_studio import PageStudio


@pytest.fixture
def studio(tmp_path, monkeypatch):
    settings = load_settings(overrides={"ui.language": "en", "output.directory": str(tmp_path)})
    return use(monkeypatch, PageStudio(tmp_path, settings))


def test_a_shipped_preset_is_applied_and_marked_once_something_differs(studio, open_page):
    page = open_page()
    page.text_area(key="w:generation.prompt").set_value("a red house")
    page.selectbox(key="preset_select").set_value("guide").run()
    assert page.number_input(key="w:generation.num_inference_steps").value == 12
    assert page.number_input(key="w:generation.cfg_scale").value == 6.5
    assert page.text_area(key="w:generation.prompt").value == "a red house", "a preset has no prompt"
    assert page.selectbox(key="preset_select").label == "Preset"
    page.number_input(key="w:generation.num_inference_steps").set_value(9).run()
    assert page.selectbox(key="preset_select").label == "Preset (modified)"


def test_a_preset_is_saved_marked_and_deleted(studio, open_page):
    page = open_page()
    page.number_input(key="w:generation.num_inference_steps").set_value(5).run()
    page.session_state["preset_menu"] = True
    page.run()
    page.text_input(key="preset_name").set_value("five steps").run()
    page.button(key="preset_save").click().run()
    assert page.selectbox(key="preset_select").value == "five steps"
    page.number_input(key="w:generation.num_inference_steps").set_value(7).run()
    assert page.selectbox(key="preset_select").label == "Preset (modified)"
    page.button(key="preset_delete").click().run()
    assert page.selectbox(key="preset_select").value is None and "five steps" not in page.selectbox(key="preset_select").options
    assert page.number_input(key="w:generation.num_inference_steps").value == 7


@pytest.mark.parametrize(
    ("prompt", "is_one"),
    [
        ("a {red|blue} house", True),
        ("a __color__ house", True),
        ("{a {b|c} d}", True),
        ('{"json": 1}', False),
        ("a {red} house", False),
        (r"a \{red|blue\} house", False),
        ("snake__case__name", True),  # a wildcard may stand inside a word
        ("a | b", False),
    ],
)
def test_what_is_a_template(prompt, is_one):
    assert is_template(prompt) is is_one


def test_wildcards_are_expanded_by_the_seed_and_the_template_is_kept(studio, open_page):
    page = open_page()
    page.text_area(key="w:generation.prompt").set_value("a {red|blue|green} house")
    page.number_input(key="w:generation.num_images").set_value(8)
    page.number_input(key="w:generation.seed").set_value(5)
    page.button(key="generate").click().run()
    request = studio.queue.submitted[0]
    singles = request.per_image_requests()
    assert {one.prompt for one in singles} <= {f"a {color} house" for color in ("red", "blue", "green")}
    assert len({one.prompt for one in singles}) > 1
    assert {one.template for one in singles} == {"a {red|blue|green} house"}
    assert [one.seed for one in singles] == list(range(5, 13))


def test_a_wildcard_that_is_not_there_is_an_error_and_nothing_is_queued(studio, open_page):
    page = open_page()
    page.text_area(key="w:generation.prompt").set_value("a __no-such-file__ house")
    page.button(key="generate").click().run()
    assert studio.queue.submitted == [] and "no-such-file" in all_text(page)


def test_options_without_an_effect_are_greyed_with_the_reason(studio, open_page):
    page = open_page()
    field = next(one for one in page.slider if one.key == "w:vae.tile_overlap_factor")
    assert field.disabled and "needs Tiled VAE = on" in field.help
    page.toggle(key="w:vae.enable_tiling").set_value(True).run()
    assert not next(one for one in page.slider if one.key == "w:vae.tile_overlap_factor").disabled
