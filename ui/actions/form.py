"""Fill the form: from records, from YAML, and from presets, which are also saved and deleted here."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from core.config.loader import parse_yaml
from core.config.options import SCHEMA
from core.errors import InputError, OptionConflictError, StudioError
from core.studio import Studio
from core.types import InputSources
from ui.i18n import localized, t
from ui.state import form as form_state
from ui.state import generate_page as generate_state
from ui.state import input_images as input_state
from ui.state import session as page_state


def open_form(studio: Studio) -> None:
    """Lay the first request into the form: the watched job's after F5, else the settings over the model's defaults."""
    if form_state.has_form():
        return
    form_state.fill_form_from(studio.requests.new())
    job = generate_state.job_id()
    if job:
        try:
            request = studio.queue.get(job).request
            form_state.fill_form({**form_state.request_values(request), "generation.seed": -1})
            input_state.set_sources_of(request)
        except StudioError as error:
            generate_state.watch(None)
            page_state.set_errors([error])
    form_state.keep_opening()


def restore_draft(studio: Studio, values: Mapping[str, Any]) -> None:
    """Put what the browser has kept of this tab back into the form.

    What can't be used any more is left out, and so is what was changed on the page before this arrived.
    """
    known = {model.id for model in studio.catalog.models()}
    changed = form_state.changed_since_opening()
    found = {}
    for key in form_state.form_keys():
        value = values.get(key)
        if key not in values or key in changed or (key == "model.id" and value not in known):
            continue
        with suppress(InputError):
            found[key] = None if value is None else SCHEMA.options[key].check(value, "draft")
    form_state.fill_form(found)
    if isinstance(values.get("batch"), str) and not form_state.batch_text():
        form_state.set_batch_text(values["batch"])
    if values.get("level") in generate_state.LEVELS:
        generate_state.set_level(values["level"])
    inputs = values.get("inputs")
    if isinstance(inputs, dict) and not input_state.sources().inputs:
        with suppress(StudioError):
            for digest in inputs.values():
                studio.input_images.size(str(digest))
            input_state.set_sources(
                InputSources({str(role): str(digest) for role, digest in inputs.items()}, str(values.get("parent", "")))
            )


def take_typed(values: Mapping[str, Any]) -> None:
    """Put words of text fields that were typed and did not arrive into the form."""
    form_state.fill_form({key: str(values[key]) for key in form_state.TEXT_KEYS if key in values})
    if isinstance(values.get("batch"), str):
        form_state.set_batch_text(values["batch"])


def change_model(studio: Studio) -> None:
    """Select another model, with its own size, steps and CFG scale."""
    model = studio.catalog.find(form_state.form_value("model.id"))
    form_state.fill_form(
        {
            "generation.width": model.default_width,
            "generation.height": model.default_height,
            "generation.num_inference_steps": model.default_steps,
            form_state.CFG: model.default_cfg_scale,
        }
    )


def use_model(studio: Studio, model_id: str) -> None:
    """Select a model from another page, which may be the first that is opened."""
    open_form(studio)
    if form_state.form_value("model.id") != model_id:
        form_state.fill_form({"model.id": model_id})
        change_model(studio)


def say_model_stays(studio: Studio) -> None:
    """Have Generate say that parameters from elsewhere have left the selected model as it was."""
    selected = form_state.form()["model.id"]
    name = next((localized(one.name) for one in studio.catalog.models() if one.id == selected), selected)
    generate_state.leave_note(t("detail.model_kept", name=name))


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
    present = form_state.form_values()
    if form_state.GUIDANCE in values:  # another name of the CFG scale, so the form's own must not stand beside it
        present.pop(form_state.CFG, None)
    try:
        request = studio.requests.new({**present, **values}, source)
    except InputError as problem:
        return [problem], []
    form_state.fill_form_from(request)
    elsewhere = set(values) - set(form_state.form_keys()) - {form_state.GUIDANCE}
    return [], sorted(elsewhere)


def values_of_form() -> dict[str, Any]:
    """Return what a preset of the present form holds."""
    return {
        key: value for key, value in form_state.form_values().items() if key not in ("generation.prompt", "generation.seed")
    }


def apply_preset(studio: Studio, name: str) -> None:
    """Put a preset into the form, over the defaults of its model; what it does not name stays as it is."""
    page_state.set_errors(())
    try:
        values = studio.presets.get(name).values
        request = studio.requests.new({**_present(studio, values), **values}, name)
    except StudioError as error:
        page_state.set_errors([error])
        return
    own = {f"generation.{key}" for key in ("prompt", "seed")}
    form_state.fill_form({key: value for key, value in form_state.request_values(request).items() if key not in own})
    generate_state.set_preset(name)


def _present(studio: Studio, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the form's values, without the sizes and steps of another model than the preset's."""
    present = form_state.form_values()
    model = values.get("model.id", present["model.id"])
    if form_state.GUIDANCE in values:  # else the form's CFG scale would stand beside it
        present.pop(form_state.CFG, None)
    if model == present["model.id"]:
        return present
    left_out = ("generation.width", "generation.height", "generation.num_inference_steps", form_state.CFG)
    return {key: value for key, value in present.items() if key not in left_out}


def save_preset(studio: Studio, name: str) -> None:
    """Save the form under a name."""
    _try(lambda: generate_state.set_preset(studio.presets.save(name, values_of_form()).name))


def delete_preset(studio: Studio, name: str) -> None:
    """Delete an own preset; the form stays as it is."""
    _try(lambda: studio.presets.delete(name))
    generate_state.set_preset("")


def import_preset(studio: Studio, text: str, name: str) -> None:
    """Save a YAML text as a preset and apply it."""
    if _try(lambda: studio.presets.import_yaml(text, name)):
        apply_preset(studio, name)


def is_modified(studio: Studio, name: str) -> bool:
    """Return True if the form differs from what the preset sets."""
    try:
        values = studio.presets.get(name).values
        wanted = studio.requests.new({**_present(studio, values), **values}, name)
        present = studio.requests.new(form_state.form_values(), name)
    except StudioError:
        return True
    keys = [key for key in form_state.request_values(wanted) if key not in ("generation.prompt", "generation.seed")]
    return any(form_state.request_values(wanted)[key] != form_state.request_values(present)[key] for key in keys)


def _try(act: Any) -> bool:
    page_state.set_errors(())
    try:
        act()
    except StudioError as error:
        page_state.set_errors([error])
        return False
    return True
