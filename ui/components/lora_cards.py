"""Show LoRAs: the field of the Generate page, with weights and trigger words, and the cards of the Models page."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import streamlit as st

from core.config.lora_syntax import LoraSpec
from core.config.schema import Option
from core.studio import Studio
from core.types import LoraInfo, ModelInfo
from ui import formats
from ui.actions import form as form_actions
from ui.actions import studio_calls
from ui.components import model_card
from ui.i18n import localized, t
from ui.state import form as lora_state
from ui.state import session


def render(studio: Studio) -> None:
    """Show a card for each LoRA, under a line that says where files go; in pages where there are many."""
    st.subheader(t("loras.title"), anchor=False)
    st.caption(t("loras.text"))
    loras, models = studio.models.loras(), studio.catalog.models()
    if not loras:
        st.caption(t("loras.none"))
        return
    numbered = model_card.selected(list(enumerate(loras)), "lora", lambda pair: pair[1].name)
    with st.grid(3, min_column_width=280, gap="small", key="lora_cards"):
        for number, lora in numbered:
            _card(studio, lora, models, number)


def _card(studio: Studio, lora: LoraInfo, models: Sequence[ModelInfo], number: int) -> None:
    with st.container(border=True, key=f"lora_{number}"):
        rows = "".join(
            f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in _facts(lora, models)
        )
        image = preview(lora.name) if lora.preview else ""
        st.html(
            f'<section class="zd-card zd-lora-card">{image}<h3>{html.escape(lora.name)}</h3><dl>{rows}</dl></section>'
        )
        if lora.problem is not None:
            st.warning(formats.literal(lora.problem.message(session.language())), icon=":material/info:")
        with st.container(horizontal=True):
            if lora.problem is None:
                selected = any(use.name == lora.name for use in lora_state.lora_uses())
                st.button(
                    t("loras.drop") if selected else t("loras.use"),
                    key=f"use_lora_{number}",
                    icon=f":material/{'check' if selected else 'add'}:",
                    on_click=_toggle,
                    args=(studio, lora.name),
                )
            if lora.problem is None and studio.models.asks_civitai():
                st.button(
                    t("loras.civitai"), key=f"civitai_{number}", icon=":material/travel_explore:", help=t("loras.civitai_help"),
                    on_click=studio_calls.ask, args=(studio.models.look_up_lora, lora.name),
                )  # fmt: skip
            if lora.own:
                _remove(studio, lora, number)


def _facts(lora: LoraInfo, models: Sequence[ModelInfo]) -> list[tuple[str, str]]:
    rows = [(t("loras.size"), formats.size_of(lora.bytes))]
    if lora.problem is None:
        fits = [localized(model.name) for model in models if lora.fits(model)]
        made = f"{lora.family or lora.kind or '?'} {lora.width or ''}".strip()
        rows.insert(0, (t("loras.fits"), ", ".join(fits) or t("loras.fits_none", made=made)))
        rows.append((t("loras.format"), ", ".join(one for one in (lora.algorithm, lora.layout, lora.dtype) if one)))
        if lora.rank:
            rows.append((t("loras.rank"), str(lora.rank)))
        if lora.triggers:
            rows.append((t("loras.triggers"), ", ".join(lora.triggers)))
        rows.append(("SHA-256", lora.digest[:16] + "…" if lora.digest else t("loras.unhashed")))
    return rows


def _toggle(studio: Studio, name: str) -> None:
    """Select or deselect a LoRA. The form may not be there yet: this page can be the first that is opened."""
    form_actions.open_form(studio)
    lora_state.toggle_lora(name)


def _remove(studio: Studio, lora: LoraInfo, number: int) -> None:
    """Behind a second click."""
    if not session.is_admin():
        return
    with st.popover(t("loras.remove"), icon=":material/delete:", key=f"remove_lora_{number}"):
        st.text(t("loras.remove_text", name=lora.name, size=formats.size_of(lora.bytes)))
        st.button(
            t("loras.remove"),
            key=f"delete_lora_{number}",
            on_click=studio_calls.ask,
            args=(studio.lora_files.remove, lora.name),
        )


def embeddings(studio: Studio) -> None:
    """Show a card for each; nothing where there is none."""
    usable, unusable = studio.models.embeddings()
    if not usable and not unusable:
        return
    st.subheader(t("embeddings.title"), anchor=False)
    st.caption(t("embeddings.text"))
    with st.grid(3, min_column_width=280, gap="small", key="embedding_cards"):
        for number, one in enumerate(usable):
            with st.container(border=True, key=f"embedding_{number}"):
                facts = ((t("loras.fits"), one.family), (t("embeddings.vectors"), str(one.vectors)),
                         (t("loras.size"), formats.size_of(one.path.stat().st_size)))  # fmt: skip
                rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in facts)
                st.html(f'<section class="zd-card"><h3>{html.escape(one.name)}</h3><dl>{rows}</dl></section>')
                st.button(
                    t("embeddings.use"), key=f"use_embedding_{number}", icon=":material/add:", on_click=_use_embedding,
                    args=(studio, one.name),
                )  # fmt: skip
        for error in unusable.values():
            with st.container(border=True):
                st.warning(formats.literal(error.message(session.language())), icon=":material/info:")


def _use_embedding(studio: Studio, name: str) -> None:
    """Put the name into the prompt. The form may not be there yet: this page can be the first that is opened."""
    form_actions.open_form(studio)
    lora_state.add_to_prompt(f"embedding:{name}")


USUAL = (0.0, 2.0)  # what a slider offers; what is set elsewhere widens it


def render_field(studio: Studio, model: ModelInfo | None, option: Option, badge: str) -> None:
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
