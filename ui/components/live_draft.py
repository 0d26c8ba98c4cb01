"""Live draft: while a slider or a number of the form is moved a small draft is drawn at once; when it is released, the image."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from core.config.control_units import KEY as UNITS
from core.config.lora_syntax import KEY as LORAS
from core.errors import StudioError
from core.studio import Studio
from ui.actions import generate as generate_actions
from ui.components import custom_components
from ui.i18n import localized, t
from ui.state import form as form_state
from ui.state import form as lora_state
from ui.state import form as unit_state
from ui.state import generate_page as generate_state
from ui.state import session

FORM = ".st-key-form_zone"


def switch(studio: Studio) -> None:
    """Draw the switch; where there can be no drafts it is greyed, with the reason."""
    problem = studio.drafts.problem()
    form_state.give_widget(generate_state.LIVE, generate_state.live() and problem is None)
    st.toggle(
        t("live.switch"), key=generate_state.LIVE, help=f"{localized(problem)}\n\n{t('live.help')}" if problem else t("live.help"),
        disabled=problem is not None, on_change=generate_actions.switch_live, args=(studio,),
    )  # fmt: skip


def render(studio: Studio) -> None:
    """Put the frame of the drafts over the stage; nothing while the switch is off or the form can't be generated."""
    if not generate_state.live():
        return
    try:
        request = generate_actions.single_request(studio)
    except StudioError:  # Generate says what is wrong
        return
    order = {**form_state.request_values(request), "inputs": dict(request.inputs)}
    words = {name: t(f"live.{name}") for name in ("draft", "asking", "busy", "close")} | {"seed": t("live.seed", seed=request.seed)}
    custom_components.live(
        order, _fields(), words, session.language(), form=FORM, job=_job(studio), key="live",
        released=generate_state.live_job() or "", on_release=lambda changes: generate_actions.generate_live(studio, changes),
    )  # fmt: skip


def _job(studio: Studio) -> str:
    """Return the job that the last release began, while it is active; else ""."""
    try:
        job_id = generate_state.live_job()
        return job_id if job_id and studio.queue.get(job_id).state.active else ""
    except StudioError:
        return ""


def _fields() -> Sequence[Mapping[str, Any]]:
    """Return what can be moved: options of the form, the weights of LoRAs and of ControlNets."""
    form = form_state.form()
    fields: list[dict[str, Any]] = [
        {"name": key, "key": key, "selector": _selector(form_state.widget_key(key)), "value": form[key]}
        for key in generate_state.LIVE_KEYS
    ]
    for entry, use in enumerate(lora_state.lora_uses()):
        before, _, after = str(use).partition(f":{use.weight:g}")
        fields.append(_entry(LORAS, entry, lora_state.weight_key(use.name), use.weight, f"{before}:", after))
    for entry, unit in enumerate(unit_state.control_units()):
        after = str(unit.of_weight(0.0)).removeprefix(f"{unit.name}:0")
        fields.append(_entry(UNITS, entry, unit_state.unit_key(entry, "weight"), unit.weight, f"{unit.name}:", after))
    return fields


def _entry(key: str, entry: int, widget: str, value: float | None, before: str, after: str) -> dict[str, Any]:
    """Return a field that is one entry of a list: its value stands between two texts."""
    own = {"entry": entry, "before": before, "after": after}
    return {"name": f"{key}:{entry}", "key": key, "selector": _selector(widget), "value": value, **own}


def _selector(widget: str) -> str:
    """Return the CSS selector of a widget by its session key, as Streamlit writes it."""
    return ".st-key-" + re.sub(r"[^a-zA-Z0-9_-]", "-", widget)
