"""LoRAs in the pages: chosen, weighed, refused where they do not fit, listed with what they are."""

from __future__ import annotations

from dataclasses import replace

from tests.ui.conftest import all_text


def generate(page, studio, prompt="a red house"):
    page.text_area(key="w:generation.prompt").set_value(prompt).run()
    page.button(key="generate").click().run()
    return studio.queue.recent(1)[0].request


def test_only_those_that_fit_are_offered(studio, open_page):
    assert open_page("generate").multiselect(key="lora_names").options == ["ink-print"]


def test_what_is_chosen_and_weighed_travels_with_the_request(studio, open_page):
    page = open_page("generate")
    page.multiselect(key="lora_names").select("ink-print").run()
    assert page.slider(key="lora_weight:ink-print").value == 1.0
    page.slider(key="lora_weight:ink-print").set_value(0.65).run()
    assert generate(page, studio).options["lora.use"] == ("ink-print:0.65",)
    page.multiselect(key="lora_names").unselect("ink-print").run()
    assert generate(page, studio).options["lora.use"] == ()


def test_yaml_fills_the_widgets(studio, open_page):
    page = open_page("generate")
    page.text_area(key="yaml_0").set_value("lora: {use: ['ink-print:3.5', xl-glow]}").run()
    page.button(key="yaml_apply").click().run()
    assert page.multiselect(key="lora_names").value == ["ink-print", "xl-glow"]
    assert (page.slider(key="lora_weight:ink-print").value, page.slider(key="lora_weight:ink-print").max) == (3.5, 3.5)
    assert "does not fit the selected model" in all_text(page)


def test_yaml_that_makes_no_sense_is_an_error_and_changes_nothing(studio, open_page):
    page = open_page("generate")
    page.text_area(key="yaml_0").set_value("lora: {use: ['ink-print:a lot']}").run()
    page.button(key="yaml_apply").click().run()
    assert "name:weight" in all_text(page)
    assert page.multiselect(key="lora_names").value == []


def test_a_misspelt_name_in_the_prompt_names_the_nearest(studio, open_page):
    page = open_page("generate")
    page.text_area(key="w:generation.prompt").set_value("a house <lora:ink-prnt:1>").run()
    page.button(key="generate").click().run()
    assert "ink-prnt" in all_text(page) and "ink-print" in all_text(page)
    assert not studio.queue.recent(1)


def test_the_models_page_lists_them(studio, open_page):
    page = open_page("models")
    words = "".join(element.proto.body for element in page.get("html"))
    for part in (
        "ink-print",
        "Embedded model",
        "350 KB",
        "abababababababab…",
        "unet 2048",
        "/api/loras/ink-print/preview",
    ):
        assert part in words, part
    assert "the file is shorter" in all_text(page)


def test_use_and_remove(studio, open_page):
    page = open_page("models")
    page.button(key="use_lora_0").click().run()
    assert page.button(key="use_lora_0").label == "In use"
    form = page.session_state["form"]
    assert form["lora.use"] == ("ink-print:1",) and form["model.id"] == "demo", (
        "a whole form, though its page was never open"
    )
    page.button(key="delete_lora_1").click().run()
    assert [lora.name for lora in studio.models.loras()] == ["ink-print", "broken"]


def test_many_are_shown_a_page_at_a_time_and_found_by_name(studio, open_page, monkeypatch):
    one = studio.models.loras()[0]
    many = [replace(one, name=f"style {number}", preview=False) for number in range(70)]
    monkeypatch.setattr(studio.models, "loras", lambda: many)
    page = open_page("models")

    def shown():
        cards = (element.proto.body for element in page.get("html"))
        return {card.split("<h3>")[1].split("<")[0] for card in cards if "<h3>style" in card}

    assert shown() == {f"style {number}" for number in range(30)}
    page.selectbox(key="lora_page").select(60).run()
    assert shown() == {f"style {number}" for number in range(60, 70)}
    page.button(key="use_lora_64").click().run()
    assert page.session_state["form"]["lora.use"] == ("style 64:1",), "the button belongs to what it stands below"
    page.text_input(key="lora_find").set_value("STYLE 1").run()
    assert shown() == {"style 1", *(f"style {number}" for number in range(10, 20))}
    page.text_input(key="lora_find").set_value("nothing").run()
    assert shown() == set()


def test_trigger_words_go_into_the_prompt_once(studio, open_page):
    page = open_page("generate")
    page.text_area(key="w:generation.prompt").set_value("a red house").run()
    page.multiselect(key="lora_names").select("ink-print").run()
    page.button(key="lora_words_ink-print").click().run()
    assert page.text_area(key="w:generation.prompt").value == "a red house, ink print"
    page.button(key="lora_words_ink-print").click().run()
    assert page.text_area(key="w:generation.prompt").value == "a red house, ink print"


def test_part_weights_survive_the_slider(studio, open_page):
    page = open_page("generate")
    page.text_area(key="yaml_0").set_value("lora: {use: ['ink-print:0.8:te=0:layers.0-3=0.5']}").run()
    page.button(key="yaml_apply").click().run()
    assert "te 0, layers\\.0\\-3 0\\.5" in all_text(page)
    page.slider(key="lora_weight:ink-print").set_value(0.6).run()
    assert generate(page, studio).options["lora.use"] == ("ink-print:0.6:te=0:layers.0-3=0.5",)
