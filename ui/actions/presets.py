"""Save the form as a preset, and load a preset into the form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.errors import StudioError
from core.studio import Studio
from ui.state import current_page as page_state
from ui.state import form as form_state
from ui.state import generate_page as generate_state


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
