"""Keep the ControlNet units in the form: one value under the option's key, shown as a row of widgets for each."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from core.config.control_units import KEY, ControlUnit, read_units
from core.errors import OptionError
from core.types import CONTROLS
from ui.state.form import fill_form, form_value, give_widget
from ui.state.input_images import control_inputs, set_control_input

WINDOW = "window"  # the slider of start and end
_FIELDS = ("name", "preprocessor", "weight", "low", "high", "rate", WINDOW, "mode", "kind")
_UNIT = "unit:"


def control_units() -> tuple[ControlUnit, ...]:
    """Return the units of the form; none if the form's text is invalid."""
    try:
        return read_units(form_value(KEY) or (), "form")
    except OptionError:
        return ()


def unit_key(position: int, field: str) -> str:
    """Return the session key of a unit's widget."""
    return f"{_UNIT}{position}:{field}"


def give_units(units: tuple[ControlUnit, ...], default: float) -> None:
    """Give the widgets what the form holds, before they are rendered. `default` is the weight where it is left open."""
    for position, unit in enumerate(units):
        for field in _FIELDS:
            if field == WINDOW:
                give_widget(unit_key(position, field), (unit.start, unit.end))
            elif field == "weight":
                give_widget(unit_key(position, field), default if unit.weight is None else unit.weight)
            else:
                give_widget(unit_key(position, field), getattr(unit, field))


def take_units() -> None:
    """Put what the widgets hold into the form; what makes no sense stays as it was."""
    found = []
    for position, unit in enumerate(control_units()):
        given = {
            field: st.session_state[key] for field in _FIELDS if (key := unit_key(position, field)) in st.session_state
        }
        start, end = given.pop(WINDOW, (unit.start, unit.end))
        if start < end:
            given |= {"start": start, "end": end}
        changed = replace(unit, **given)
        found.append(changed if changed.low <= changed.high else unit)
    _set(found)


def add_unit(name: str) -> None:
    """Append a unit with this ControlNet."""
    _set([*control_units(), ControlUnit(name)])


def remove_unit(position: int) -> None:
    """Remove a unit with its image; those after it keep theirs."""
    images = control_inputs()
    for place in range(position, len(CONTROLS)):
        following = images.get(CONTROLS[place + 1], "") if place + 1 < len(CONTROLS) else ""
        set_control_input(following, CONTROLS[place])
    _set([unit for place, unit in enumerate(control_units()) if place != position])


def _set(units: list[ControlUnit]) -> None:
    fill_form({KEY: tuple(map(str, units))})
