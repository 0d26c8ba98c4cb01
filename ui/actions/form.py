"""What is laid into the form: its beginning, another model's defaults, pasted YAML."""

from __future__ import annotations

from typing import Any

from core.config.loader import parse_yaml
from core.config.options import SCHEMA
from core.errors import InputError, OptionConflictError, StudioError
from core.studio import Studio
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


def change_model(studio: Studio) -> None:
    """Another model has its own size, steps and CFG scale."""
    model = studio.catalog.find(state.form()["model.id"])
    state.fill_form(
        {
            "generation.width": model.default_width,
            "generation.height": model.default_height,
            "generation.num_inference_steps": model.default_steps,
            state.CFG: model.default_cfg_scale,
        }
    )


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
