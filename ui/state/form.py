"""Keep the form's values, by schema key."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from core.config import lora_syntax
from core.config.control_units import KEY as CONTROL_UNITS
from core.config.control_units import ControlUnit, read_units
from core.config.lora_syntax import LoraSpec, read_uses
from core.config.options import SCHEMA
from core.config.schema import AUTO
from core.errors import OptionError
from core.types import CONTROLS, SET_FIELDS, GenerationRequest, ImageRecord
from ui.state.input_images import control_inputs, set_control_input, set_control_inputs

_FORM = "form"
_FILLS = "form_fills"
_OPENING = "form_opening"
_SHOWN = "form_shown"  # keys that have had a widget
_WIDGET = "w:"

GUIDANCE, CFG = "generation.guidance_scale", "generation.cfg_scale"
TEXT_KEYS = ("generation.prompt", "generation.negative_prompt")
REQUEST_KEYS = tuple(f"generation.{name}" for name in SET_FIELDS)


def widget_key(key: str) -> str:
    """Return the session key of the widget of a schema key."""
    return _WIDGET + key


def form_keys() -> tuple[str, ...]:
    """Return the schema keys of a request."""
    return ("model.id", *REQUEST_KEYS, *(option.key for option in SCHEMA.request_options()))


def form(keys: Collection[str] | None = None) -> dict[str, Any]:
    """Return the form's values by schema key, as the widgets hold them now (None: automatic, or a random seed).

    With `keys` these alone, as far as the form has them: reading a hundred widgets takes milliseconds.
    """
    kept: dict[str, Any] = st.session_state.setdefault(_FORM, {})
    widgets = st.session_state
    values = kept if keys is None else {key: kept[key] for key in keys if key in kept}
    shown = [key for key in widgets.get(_SHOWN, ()) if key in values]
    return {**values, **{key: widgets.get(widget_key(key), values[key]) for key in shown}}


def form_value(key: str) -> Any:
    """Return the form's value of a schema key, None where the form has not been filled."""
    return form((key,)).get(key)


def has_form() -> bool:
    """Return False until the form has been filled for the first time in this session."""
    return bool(st.session_state.get(_FORM))


def fill_form(values: Mapping[str, Any]) -> None:
    """Put `values` (by schema key) into the form and into those of its widgets that are on the page."""
    values = {key: value for key, value in values.items() if key != GUIDANCE}  # pages show the CFG scale alone
    before = form()
    kept = {**before, **{key: _for_widget(key, value) for key, value in values.items()}}
    if kept != before:
        st.session_state[_FILLS] = fills() + 1
    st.session_state[_FORM] = kept
    for key in values:
        if widget_key(key) in st.session_state:
            st.session_state[widget_key(key)] = kept[key]


def fill_form_from(request: GenerationRequest) -> None:
    """Put a whole request into the form, advanced options too."""
    fill_form(request_values(request))
    set_control_inputs(request)


def keep_form() -> None:
    """Copy the widgets' values back before the page may be left."""
    st.session_state[_FORM] = form()


def seed_widget(key: str) -> str:
    """Give the widget of a schema key the form's value if it is new; return its session key."""
    name = widget_key(key)
    st.session_state[_SHOWN] = st.session_state.get(_SHOWN, frozenset()) | {key}
    if name not in st.session_state:
        st.session_state[name] = st.session_state[_FORM].get(key)
    return name


def give_widget(key: str, value: Any) -> None:
    """Let the widget of that session key show `value` from now on; nothing where it does.

    What is set is set in the browser as well, and comes there after the next key of a slider was pressed: to set on each run
    what is there loses that key.
    """
    if key not in st.session_state or st.session_state[key] != value:
        st.session_state[key] = value


def form_values(values: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the form, or what `form` has just returned, as `RequestBuilder.new` takes it."""
    return {key: _from_widget(key, value) for key, value in (form() if values is None else values).items()}


def known_values(record: ImageRecord, models: Collection[str]) -> dict[str, Any]:
    """Return what an imported image tells, by schema key; the model only if it is here. {} when it tells nothing but its size."""
    values = request_values(record.request)
    for name in record.unknown:
        values.pop(f"generation.{name}", None)
    if record.request.model not in models:
        values.pop("model.id")
    sizes = {"generation.width", "generation.height", "generation.num_images", "generation.negative_prompt"}
    return values if values.keys() - sizes else {}


def request_values(request: GenerationRequest) -> dict[str, Any]:
    """Return a request by schema key, as `RequestBuilder.new` takes it and YAML shows it."""
    named = {f"generation.{name}": getattr(request, name) for name in SET_FIELDS}
    return {"model.id": request.model, **named, **request.options}


def _for_widget(key: str, value: Any) -> Any:
    """Return the value of a number field; an empty one means "auto", an empty seed a random one."""
    option = SCHEMA.options[key]
    if (value == AUTO and option.type in ("int", "float")) or (key == "generation.seed" and value == -1):
        return None
    if value is None:
        return None
    return float(value) if option.type == "float" else int(value) if option.type == "int" else value


def _from_widget(key: str, value: Any) -> Any:
    if value is None:
        return -1 if key == "generation.seed" else AUTO if SCHEMA.options[key].auto else SCHEMA.options[key].default
    return value


def fills() -> int:
    """Return how often the program, and not the viewer, has changed the form since it was opened."""
    return int(st.session_state.get(_FILLS, 0))


def keep_opening() -> None:
    """Remember the form as it is now as the one that the page was opened with; `fills` counts from here."""
    st.session_state[_FILLS] = 0
    st.session_state[_OPENING] = dict(form())


def changed_since_opening() -> Collection[str]:
    """Return the keys that have another value than the page was opened with."""
    opening = st.session_state.get(_OPENING, {})
    return {key for key, value in form().items() if key in opening and opening[key] != value}


_SLOT_TEXT = "slot_text"


def slot_text() -> str:
    """Return the words that the prompt builder last put into the prompt, so that it can replace them."""
    return str(st.session_state.get(_SLOT_TEXT, ""))


def set_slot_text(words: str) -> None:
    st.session_state[_SLOT_TEXT] = words


_BATCH_TEXT = "batch_prompts"


def batch_text() -> str:
    """Return the prompts of the batch panel, as they were typed."""
    return str(st.session_state.get(_BATCH_TEXT, ""))


def set_batch_text(text: str) -> None:
    st.session_state[_BATCH_TEXT] = text


_VERSION = "yaml_version"


def yaml_version() -> int:
    """Return a part of the key of the YAML field, which is rendered anew when it changes."""
    return int(st.session_state.get(_VERSION, 0))


def renew_yaml() -> None:
    """Have the YAML of the form written anew at the next rerun."""
    st.session_state[_VERSION] = yaml_version() + 1


NAMES = "lora_names"
PROMPT = "generation.prompt"
_WEIGHT = "lora_weight:"


def lora_uses() -> tuple[LoraSpec, ...]:
    """Return the LoRAs of the form; none if the form's text is invalid."""
    try:
        return read_uses(form_value(lora_syntax.KEY) or (), "form")
    except OptionError:
        return ()


def weight_key(name: str) -> str:
    """Return the session key of a LoRA's slider."""
    return _WEIGHT + name


def lay_out_loras(uses: Sequence[LoraSpec]) -> None:
    """Give the widgets what the form holds, before they are rendered: other parts of the page change it, too."""
    give_widget(NAMES, [use.name for use in uses])
    for use in uses:
        give_widget(weight_key(use.name), use.weight)


def take_loras() -> None:
    """Put what the widgets hold into the form. A LoRA that is chosen anew begins at 1."""
    names: list[str] = st.session_state.get(NAMES, [])
    before = {use.name: use for use in lora_uses()}
    uses = [before.get(name, LoraSpec(name)) for name in names]
    weighted = [replace(use, weight=st.session_state.get(weight_key(use.name), use.weight)) for use in uses]
    fill_form({lora_syntax.KEY: tuple(str(use) for use in weighted)})


def toggle_lora(name: str) -> None:
    """Choose a LoRA for the next image, or no longer."""
    uses = lora_uses()
    kept = [use for use in uses if use.name != name]
    fill_form({lora_syntax.KEY: tuple(str(use) for use in (kept if len(kept) < len(uses) else [*uses, LoraSpec(name)]))})


def add_to_prompt(words: str) -> None:
    """Append words, such as a LoRA's trigger words, to the prompt unless they are in it."""
    prompt = str(form_value(PROMPT) or "")
    if words not in prompt:
        fill_form({PROMPT: f"{prompt}, {words}" if prompt.strip() else words})


WINDOW = "window"  # the slider of start and end
_FIELDS = ("name", "preprocessor", "weight", "low", "high", "rate", WINDOW, "mode", "kind")
_UNIT = "unit:"


def control_units() -> tuple[ControlUnit, ...]:
    """Return the units of the form; none if the form's text is invalid."""
    try:
        return read_units(form_value(CONTROL_UNITS) or (), "form")
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
    fill_form({CONTROL_UNITS: tuple(map(str, units))})
