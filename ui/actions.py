"""What buttons do: from the form to the studio, and errors back to the page. They run before the page is drawn again.

What this module does not know: how anything looks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import Any

import streamlit as st

from core import recipe
from core.config.layers import parse_yaml
from core.config.options import SCHEMA
from core.config.schema import TakesEffect
from core.errors import InputError, StudioError
from core.faults import Fault
from core.studio import Studio
from core.types import CONTROL, Chosen, GenerationRequest, HistoryQuery, ImageRecord, Job, JobTerms, MarkChange
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
            request = studio.job(job).request
            state.fill_form({**state.request_values(request), "generation.seed": -1})
            state.set_sources_of(request)
        except StudioError as error:
            state.watch(None)
            state.set_errors([error])


def generate(studio: Studio, changes: Mapping[str, Any] | None = None) -> None:
    """Submit the form, with `changes` by schema key. A problem leaves everything as it is and is shown.

    What brings a prompt of its own, such as the quick check, is drawn from that alone.
    """
    values = {**state.form_values(), **(changes or {})}
    try:
        from_text = "generation.prompt" in (changes or {})
        request = with_pictures(studio, studio.new_request(values), values, from_text)
    except StudioError as error:
        state.set_errors([error])
        return
    if state.ask_reload(reloads(studio, request), changes or {}):
        return
    if submit(studio, request, state.terms()):
        state.forget_when()


def with_pictures(
    studio: Studio, request: GenerationRequest, values: Mapping[str, Any], from_text: bool = False
) -> GenerationRequest:
    """The request of `values` with the form's pictures: the one to draw over unless `from_text`, and the control picture."""
    if state.sources().inputs and not from_text:
        request = studio.over(request, state.sources(), values)
    return with_control(studio, request)


def with_control(studio: Studio, request: GenerationRequest) -> GenerationRequest:
    """The request with the form's control picture, where its model takes one."""
    takes = CONTROL in studio.model(request.model).inputs
    return replace(request, inputs={**request.inputs, **(state.control_input() if takes else {})})


def keep_control(studio: Studio, data: bytes | None, name: str = "") -> None:
    """Store the picture that was given and put it into the form; None takes it out. A refusal is shown."""
    state.set_errors(())
    try:
        state.set_control_input(studio.keep_input(data, name) if data is not None else "")
    except StudioError as error:
        state.set_errors([error])


def reloads(studio: Studio, request: GenerationRequest) -> dict[str, Any]:
    """The options of the request that make the worker load its present model again, with the values it has now."""
    worker = studio.worker()
    if worker.model != request.model:
        return {}
    return {
        option.key: worker.asked[option.key]
        for option in SCHEMA.request_options()
        if option.takes_effect is TakesEffect.RELOAD
        and option.key in worker.asked
        and worker.asked[option.key] != request.options[option.key]
    }


def reload_now(studio: Studio) -> None:
    """The answer "go on" to the question; the same change is not asked about again."""
    changes = state.agree_reload()
    generate(studio, changes)


def keep_loaded(values: Mapping[str, Any]) -> None:
    """The answer "put it back": the form has the values that are in effect."""
    state.drop_reload()
    state.fill_form(values)


def submit_batch(studio: Studio, given: bytes | str, source: str) -> None:
    """Queue the pictures of a file or of pasted prompts as one job; the form says what they have in common."""
    try:
        values = state.form_values()
        request = with_pictures(studio, studio.new_batch(given, values, source), values)
    except StudioError as error:
        state.set_errors([error])
        return
    if submit(studio, request, state.terms()):
        state.forget_when()


def start_from(studio: Studio, data: bytes, name: str, parent: str = "") -> bool:
    """Draw over this picture from now on; the form gets the size that fits it. What is no picture is told."""
    state.set_errors(())
    try:
        use(studio, studio.keep_input(data, name), parent)
    except StudioError as error:
        state.set_errors([error])
        return False
    return True


def use(studio: Studio, digest: str, parent: str = "") -> None:
    """Draw over a picture that is kept."""
    state.start_from(digest, parent)
    values = _without_size(state.form_values())
    with suppress(StudioError):  # a model that takes none: the card says so
        request = studio.over(studio.new_request(values), state.sources(), values)
        state.fill_form({"generation.width": request.width, "generation.height": request.height})


def send_to_form(studio: Studio, record: ImageRecord) -> bool:
    """Draw over a picture of the history, with its own words to begin with."""
    open_form(studio)
    try:
        data = studio.image_file(record.id).read_bytes()
    except (StudioError, OSError) as error:
        state.set_errors([error if isinstance(error, StudioError) else StudioError(detail=error)])
        return False
    own = {name: getattr(record.request, name) for name in ("prompt", "negative_prompt")}
    state.fill_form({f"generation.{name}": words for name, words in own.items()})
    return start_from(studio, data, record.file, record.id)


def steps(studio: Studio) -> tuple[int, int] | None:
    """Of the picture that the form asks for: (steps that will be run, steps asked for); None while it can't be made."""
    try:
        request = studio.over(studio.new_request(state.form_values()), state.sources(), state.form_values())
    except StudioError:
        return None
    return studio.steps_run(request), request.num_inference_steps


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
    """A sample card: its words and seed go into the form and into the queue, with no picture to start from."""
    state.draw_from_text()
    state.fill_form({"generation.prompt": sample.text[state.language()], "generation.seed": -1})
    generate(studio, {"generation.seed": sample.seed})


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


def cure(studio: Studio, fault: Fault) -> None:
    """Put the cure into the form, and run again what had the fault."""
    open_form(studio)
    state.fill_form(fault.cure)
    again = fault.cured()
    if again is not None:
        submit(studio, again)


def run_step(studio: Studio, step: recipe.Step) -> None:
    """Put a step of the guide into the form and queue what it draws, with the form's model."""
    state.set_errors(())
    state.fill_form(step.sets)
    values = {key: value for key, value in state.form_values().items() if key not in step.sets}
    try:
        requests = recipe.requests(studio, step, _without_size(values))
        jobs = [studio.submit(with_control(studio, one), JobTerms(client=state.client())) for one in requests]
    except StudioError as error:
        state.set_errors([error])
        return
    state.set_guide_run(step.key, [job.id for job in jobs])


def _without_size(values: Mapping[str, Any]) -> dict[str, Any]:
    """The guide draws at the model's own size: what it says holds for every size, and the wait is short."""
    return {key: value for key, value in values.items() if key not in ("generation.width", "generation.height")}


def cancel_all(studio: Studio, job_ids: Sequence[str]) -> None:
    for job_id in reversed(job_ids):  # the waiting ones first, so that none of them begins meanwhile
        ask(studio.cancel, job_id)


def known_jobs(studio: Studio, job_ids: Sequence[str]) -> list[Job]:
    """Those that are still there."""
    found = []
    for job_id in job_ids:
        try:
            found.append(studio.job(job_id))
        except StudioError:
            continue
    return found


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
