"""What buttons do: from the form to the studio, and errors back to the page. They run before the page is drawn again.

What this module does not know: how anything looks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import streamlit as st

from core.config.layers import parse_yaml
from core.config.options import SCHEMA
from core.errors import InputError, StudioError
from core.studio import Studio
from core.types import Chosen, GenerationRequest, HistoryQuery, JobTerms, MarkChange
from ui import prompts, state
from ui.i18n import t

CHECK_SEED = 20_260_101  # marks a quick check, so that F5 still knows one when it sees it


def open_form(studio: Studio) -> None:
    """Lay the first request into the form: the watched job's after F5, else the settings over the model's defaults."""
    if state.has_form():
        return
    state.fill_form_from(studio.new_request())
    job = state.job_id()
    if job:
        try:
            state.fill_form({**state.request_values(studio.job(job).request), "generation.seed": -1})
        except StudioError as error:
            state.watch(None)
            state.set_errors([error])


def generate(studio: Studio, changes: Mapping[str, Any] | None = None) -> None:
    """Submit the form, with `changes` by schema key. A problem leaves everything as it is and is shown."""
    try:
        request = studio.new_request({**state.form_values(), **(changes or {})})
    except StudioError as error:
        state.set_errors([error])
        return
    if submit(studio, request, state.terms()):
        state.forget_when()


def submit_batch(studio: Studio, given: bytes | str, source: str) -> None:
    """Queue the pictures of a file or of pasted prompts as one job; the form says what they have in common."""
    try:
        request = studio.new_batch(given, state.form_values(), source)
    except StudioError as error:
        state.set_errors([error])
        return
    if submit(studio, request, state.terms()):
        state.forget_when()


def submit(studio: Studio, request: GenerationRequest, terms: JobTerms | None = None) -> bool:
    """Queue a complete request and watch it."""
    try:
        state.watch(studio.submit(request, terms or JobTerms(client=state.client())).id)
    except StudioError as error:
        state.set_errors([error])
        return False
    return True


def quick_check(studio: Studio) -> None:
    """The same prompt and seed at the present settings: does it still draw?"""
    library = prompts.library_for(state.form()["model.id"], studio.settings.configs / "prompts")
    words = library.samples[0].text["en"] if library else "a house"
    generate(studio, {"generation.prompt": words, "generation.seed": CHECK_SEED, "generation.num_images": 1})


def is_check(request: GenerationRequest) -> bool:
    return request.seed == CHECK_SEED and request.num_images == 1


def use_sample(studio: Studio, sample: prompts.Sample) -> None:
    """A sample card: its words and seed go into the form and into the queue."""
    state.fill_form({"generation.prompt": sample.text[state.language()], "generation.seed": sample.seed})
    generate(studio)
    state.fill_form({"generation.seed": -1})


def change_model(studio: Studio) -> None:
    """Another model has its own size, steps and guidance."""
    model = studio.model(state.form()["model.id"])
    state.fill_form(
        {
            "generation.width": model.default_width,
            "generation.height": model.default_height,
            "generation.num_inference_steps": model.default_steps,
            "generation.guidance_scale": model.default_guidance,
        }
    )


def cancel(studio: Studio, job_id: str) -> None:
    ask(studio.cancel, job_id)


def ask(verb: Callable[..., object], *arguments: object) -> None:
    """Call one of the studio's verbs; a refusal is shown, and the errors before it are done with."""
    state.set_errors(())
    try:
        verb(*arguments)
    except StudioError as error:
        state.set_errors([error])


def run_again(studio: Studio, request: GenerationRequest, cure: Mapping[str, Any] | None = None) -> None:
    """A failed request once more, with the option that cures it."""
    submit(studio, replace(request, options={**request.options, **(cure or {})}))


def apply_yaml(studio: Studio, text: str, source: str) -> tuple[list[InputError], list[str]]:
    """Lay pasted YAML over the form: (problems, keys that the form has no place for). With a problem nothing changes."""
    problems: list[InputError] = []
    values: dict[str, Any] = {}
    try:
        written = parse_yaml(text, source)
    except InputError as problem:
        return [problem], []
    for key, value in written.items():
        try:
            option = SCHEMA.find(key, source)
            values[option.key] = option.check(value, source)
        except InputError as problem:
            problems.append(problem)
    if problems:
        return problems, []
    present = state.form_values()
    if "generation.cfg_scale" in values and "generation.guidance_scale" not in values:
        present.pop("generation.guidance_scale")  # else the form's guidance would win over the pasted CFG
    try:
        request = studio.new_request({**present, **values}, source)
    except InputError as problem:
        return [problem], []
    state.fill_form_from(request)
    elsewhere = set(values) - set(state.form_keys()) - {"generation.cfg_scale"}
    return [], sorted(elsewhere)


def mark(studio: Studio, chosen: Chosen, change: MarkChange) -> None:
    """Rate, tag, note or collect pictures."""
    _try(lambda: studio.mark(chosen, change), many=isinstance(chosen, HistoryQuery))


def toggle_favourite(studio: Studio, image_id: str) -> None:
    _try(lambda: studio.mark([image_id], MarkChange(favourite=not studio.image(image_id).marks.favourite)))


def trash(studio: Studio, chosen: Chosen) -> None:
    """Into the trash, and out of sight."""
    if _try(lambda: studio.trash(chosen), many=isinstance(chosen, HistoryQuery)):
        _let_go(chosen)


def restore(studio: Studio, chosen: Chosen) -> None:
    if _try(lambda: studio.restore(chosen), many=isinstance(chosen, HistoryQuery)):
        _let_go(chosen)


def empty_trash(studio: Studio) -> None:
    _try(studio.empty_trash, many=True)
    _let_go([state.selected_image() or ""])


def _try(act: Callable[[], object], many: bool = False) -> bool:
    """Do it; a problem is shown on the page. What may take long says so meanwhile."""
    state.set_errors(())
    state.renew_history()
    try:
        with st.spinner(t("history.working")) if many else nullcontext():
            act()
    except StudioError as error:
        state.set_errors([error])
        return False
    return True


def _let_go(chosen: Chosen) -> None:
    """Pictures that left the page are neither chosen nor open any more."""
    state.choose_images((), by_page=True)
    everything = isinstance(chosen, HistoryQuery)
    if everything or state.selected_image() in chosen:
        state.select_image(None)
    if everything or state.shown_image() in chosen:
        state.show_image(None)
