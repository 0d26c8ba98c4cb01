"""Make widgets from the schema: each option's type, range, unit, help and when it takes effect."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from core.config.options import SCHEMA
from core.config.schema import AUTO, Option, TakesEffect
from core.types import Decision, ModelInfo, WorkerStatus
from ui import formats, resources
from ui.i18n import localized, t
from ui.state import form as form_state
from ui.state import generate_page as generate_state

UPSCALERS = ("hires.upscaler", "upscale.method")  # their values are the upscalers of this machine
SLIDER_POSITIONS = 61  # with more, a slider on a narrow column can't be set exactly: a number field can


def _effective(decision: Decision) -> str:
    value, reason = formats.plain(decision.effective), localized(decision.reason)
    return t("options.in_effect", value=formats.literal(value), reason=formats.literal(reason))


def group(options: Sequence[Option], worker: WorkerStatus) -> None:
    """Show the fields of these options; one without an effect at the present settings is greyed, with the reason."""
    decisions = {decision.option: decision for decision in worker.decisions}
    selected = form_state.form({option.key for option in options} | {key for option in options for key, _ in option.needs})
    values = form_state.form_values(selected)
    for option in options:
        decision = decisions.get(option.key)
        reason = unmet(option, values)
        field(option, badge=_badge(option, worker), placeholder=_automatic(decision), reason=reason)
        if decision and option.implemented and decision.effective != selected.get(option.key):
            st.caption(_effective(decision))
        elif _differs(option, selected.get(option.key), worker):
            st.caption(t("options.now", value=formats.literal(formats.plain(worker.effective[option.key]))))


def unmet(option: Option, values: Mapping[str, Any]) -> str:
    """Return why the option has no effect at these values of the form; "" if it has one."""
    need = option.unmet(values)
    if need is None:
        return ""
    key, allowed = need
    needed = " / ".join(formats.plain(value) for value in allowed)
    return t("options.needs", name=localized(SCHEMA.options[key].label), value=needed)


def _differs(option: Option, selected: Any, worker: WorkerStatus) -> bool:
    """Return whether the form has something else (`selected`) than what the loaded pipeline was last asked for."""
    selected = AUTO if selected is None and option.auto else selected
    return option.key in worker.effective and selected != worker.asked.get(option.key, selected)


def field(
    option: Option, *, badge: str = "", placeholder: str = "", label: str | None = None, reason: str = "", exact: bool = False,
    on_change: Callable[..., None] | None = None, args: tuple[Any, ...] = (),
) -> Any:  # fmt: skip
    """Draw the widget of one option; its value is kept in the form under the option's key. With a `reason` it is greyed.

    `exact` gives a number field where a slider would do.
    """
    key = form_state.seed_widget(option.key)
    unit = f" ({option.unit})" if option.unit else ""
    words = (label or localized(option.label)) + unit + (f" {badge}" if badge else "")
    shared: dict[str, Any] = {"key": key, "help": _help(option, reason), "disabled": not option.implemented or bool(reason)}
    if on_change is not None:
        shared |= {"on_change": on_change, "args": args}
    if option.type == "bool":
        return st.toggle(words, **shared)
    if option.key in UPSCALERS:
        names = (AUTO, *resources.studio().requests.upscaler_names())
        present = form_state.form_value(option.key)
        return st.selectbox(words, names if present in names else (*names, present), **shared)
    if option.type == "choice":
        return st.selectbox(words, option.choices, **shared)
    if option.type in ("int", "float"):
        return _number(option, words, placeholder, shared, exact)
    return st.text_input(words, **shared)


def _number(option: Option, words: str, placeholder: str, shared: dict[str, Any], exact: bool) -> Any:
    """Return a slider where each position can be hit, else a number field; an empty field is "auto", or a random seed.

    With live drafts, what can be moved is a slider.
    """
    convert = int if option.type == "int" else float
    low, high = convert(option.minimum or 0), convert(option.maximum or 0)
    step = convert(option.step or 1)
    shape: dict[str, Any] = {"step": step, "format": "%d" if convert is int else "%g"}
    if option.key == "generation.seed":
        return st.number_input(words, 0, high, value=None, placeholder=placeholder, **shape, **shared)
    if option.auto and option.panel == "advanced":
        return st.number_input(words, low, high, value=None, placeholder=placeholder or AUTO, **shape, **shared)
    moved = generate_state.live() and option.key in generate_state.LIVE_KEYS
    if moved or (not exact and (high - low) / step < SLIDER_POSITIONS):
        return st.slider(words, low, high, **shape, **shared)
    return st.number_input(words, low, high, **shape, **shared)


def bounded(option: Option, model: ModelInfo | None) -> Option:
    """Return the option as this model allows it."""
    if option.key == form_state.CFG:
        low, high = (model.bounds if model else {}).get(form_state.CFG, (1.0, 20.0))
        return replace(option, minimum=low, maximum=high, step=0.5)
    if model is None or option.key not in model.bounds:
        return option
    low, high = model.bounds[option.key]
    return replace(option, minimum=low, maximum=high)


def _help(option: Option, reason: str) -> str:
    lines = [localized(option.help), f"`{option.key}` · {localized(option.allowed)}"]
    if reason:
        lines.insert(0, reason)
    if not option.implemented:
        lines.insert(0, t("options.not_built"))
    return "\n\n".join(lines)


def _badge(option: Option, worker: WorkerStatus) -> str:
    """Return what a change costs, or "" for the normal case: it acts on the next image."""
    if not option.implemented:
        return f":gray-badge[{t('options.soon')}]"
    if option.takes_effect is TakesEffect.RELOAD:
        last = f" {formats.seconds(worker.load_seconds)}" if worker.load_seconds else ""
        return f":orange-badge[{t('effect.reload')}{last}]"
    return f":gray-badge[{t('effect.start')}]" if option.takes_effect is TakesEffect.START else ""


def _automatic(decision: Decision | None) -> str:
    return f"{AUTO}: {formats.plain(decision.effective)}" if decision else AUTO
