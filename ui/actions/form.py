"""Fill the form: first values, another model's defaults, pasted YAML."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from core.config.loader import parse_yaml
from core.config.options import SCHEMA
from core.errors import InputError, OptionConflictError, StudioError
from core.studio import Studio
from core.types import InputSources
from ui import state


def open_form(studio: Studio) -> None:
    """Lay the first request into the form: the watched job's after F5, else the settings over the model's defaults."""
    if state.has_form():
        return
    state.fill_form_from(studio.requests.new())
    job = state.job_id()
    if job:
        try:
            request = studio.queue.get(job).request
            state.fill_form({**state.request_values(request), "generation.seed": -1})
            state.set_sources_of(request)
        except StudioError as error:
            state.watch(None)
            state.set_errors([error])
    state.keep_opening()


def restore_draft(studio: Studio, values: Mapping[str, Any]) -> None:
    """Put what the browser has kept of this tab back into the form.

    What can't be used any more is left out, and so is what was changed on the page before this arrived.
    """
    known = {model.id for model in studio.catalog.models()}
    changed = state.changed_since_opening()
    found = {}
    for key in state.form_keys():
        value = values.get(key)
        if key not in values or key in changed or (key == "model.id" and value not in known):
            continue
        with suppress(InputError):
            found[key] = None if value is None else SCHEMA.options[key].check(value, "draft")
    state.fill_form(found)
    if isinstance(values.get("batch"), str) and not state.batch_text():
        state.set_batch_text(values["batch"])
    if values.get("level") in state.LEVELS:
        state.set_level(values["level"])
    inputs = values.get("inputs")
    if isinstance(inputs, dict) and not state.sources().inputs:
        with suppress(StudioError):
            for digest in inputs.values():
                studio.input_images.size(str(digest))
            state.set_sources(
                InputSources({str(role): str(digest) for role, digest in inputs.items()}, str(values.get("parent", "")))
            )


def take_typed(values: Mapping[str, Any]) -> None:
    """Put words of text fields that were typed and did not arrive into the form."""
    state.fill_form({key: str(values[key]) for key in state.TEXT_KEYS if key in values})
    if isinstance(values.get("batch"), str):
        state.set_batch_text(values["batch"])


def change_model(studio: Studio) -> None:
    """Select another model, with its own size, steps and CFG scale."""
    model = studio.catalog.find(state.form()["model.id"])
    state.fill_form(
        {
            "generation.width": model.default_width,
            "generation.height": model.default_height,
            "generation.num_inference_steps": model.default_steps,
            state.CFG: model.default_cfg_scale,
        }
    )


def use_model(studio: Studio, model_id: str) -> None:
    """Select a model from another page, which may be the first that is opened."""
    open_form(studio)
    if state.form()["model.id"] != model_id:
        state.fill_form({"model.id": model_id})
        change_model(studio)


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
    try:
        SCHEMA.checked(written, source)  # two names of one option must agree
    except OptionConflictError as problem:
        problems.append(problem)
    except InputError:
        pass  # in the list already
    if problems:
        return problems, []
    present = state.form_values()
    if state.GUIDANCE in values:  # another name of the CFG scale, so the form's own must not stand beside it
        present.pop(state.CFG, None)
    try:
        request = studio.requests.new({**present, **values}, source)
    except InputError as problem:
        return [problem], []
    state.fill_form_from(request)
    elsewhere = set(values) - set(state.form_keys()) - {state.GUIDANCE}
    return [], sorted(elsewhere)
