"""Select the LoRAs of the next image from those that fit the model, with weight, preview and trigger words of each."""

from __future__ import annotations

import html
from collections.abc import Mapping
from urllib.parse import quote

import streamlit as st

from core.config.lora_syntax import LoraSpec
from core.config.schema import Option
from core.studio import Studio
from core.types import LoraInfo, ModelInfo
from ui import formats
from ui.i18n import localized, t
from ui.state import loras as lora_state
from ui.state import session

USUAL = (0.0, 2.0)  # what a slider offers; what is set elsewhere widens it


def draw(studio: Studio, model: ModelInfo | None, option: Option, badge: str) -> None:
    """Show the list and, below it, a row for each selected LoRA."""
    uses = lora_state.lora_uses()
    known = {lora.name: lora for lora in studio.models.loras()}
    fitting = [name for name, lora in known.items() if lora.problem is None and (model is None or lora.fits(model))]
    names = list(dict.fromkeys([*fitting, *(use.name for use in uses)]))
    lora_state.lay_out_loras(uses)
    st.multiselect(
        f"{localized(option.label)} {badge}",
        names,
        key=lora_state.NAMES,
        help=f"{localized(option.help)}\n\n`{option.key}`",
        placeholder=t("loras.choose") if names else t("loras.none_fit"),
        disabled=not names,
        on_change=lora_state.take_loras,
    )
    for use in uses:
        _row(use, known, use.name in fitting)


def _row(use: LoraSpec, known: Mapping[str, LoraInfo], fits: bool) -> None:
    name, weight = use.name, use.weight
    with st.container(horizontal=True, vertical_alignment="center", key=f"lora_row_{name}"):
        if name in known and known[name].preview:
            st.html(preview(name), width=64)
        st.slider(
            name,
            min(USUAL[0], weight),
            max(USUAL[1], weight),
            step=0.05,
            key=lora_state.weight_key(name),
            on_change=lora_state.take_loras,
        )
    if use.parts:
        st.caption(t("loras.parts", parts=formats.literal(", ".join(f"{part} {one:g}" for part, one in use.parts))))
    if name in known and known[name].triggers:
        words = ", ".join(known[name].triggers)
        st.button(
            t("loras.add_triggers", words=formats.literal(words)),
            key=f"lora_words_{name}",
            icon=":material/add:",
            type="tertiary",
            on_click=lora_state.add_to_prompt,
            args=(words,),
        )
    if not fits:
        problem = known[name].problem if name in known else None
        unfit = t("loras.unfit") if name in known else t("loras.unknown")
        words = problem.message(session.language()) if problem else unfit
        st.warning(formats.literal(words), icon=":material/warning:")


def preview(name: str) -> str:
    """Return the preview of a LoRA as HTML."""
    address = f"/api/loras/{quote(name, safe='')}/preview"
    return f'<img class="zd-lora" src="{html.escape(address)}" alt="{html.escape(name)}">'
