"""The Generate page: what is asked of the studio, and what is said when it can't be done."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from core.config.loader import load_settings, parse_yaml
from core.config.options import SCHEMA
from core.config.prompt_weights import CLIP_SKIP, SYNTAX
from core.errors import CorruptImageError, GenerationError, OutOfMemoryError
from core.jobs.worker_commands import PromptAnswer, PromptCommands
from core.models.model_paths import EMBEDDED
from core.types import Capability, GenerationRequest, JobState, Phase
from tests.options import measured
from tests.ui.conftest import all_text, component_data, use
from tests.ui.page_studio import PageStudio
from ui.components.image_card import peak_label
from ui.state import session


def only(studio: PageStudio) -> GenerationRequest:
    """The one request that was submitted."""
    assert len(studio.queue.submitted) == 1
    return studio.queue.submitted[0]


def test_generate_submits_exactly_what_the_form_says(studio, open_page):
    page = open_page()
    page.text_area(key="w:generation.prompt").set_value("a red house")
    page.number_input(key="w:generation.cfg_scale").set_value(2.5).run()
    page.text_area(key="w:generation.negative_prompt").set_value("rain")
    page.number_input(key="w:generation.width").set_value(300)
    page.number_input(key="w:generation.height").set_value(200)
    page.number_input(key="w:generation.num_inference_steps").set_value(5)
    page.number_input(key="w:generation.num_images").set_value(2)
    page.number_input(key="w:generation.seed").set_value(77)
    page.toggle(key="w:vae.enable_tiling").set_value(True)
    page.number_input(key="w:scheduler.shift").set_value(2.5)
    page.button(key="generate").click().run()
    assert not page.exception
    options = {**studio.settings.request_options(), "vae.enable_tiling": True, "scheduler.shift": 2.5}
    assert only(studio) == GenerationRequest("a red house", "rain", "demo", 300, 200, 5, 2.5, 77, 2, options)


def test_an_untouched_form_is_the_settings_over_the_models_own_values(studio, open_page):
    page = open_page()
    page.text_area(key="w:generation.prompt").set_value("一座红色的房子")
    page.button(key="generate").click().run()
    request = only(studio)
    assert request.seed >= 0
    assert replace(request, seed=-1) == studio.requests.new({"prompt": "一座红色的房子"})


def test_the_job_is_in_the_address_and_is_found_again_after_a_reload(studio, open_page):
    page = open_page()
    page.text_area(key="w:generation.prompt").set_value("a red house")
    page.number_input(key="w:generation.num_inference_steps").set_value(9)
    page.button(key="generate").click().run()
    job = studio.queue.recent(1)[0]
    assert page.query_params["job"] == job.id
    studio.queue.advance(job.id, 4)
    again = open_page(job=job.id)
    assert "Step 4 of 9" in progress(again)
    assert again.text_area(key="w:generation.prompt").value == "a red house"
    assert again.number_input(key="w:generation.num_inference_steps").value == 9
    assert again.number_input(key="w:generation.seed").value is None, "the next image is another one"


def progress(page) -> str:
    return "\n".join(bar["words"] for bar in component_data(page, "pulse"))


def test_what_a_running_job_says(studio, open_page):
    job = studio.queue.submit(studio.requests.new({"prompt": "a red house", "num_images": 3}))
    assert "Next" in progress(open_page(job=job.id))
    studio.queue.advance(job.id, 0, Phase.LOADING, "3.1 / 12.3 GB")
    assert "Loading model · image 1 of 3 · 3.1 / 12.3 GB" in progress(open_page(job=job.id))
    studio.queue.advance(job.id, 2)
    assert "Step 2 of 8 · image 1 of 3 · 2.4 s left" in progress(open_page(job=job.id))


@pytest.mark.parametrize(("changed", "told"), [({}, True), ({"preview.enabled": False}, False)])
def test_a_model_without_previews_says_so_while_it_runs(studio, open_page, monkeypatch, changed, told):
    none = Capability("preview.enabled", "preview", False, {"en": "no live preview: get taesd", "zh": "没有实时预览"})
    status = replace(studio.worker.status(), capabilities=(none,))
    monkeypatch.setattr(studio.worker, "status", lambda: status)
    job = studio.queue.submit(studio.requests.new({"prompt": "a red house", **changed}))
    assert "no live preview" not in all_text(open_page(job=job.id))  # it waits
    studio.queue.advance(job.id, 2)
    assert ("no live preview: get taesd" in all_text(open_page(job=job.id))) is told
    status = replace(status, model="another")
    assert "no live preview" not in all_text(open_page(job=job.id))


def test_cancel_asks_the_studio(studio, open_page):
    job = studio.queue.submit(studio.requests.new({"prompt": "a red house"}))
    page = open_page(job=job.id)
    page.button(key="cancel").click().run()
    assert studio.queue.get(job.id).cancel_requested
    assert "Canceled" in all_text(open_page(job=job.id))


def test_a_cancelled_job_says_how_many_images_it_saved(studio, open_page):
    job = studio.queue.submit(studio.requests.new({"prompt": "a red house", "num_images": 3}))
    studio.queue.advance(job.id, 4)
    studio.history.generated(next(iter(job.request.per_image_requests())), job.id)
    studio.queue.finish(job.id, JobState.CANCELLED)
    assert "Canceled. 1 of 3 images were saved." in all_text(open_page(job=job.id))


def test_an_error_can_be_closed_and_does_not_follow_to_other_pages(studio, open_page):
    page = open_page()
    page.button(key="generate").click().run()
    assert "Invalid prompt" in all_text(page)
    page.switch_page("views/queue.py").run()
    assert "Invalid prompt" not in all_text(page)
    page.switch_page("views/generate.py").run()
    assert "Invalid prompt" not in all_text(page)
    page.button(key="generate").click().run()
    next(one for one in page.button if one.key.endswith("_close")).click().run()
    assert not page.exception and "Invalid prompt" not in all_text(page)


def test_pause_holds_the_running_job_and_resumes_it(studio, open_page):
    job = studio.queue.submit(studio.requests.new({"prompt": "a red house"}))
    studio.queue.advance(job.id, 2)
    page = open_page(job=job.id)
    assert page.button(key="pause").label == "Pause"
    page.button(key="pause").click().run()
    assert studio.queue.get(job.id).held and page.button(key="pause").label == "Resume"
    page.button(key="pause").click().run()
    assert not studio.queue.get(job.id).held and page.button(key="pause").label == "Pause"


def test_a_finished_job_shows_its_image_and_its_buttons(studio, open_page):
    job = studio.queue.submit(studio.requests.new({"prompt": "a red house", "seed": 5}))
    studio.queue.finish(job.id)
    page = open_page(job=job.id)
    page.button(key="reuse_seed").click().run()
    assert page.number_input(key="w:generation.seed").value == 5
    page.button(key="new_seed").click().run()
    repeated = studio.queue.submitted[-1]
    assert len(studio.queue.submitted) == 2
    assert replace(repeated, seed=5) == studio.queue.get(job.id).request


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"w:generation.prompt": "   "}, "Invalid prompt"),
        ({"w:generation.prompt": "x" * 100_000}, "10000 characters"),
        ({"w:generation.prompt": "a house", "w:generation.width": 4000}, "1024"),
    ],
)
def test_a_request_that_cannot_be_used_is_a_card_and_loses_nothing(studio, open_page, values, said):
    page = open_page()
    for key, value in values.items():
        (page.number_input if isinstance(value, int) else page.text_area)(key=key).set_value(value)
    page.button(key="generate").click().run()
    assert not page.exception
    assert not studio.queue.submitted
    assert said in all_text(page)
    assert page.text_area(key="w:generation.prompt").value == values["w:generation.prompt"]
    page.text_area(key="w:generation.prompt").set_value("a good one")
    page.number_input(key="w:generation.width").set_value(256)
    page.button(key="generate").click().run()
    assert only(studio).prompt == "a good one"
    assert said not in all_text(page)


def test_a_failed_job_says_why_and_offers_the_cure(studio, open_page):
    job = studio.queue.submit(studio.requests.new({"prompt": "a red house"}))
    studio.queue.fail(job.id, OutOfMemoryError(device="cuda", width=2048, height=2048))
    page = open_page(job=job.id)
    assert "Out of memory on cuda at 2048x2048" in all_text(page)
    page.button(key="job_again").click().run()
    assert not page.exception
    again = studio.queue.submitted[-1]
    assert again.options["memory.low_vram"] is True
    assert replace(again, options=job.request.options) == job.request
    assert page.toggle(key="w:memory.low_vram").value is True


def test_a_failed_job_without_a_cure_can_be_run_again(studio, open_page):
    job = studio.queue.submit(studio.requests.new({"prompt": "a red house"}))
    studio.queue.fail(job.id, GenerationError(detail="the card fell off"))
    page = open_page(job=job.id)
    assert "the card fell off" in all_text(page)
    page.button(key="job_again").click().run()
    assert studio.queue.submitted == [job.request, job.request]


def test_a_job_that_is_gone_is_said_once(studio, open_page):
    page = open_page(job="0123456789ab")
    assert "There is no job with the id 0123456789ab" in all_text(page)
    page.text_area(key="w:generation.prompt").set_value("a red house")
    page.button(key="generate").click().run()
    assert "0123456789ab" not in all_text(page)


def test_the_first_start_offers_six_samples_and_one_click_makes_one(studio, open_page):
    studio.queue.finish(studio.queue.submit(studio.requests.new({"prompt": "a red house of somebody"})).id)
    page = open_page()
    assert "of somebody" not in all_text(page) and "reuse_seed" not in [button.key for button in page.button]
    cards = [button for button in page.button if button.key.startswith("make_")]
    assert len(cards) == 6
    cards[0].click().run()
    assert not page.exception
    request = studio.queue.submitted[-1]
    assert request.prompt == cards[0].label == page.text_area(key="w:generation.prompt").value
    assert request.seed >= 0


@pytest.mark.option("ui.size_presets")
def test_size_chips_fill_in_the_size_at_the_models_pixel_budget(studio, open_page):
    page = open_page()
    assert page.button_group(key="size_chips").value == "1:1"
    page.button_group(key="size_chips").set_value("16:9").run()
    width, height = (page.number_input(key=f"w:generation.{side}").value for side in ("width", "height"))
    assert (width, height) == (336, 192)
    measured("ui.size_presets", f"16:9 at the embedded model's 256x256: {width}x{height}")
    page.number_input(key="w:generation.width").set_value(337).run()
    assert page.button_group(key="size_chips").value is None


def test_words_of_the_library_replace_each_other_and_keep_what_was_typed(studio, open_page):
    page = open_page()
    page.text_area(key="w:generation.prompt").set_value("a quiet poster")

    def choose(slot: str, word: int) -> None:
        page.session_state["ideas"] = True  # the popover is open; AppTest forgets it after each run
        page.run()
        page.session_state["ideas"] = True
        page.button_group(key=f"slot_scene_{slot}").set_value(word).run()

    for slot, word in (("object", 2), ("color", 0), ("time", 3)):
        choose(slot, word)
    assert page.text_area(key="w:generation.prompt").value == "a quiet poster, red lighthouse, at night"
    choose("color", 4)
    assert page.text_area(key="w:generation.prompt").value == "a quiet poster, blue lighthouse, at night"


def test_the_ready_negative_prompt_and_the_warning_while_guidance_is_0(studio, open_page):
    page = open_page()
    assert not [one for one in page.text_area if one.key == "w:generation.negative_prompt"], "off, and one line says so"
    page.number_input(key="w:generation.cfg_scale").set_value(3.0).run()
    page.button(key="ready_negative").click().run()
    assert page.text_area(key="w:generation.negative_prompt").value
    assert "no effect. Raise" not in all_text(page)
    page.number_input(key="w:generation.cfg_scale").set_value(1.0).run()
    assert "no effect. Raise" in all_text(page)


def test_the_quick_check_answers_yes_and_no(studio, open_page):
    page = open_page()
    page.number_input(key="w:generation.num_inference_steps").set_value(3)
    page.button(key="quick_check").click().run()
    request = only(studio)
    assert request.num_inference_steps == 3 and request.prompt
    assert page.text_area(key="w:generation.prompt").value == "", "the check does not touch the prompt"
    job = studio.queue.recent(1)[0]
    studio.queue.finish(job.id)
    assert "These settings work" in all_text(open_page(job=job.id))
    page.button(key="quick_check").click().run()
    failed = studio.queue.recent(1)[0]
    studio.queue.fail(failed.id, CorruptImageError(component="VAE", value="NaN", step=8))
    assert "These settings do not work" in all_text(open_page(job=failed.id))


def test_the_yaml_of_the_form_can_be_pasted_back(studio, open_page):
    page = open_page()
    page.text_area(key="w:generation.prompt").set_value("a red house").run()
    shown = next(code.value for code in page.code if "generation:" in code.value)
    values = parse_yaml(shown, "test")
    assert values["generation.prompt"] == "a red house"
    assert values["vae.tile_sample_min_size"] == 256
    pasted = shown.replace("a red house", "a blue car").replace("width: 256", "width: 512") + "\n"
    page.text_area(key="yaml_0").set_value(pasted)
    page.button(key="yaml_apply").click().run()
    assert page.text_area(key="w:generation.prompt").value == "a blue car"
    assert page.number_input(key="w:generation.width").value == 512


def test_pasted_yaml_may_use_the_guides_words(studio, open_page):
    page = open_page()
    page.text_area(key="yaml_0").set_value("cfg_scale: 6.5\nuse_rope: false\nui:\n  port: 9000\n")
    page.button(key="yaml_apply").click().run()
    assert page.number_input(key="w:generation.cfg_scale").value == 6.5
    assert page.toggle(key="w:transformer.use_rope").value is False
    assert "server.port" in all_text(page), "a key with no place in the form is said"


@pytest.mark.parametrize(
    ("pasted", "said"),
    [
        ("generation:\n\twidth: 3", "tab"),
        ("vae:\n  tile_sample_minsize: 3", "vae.tile_sample_min_size"),
        ("generation:\n  width: 3\n  steps: 0", "64 to 8192 px"),
        ("just words", "key: value"),
    ],
)
def test_yaml_that_cannot_be_used_changes_nothing_and_stays_in_the_field(studio, open_page, pasted, said):
    page = open_page()
    page.text_area(key="yaml_0").set_value(pasted)
    page.button(key="yaml_apply").click().run()
    assert not page.exception
    assert said in all_text(page)
    assert page.text_area(key="yaml_0").value == pasted
    assert page.number_input(key="w:generation.width").value == 256


def test_options_that_are_not_built_cannot_be_touched_and_the_search_finds(studio, open_page, monkeypatch):
    unbuilt = replace(SCHEMA.options["tensorrt.enabled"], implemented=False)
    monkeypatch.setitem(SCHEMA.options, unbuilt.key, unbuilt)
    page = open_page()
    assert page.toggle(key="w:tensorrt.enabled").disabled
    assert not page.toggle(key="w:vae.enable_tiling").disabled
    page.text_input(key="option_search").set_value("tile overlap").run()
    keys = {widget.key for widget in [*page.toggle, *page.slider, *page.number_input]}
    assert "w:vae.tile_overlap_factor" in keys
    assert "w:compile.enabled" not in keys


def loaded_with(monkeypatch, studio, load_seconds=2.4, **asked):
    """The worker has the demo loaded, asked for the defaults and `asked`."""
    status = replace(
        studio.worker.status(), asked={**SCHEMA.defaults(), **asked}, effective={**SCHEMA.defaults(), **asked},
        load_seconds=load_seconds,
    )  # fmt: skip
    monkeypatch.setattr(studio.worker, "status", lambda: status)


def test_what_is_in_effect_is_beside_what_is_chosen(studio, open_page, monkeypatch):
    loaded_with(monkeypatch, studio, **{"transformer.attention_dropout": 0.25})
    page = open_page()
    assert r"Used now: 0\.25" in all_text(page)
    page.slider(key="w:transformer.attention_dropout").set_value(0.25).run()
    assert "Used now" not in all_text(page)


def test_a_reload_is_asked_about_once(studio, open_page, monkeypatch):
    loaded_with(monkeypatch, studio, load_seconds=12.4)
    page = open_page()
    page.text_area(key="w:generation.prompt").set_value("a red house")
    page.selectbox(key="w:vae.dtype").set_value("float32").run()
    page.button(key="generate").click().run()
    assert not studio.queue.submitted and "took 12.4 s last time: Precision of the VAE" in all_text(page)
    page.button(key="reload_keep").click().run()
    assert page.selectbox(key="w:vae.dtype").value == "auto" and "last time:" not in all_text(page)
    page.selectbox(key="w:vae.dtype").set_value("float32").run()
    page.button(key="generate").click().run()
    page.button(key="reload_go").click().run()
    assert only(studio).options["vae.dtype"] == "float32"
    page.button(key="generate").click().run()
    assert len(studio.queue.submitted) == 2, "the same change is not asked about again"


def test_a_reload_that_takes_a_moment_is_not_asked_about(studio, open_page, monkeypatch):
    loaded_with(monkeypatch, studio, load_seconds=2.9)
    page = open_page()
    page.text_area(key="w:generation.prompt").set_value("a red house")
    page.selectbox(key="w:vae.dtype").set_value("float32").run()
    page.button(key="generate").click().run()
    assert only(studio).options["vae.dtype"] == "float32"


def test_options_go_back_to_the_settings(studio, open_page):
    page = open_page()
    page.toggle(key="w:transformer.use_rope").set_value(False).run()
    page.button(key="options_reset").click().run()
    assert page.toggle(key="w:transformer.use_rope").value is True


def test_another_page_keeps_the_form(studio, open_page):
    page = open_page()
    page.text_area(key="w:generation.prompt").set_value("a red house")
    page.number_input(key="w:generation.num_inference_steps").set_value(9).run()
    page.switch_page("views/system.py").run()
    page.switch_page("views/generate.py").run()
    assert page.text_area(key="w:generation.prompt").value == "a red house"
    assert page.number_input(key="w:generation.num_inference_steps").value == 9


def test_a_prompt_is_never_read_as_markdown(studio, open_page):
    job = studio.queue.submit(studio.requests.new({"prompt": "![x](http://example.invalid/x.png) **bold** <b>x</b>"}))
    page = open_page(job=job.id)
    assert "example.invalid" in str(component_data(page, "session")), "the job is listed"
    assert all("example.invalid" not in element.value for element in page.markdown)
    assert all("<b>x" not in element.proto.body for element in page.get("html"))


def test_problems_of_the_settings_are_on_every_page(tmp_path, monkeypatch, open_page):
    settings = load_settings(overrides={"ui.language": "zh", "vae.tile_sample_minsize": 3, "steps": 0})
    use(monkeypatch, PageStudio(tmp_path, settings))
    for page in ("", "history", "system"):
        said = all_text(open_page(page))
        assert "vae.tile_sample_min_size" in said and "1 至 200" in said and "部分设置无法使用" in said


@pytest.fixture
def z_image(studio, monkeypatch):
    """The embedded model's tokenizer and what Z-Image does not read."""
    reason = {"en": "no CLIP", "zh": "没有 CLIP"}
    info = replace(studio.catalog.find("demo"), path=str(EMBEDDED), cannot={SYNTAX: reason, CLIP_SKIP: reason})
    monkeypatch.setattr(studio.catalog, "find", lambda model_id: info)


def test_brackets_are_told_once_to_be_text(z_image, open_page):
    page = open_page()
    page.text_area(key="w:generation.prompt").set_value("a house").run()
    assert not page.toast
    page.text_area(key="w:generation.prompt").set_value("a (red:1.2) house").run()
    assert len(page.toast) == 1 and "plain text" in page.toast[0].value
    page.text_area(key="w:generation.prompt").set_value("a (red:1.3) house").run()
    assert not page.toast


def test_prompt_editing_is_told_once_to_be_emphasis(studio, monkeypatch, open_page):
    info = replace(studio.catalog.find("demo"), cannot={})
    monkeypatch.setattr(studio.catalog, "find", lambda model_id: info)
    page = open_page()
    page.text_area(key="w:generation.prompt").set_value("a [red] house").run()
    assert not page.toast
    page.text_area(key="w:generation.prompt").set_value("a [red:blue:0.5] house").run()
    assert len(page.toast) == 1 and "Prompt editing" in page.toast[0].value
    page.text_area(key="w:generation.prompt").set_value("a [red|blue] house").run()
    assert not page.toast


def test_token_counters_of_both_prompts_show_what_is_cut(z_image, open_page):
    page = open_page()
    page.number_input(key="w:generation.cfg_scale").set_value(2.0).run()
    page.text_area(key="w:generation.prompt").set_value("a house")
    page.text_area(key="w:generation.negative_prompt").set_value("rain " * 600 + "the end").run()
    counted = [one.body for one in page.get("html") if "512" in one.body and "tokens" in one.body]
    assert "not read" not in counted[0] and "not read" in counted[1] and "the end”" in counted[1]


def test_enhanced_prompt_is_shown_can_be_undone_and_keeps_the_original(studio, open_page, monkeypatch, tmp_path):
    monkeypatch.setattr(studio.prompt_help, "problem", lambda model: None)
    commands = PromptCommands(tmp_path)
    monkeypatch.setattr(studio.prompt_help, "_commands", commands)
    page = open_page()
    page.text_area(key="w:generation.prompt").set_value("a house").run()
    page.button(key="prompt_enhance").click().run()
    asked = commands.take()
    assert (asked.task, asked.text, asked.model) == ("enhance", "a house", "demo") and not studio.queue.submitted
    commands.answer(asked.id, PromptAnswer("a house, at"))
    page.run()
    assert "a house, at" in [one.value for one in page.code] and page.button(key="prompt_enhance").disabled
    commands.answer(asked.id, PromptAnswer("a house, at dawn", True))
    page.run()
    assert page.text_area(key="w:generation.prompt").value == "a house, at dawn" and not studio.queue.submitted
    page.text_area(key="w:generation.prompt").set_value("a house, at dusk").run()
    page.button(key="generate").click().run()
    assert (only(studio).prompt, only(studio).original_prompt) == ("a house, at dusk", "a house")
    page.button(key="prompt_undo").click().run()
    assert page.text_area(key="w:generation.prompt").value == "a house"
    assert "prompt_undo" not in [button.key for button in page.button]


def test_enhance_is_grey_with_the_reason(studio, open_page, monkeypatch):
    monkeypatch.setattr(studio.prompt_help, "problem", lambda model: {"en": "no language model", "zh": "不是语言模型"})
    page = open_page()
    page.text_area(key="w:generation.prompt").set_value("a house").run()
    assert all(page.button(key=f"prompt_{task}").disabled for task in ("enhance", "translate"))
    assert page.button(key="prompt_enhance").help == "no language model"


def test_peak_memory_is_that_of_the_device():
    for device, words in (("cpu", "peak RAM"), ("cuda", "peak VRAM"), ("cuda:1", "peak VRAM")):
        shown = SimpleNamespace(effective={"model.device": device})
        with session.speaking("en"):
            assert peak_label(shown) == words
