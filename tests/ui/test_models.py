"""The Models page: what it says of each model, and the exact call behind each button; and the panels follow the model."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from safetensors.numpy import save_file

from core.errors import UnknownModelError
from core.models.families import FAMILIES
from core.types import Download, WorkerStatus
from tests.pipelines import SD
from tests.ui import page_studio
from tests.ui.conftest import all_text


def cards(page):
    return "".join(element.proto.body for element in page.get("html"))


def test_each_model_says_where_it_is_and_what_it_needs(studio, open_page):
    words = cards(open_page("models"))
    for part in (
        "Embedded model",
        "Z-Image-Turbo",
        "not on this machine",
        "32.9 GB",
        "20.5 GB",
        "more than 24 GB",
        "Apache-2.0",
    ):
        assert part in words


def test_load_and_unload(studio, open_page):
    page = open_page("models")
    assert "Loaded: demo · loaded in 2.4 s" in all_text(page)
    assert page.button(key="load_demo").disabled
    page.button(key="unload").click().run()
    assert studio.worker.wishes == [None]


def test_a_model_that_is_loaded_ahead_says_how_far_it_is_and_can_be_cancelled(studio, open_page, monkeypatch):
    status = WorkerStatus("loading", read_bytes=3_100_000_000, total_bytes=12_300_000_000)
    monkeypatch.setattr(studio.worker, "status", lambda: status)
    page = open_page("models")
    assert "Loading: 3.1 GB of 12.3 GB of weights read" in all_text(page)
    page.button(key="unload").click().run()
    assert page.button(key="unload").label == "Cancel loading" and studio.worker.wishes == [None]


def finds(models):
    """The catalogue's `find` among these models by id."""

    def find(model):
        if model not in models:
            raise UnknownModelError(value=model, known=", ".join(models))
        return models[model]

    return find


def test_use_this_model_selects_it_with_its_own_defaults_on_generate(studio, open_page, monkeypatch):
    here = replace(page_studio.TURBO, problem=None, place="store", path="/models/turbo", default_width=1024)
    by_id = {"demo": page_studio.DEMO, here.id: here}
    monkeypatch.setattr(studio.catalog, "models", lambda: list(by_id.values()))
    monkeypatch.setattr(studio.catalog, "find", finds(by_id))
    page = open_page("models")
    page.button(key=f"use_{here.id}").click().run()
    assert page.selectbox(key="w:model.id").value == here.id
    assert page.number_input(key="w:generation.width").value == 1024


def test_a_download_is_started_from_the_source_that_was_chosen(studio, open_page):
    page = open_page("models")
    page.selectbox(key="models:source:z-image-turbo").set_value("modelscope").run()
    page.text_input(key="models:mirror:z-image-turbo").set_value(" https://mirror.example ").run()
    page.button(key="start_z-image-turbo").click().run()
    assert studio.downloads.asked == [("z-image-turbo", "modelscope", "https://mirror.example")]
    assert page.button(key="pause_z-image-turbo")


def test_pause_go_on_and_throw_away(studio, open_page):
    studio.models.download("z-image-turbo")
    page = open_page("models")
    page.button(key="pause_z-image-turbo").click().run()
    assert studio.downloads.all()[0].state == "paused"
    page.button(key="resume_z-image-turbo").click().run()
    assert studio.downloads.all()[0].state == "running"
    page.button(key="cancel_z-image-turbo").click().run()
    assert studio.downloads.all() == []


def test_a_download_that_failed_says_why(studio, open_page):
    error = page_studio.TURBO.problem
    studio.downloads.known["z-image-turbo"] = Download("z-image-turbo", "huggingface", "a/b", "failed", error=error)
    assert error.message("en") in cards(open_page("models"))


def test_one_click_gets_the_variant_that_suits_the_machine(studio, open_page, monkeypatch):
    small = replace(
        page_studio.TURBO, id="z-image-turbo-q4", name={"en": "Q4", "zh": "Q4"}, variant_of="z-image-turbo",
        memory_bytes=8 * 10**9, download_bytes=5 * 10**9, part_ids=("qwen3",),
    )  # fmt: skip
    monkeypatch.setattr(studio.catalog, "models", lambda: [page_studio.DEMO, page_studio.TURBO, small])
    monkeypatch.setattr(studio.catalog, "find", finds({"demo": page_studio.DEMO, small.id: small}))
    started = []
    monkeypatch.setattr(studio.models, "download", lambda *selected: started.append(selected))
    page = open_page("models")
    assert "Q4 · 5.0 GB · recommended here" in page.selectbox(key="models:variant:z-image-turbo").options
    page.button(key="get_at_once_z-image-turbo-q4").click().run()
    assert started == [("z-image-turbo-q4",)]
    with_gpu = SimpleNamespace(gpus=(SimpleNamespace(memory_total=8 * 2**30),))
    monkeypatch.setattr(studio.gauges, "samples", lambda: [with_gpu])
    first = open_page()
    button = first.button(key="get_at_once_z-image-turbo-q4")
    assert button.label.replace("\\", "") == "Get Z-Image-Turbo (5.0 GB, fits your 8 GB GPU)"
    button.click().run()
    assert len(started) == 2 and not first.exception
    studio.downloads.known["qwen3"] = Download("qwen3", "huggingface", "a/qwen3", "running", 1 << 30, 8 << 30)
    assert "a/qwen3" in all_text(open_page("models")), "parts on their way are shown at their model"


def test_a_model_without_its_tiny_decoder_offers_it(studio, open_page, monkeypatch):
    here = replace(page_studio.TURBO, problem=None, place="store", path="/models/turbo")
    twin = replace(here, id="z-image", name={"en": "Z-Image", "zh": "Z-Image"})
    tiny = replace(page_studio.TURBO, id="taef1", part="preview", download_bytes=10**7, sources={"huggingface": "m/taef1"})
    by_id = {one.id: one for one in (page_studio.DEMO, here, twin, tiny)}
    monkeypatch.setattr(studio.catalog, "models", lambda: [page_studio.DEMO, here, twin])
    monkeypatch.setattr(studio.catalog, "find", by_id.get)
    page = open_page("models")
    assert page.button(key=f"get_decoder_{here.id}").label == "Sharper live previews: get TAEF1 (10 MB)"
    page.button(key=f"get_decoder_{here.id}").click().run()
    assert studio.downloads.asked == [("taef1", None, None)]
    assert not page.exception and "TAEF1, the decoder for live previews" in all_text(page)
    page.button(key="cancel_taef1").click().run()
    assert studio.downloads.all() == [] and page.button(key=f"get_decoder_{twin.id}")
    folder = studio.downloads.store / "previews" / "taef1"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    assert not [one.key for one in page.run().button if "get_decoder" in (one.key or "")]


def test_a_hub_that_does_not_answer_is_told_with_the_number_of_the_try(studio, open_page):
    name = "z-image-turbo"
    studio.downloads.known[name] = Download(name, "huggingface", "a/b", "listing", attempt=2, attempts=6)
    page = open_page("models")
    assert "Connecting, try 2 of 6" in [bar.proto.text for bar in page.get("progress")]
    page.selectbox(key=f"models:source:{name}").set_value("modelscope").run()
    page.button(key=f"start_{name}").click().run()
    assert studio.downloads.asked == [(name, "modelscope", None)]
    studio.downloads.known[name] = Download(name, "huggingface", "a/b", "failed", error=page_studio.TURBO.problem)
    page = open_page("models")
    page.button(key=f"retry_{name}").click().run()
    assert studio.downloads.known[name].state == "running"


def test_an_error_stands_where_it_was_caused_and_can_be_closed(studio, open_page):
    page = open_page("models")
    page.text_input(key="models:path").set_value("/nowhere").run()
    page.button(key="add_button").click().run()
    assert "There is no model /nowhere" in cards(page) and page.text_input(key="models:path").value == "/nowhere"
    page.button(key="at_path_close").click().run()
    assert "There is no model /nowhere" not in cards(page)


def test_a_model_is_added_by_its_path(studio, open_page):
    page = open_page("models")
    page.text_input(key="models:path").set_value("/models/mine").run()
    page.button(key="add_button").click().run()
    assert studio.catalog.added == ["/models/mine"]
    page.text_input(key="models:path").set_value("/nowhere").run()
    page.button(key="add_button").click().run()
    assert "There is no model /nowhere" in cards(page)


def test_a_token_is_handed_on_and_not_shown_again(studio, open_page):
    page = open_page("models")
    page.text_input(key="models:token:huggingface").set_value("hf_secret").run()
    page.button(key="save_huggingface").click().run()
    assert studio.downloads.tokens == {"huggingface": "hf_secret"}
    assert page.text_input(key="models:token:huggingface").value == ""
    assert "hf_secret" not in all_text(page) + cards(page)


def test_models_of_one_name_are_told_apart_by_their_paths(studio, open_page, monkeypatch):
    twins = [replace(page_studio.DEMO, id=name, path=f"/models/{name}/turbo") for name in ("a", "b")]
    monkeypatch.setattr(studio.catalog, "models", lambda: [page_studio.TURBO, *twins])
    monkeypatch.setattr(studio.catalog, "find", lambda name: {one.id: one for one in twins}.get(name, page_studio.DEMO))
    names = open_page().selectbox(key="w:model.id").options
    assert names[:3] == ["Z-Image-Turbo", "Embedded model · /models/a/turbo", "Embedded model · /models/b/turbo"]
    shown = cards(open_page("models"))
    assert "/models/a/turbo" in shown and "/models/b/turbo" in shown


def test_the_panels_follow_the_model(studio, open_page, monkeypatch):
    reason = FAMILIES[SD].cannot["transformer."]
    limited = replace(
        page_studio.DEMO,
        cannot={"transformer.use_rope": reason, "generation.negative_prompt": {"en": "no negative", "zh": "无"}},
        bounds={"generation.num_inference_steps": (4, 12)},
    )
    monkeypatch.setattr(page_studio, "DEMO", limited)
    page = open_page()
    assert not [one for one in page.toggle if one.key == "w:transformer.use_rope"]
    assert "this model is a U-Net" in all_text(page).replace("\\", "")
    steps = next(one for one in page.number_input if one.key == "w:generation.num_inference_steps")
    assert (steps.min, steps.max) == (4, 12)
    assert not [one for one in page.text_area if one.key == "w:generation.negative_prompt"]


def test_embeddings_are_listed_with_the_reason_of_those_that_cannot_be_used(studio, open_page):
    assert "Embeddings" not in all_text(open_page("models"))
    folder = studio.history.folder / "embeddings"
    folder.mkdir()
    save_file({"emb_params": np.zeros((3, 768), np.float32)}, folder / "moody.safetensors")
    (folder / "old.pt").write_bytes(b"\x80\x02}q\x00.")
    page = open_page("models")
    assert "moody" in cards(page) and "SD 1.5" in cards(page)
    assert "old" in all_text(page) and "pickle" in all_text(page)
    page.button(key="use_embedding_0").click().run()
    assert page.session_state["form"]["generation.prompt"].endswith("embedding:moody")


def test_many_models_are_shown_a_page_at_a_time_and_found_by_name(studio, open_page, monkeypatch):
    names = [f"style {number}" for number in range(70)]
    many = [replace(page_studio.DEMO, id=f"m{k}", name={"en": name, "zh": name}) for k, name in enumerate(names)]
    monkeypatch.setattr(studio.catalog, "models", lambda: [page_studio.DEMO, *many])
    page = open_page("models")

    def shown():
        words = cards(page)
        return {name for name in names if f"<h3>{name}</h3>" in words}

    assert shown() == set(names[:29]), "the embedded model comes first"
    page.selectbox(key="model_page").select(60).run()
    assert shown() == set(names[59:])
    page.text_input(key="model_find").set_value("STYLE 1").run()
    assert shown() == {"style 1", *names[10:20]}


def test_prepared_weights_are_shown_and_deleted(studio, open_page, tmp_path):
    assert all(not button.key.startswith("forget_prepared") for button in open_page("models").button)
    folder = studio.downloads.store / "prepared"
    folder.mkdir()
    notes = {"model": "demo", "part": "transformer", "form": "bfloat16-int8"}
    save_file({"a": np.zeros(400_000, np.int8)}, folder / "transformer-bfloat16-int8-0-0.safetensors", notes)
    page = open_page("models")
    assert "transformer (bfloat16-int8)" in all_text(page) and "400" in all_text(page)
    page.button(key="forget_prepared_demo").click().run()
    assert not list(folder.iterdir()) and "bfloat16-int8" not in all_text(page)
