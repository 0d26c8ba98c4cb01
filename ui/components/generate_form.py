"""Show the form's upper part: model and preset, prompts, size, steps, CFG scale, images, seed."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence

import streamlit as st

from core.batch.templates import is_template
from core.config.options import SCHEMA
from core.config.prompt_weights import SYNTAX, editing, has_syntax
from core.errors import StudioError
from core.studio import Studio
from core.types import GenerationRequest, ModelInfo
from ui import formats, prompts
from ui.actions import form as form_actions
from ui.components import (
    custom_components,
    live_draft,
    parameter_panel,
    presets_menu,
    prompt_builder,
    prompt_help,
    reload_question,
    sizes,
)
from ui.i18n import localized, t
from ui.state import form as form_state
from ui.state import session

PROMPT = "generation.prompt"
NEGATIVE = "generation.negative_prompt"
SELECTORS: Mapping[str, str] = {PROMPT: ".st-key-prompt", NEGATIVE: ".st-key-negative", "batch": ".st-key-batch_text"}


def draw(studio: Studio, model: ModelInfo | None, library: prompts.Library | None) -> None:
    """Show the whole form, in the order of the keyboard."""
    with st.container(horizontal=True, vertical_alignment="bottom", key="top_row"):
        problem = _model(studio)
        presets_menu.draw(studio)
    if problem:
        st.warning(formats.literal(problem), icon=":material/info:")
    reload_question.draw(studio)
    _prompt(studio, library, model)
    _brackets(model)
    _negative(studio, library, model)
    _numbers(studio, model)
    if model is not None:
        sizes.draw(studio.settings.ui.size_presets, model)


def _model(studio: Studio) -> str:
    """Select the model that generates; return why one can't be used here, "" if it can."""
    models = {
        model.id: model for model in studio.catalog.models() if model.problem is None or model.sources or model.path
    }
    present = form_state.form_value("model.id")
    ids = list(models) if present in models else [*models, present]
    key = session.labelled(form_state.seed_widget("model.id"))
    names = {**{model_id: model_id for model_id in ids}, **_names(list(models.values()))}
    selected = models.get(present)
    about = localized(selected.description) if selected else ""
    st.selectbox(
        localized(SCHEMA.options["model.id"].label), ids, format_func=lambda model_id: names.get(model_id, model_id), key=key,
        help=f"{about}\n\n{localized(SCHEMA.options['model.id'].help)}".strip(),
        on_change=form_actions.change_model, args=(studio,),
    )  # fmt: skip
    return selected.problem.message(session.language()) if selected and selected.problem else ""


def _names(models: Sequence[ModelInfo]) -> Mapping[str, str]:
    """Return the name of each model by id; of several with one name each with its path, or its id where it has none."""
    names = {model.id: localized(model.name) for model in models}
    shared = Counter(names.values())
    return {
        model.id: names[model.id] if shared[names[model.id]] == 1 else f"{names[model.id]} · {model.path or model.id}"
        for model in models
    }


def _prompt(studio: Studio, library: prompts.Library | None, model: ModelInfo | None) -> None:
    prompt_help.take_answer(studio)
    option = SCHEMA.options[PROMPT]
    with st.container(key="prompt"):
        st.text_area(
            localized(option.label), key=form_state.seed_widget(PROMPT), height=112, placeholder=t("generate.prompt_hint"),
            on_change=form_state.keep_form,
        )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="center", key="prompt_tools"):
        prompt_builder.draw(library)
        prompt_help.buttons(studio, model)
        _tokens(studio, PROMPT)
        if any(is_template(form_state.form_value(key) or "") for key in (PROMPT, NEGATIVE)):
            with st.popover(
                t("wildcards.button"), icon=":material/casino:", key="wildcard_preview", on_change="rerun"
            ) as one:
                if one.open:
                    _preview(studio)
    prompt_help.progress(studio)


def _tokens(studio: Studio, key: str) -> None:
    """Show how many tokens a prompt has, of those that the text encoder reads; red, with the rest, where it is cut."""
    prompt = form_state.form_value(key) or ""
    try:
        counted = studio.requests.count_tokens(form_state.form_value("model.id"), prompt, form_state.form_values())
    except StudioError:
        return
    if counted is None or not prompt.strip():
        return
    words = (
        t("generate.tokens_cut", used=counted.used, limit=counted.limit)
        if counted.cut
        else t("generate.tokens", used=counted.used, limit=counted.limit)
    )
    if counted.cut:
        words += f" “{shortened(counted.cut)}”"
    st.html(f'<p class="zd-quiet{" zd-over" if counted.over else ""}">{html.escape(words)}</p>')


def shortened(text: str, longest: int = 60) -> str:
    """Return a text on one line, with its middle left out where it is long."""
    line = " ".join(text.split())
    half = longest // 2
    return line if len(line) <= longest else f"{line[:half]} … {line[-half:]}"


def _brackets(model: ModelInfo | None) -> None:
    """Say once in a session what of a prompt's brackets is not read: all of them without CLIP, else prompt editing."""
    if model is None:
        return
    prompts_ = (form_state.form_value(PROMPT) or "", form_state.form_value(NEGATIVE) or "")
    if SYNTAX in model.cannot:
        meant, words = any(has_syntax(text) for text in prompts_), t("generate.brackets_are_text")
    else:
        meant, words = any(editing(text, form_state.form_value(SYNTAX)) for text in prompts_), t("generate.editing_is_emphasis")
    if meant and session.tell_once("brackets" if SYNTAX in model.cannot else "editing"):
        st.toast(words, icon=":material/info:", duration="long")


def _preview(studio: Studio) -> None:
    """Show what the next images will be asked for."""
    try:
        request = studio.requests.expanded(form_state.form_values(), t("wildcards.source"))
    except StudioError as error:
        custom_components.quiet(error.message(session.language()))
        return
    st.caption(t("wildcards.example") if form_state.form_values()["generation.seed"] < 0 else t("wildcards.next"))
    st.code(
        "\n".join(_shown(one) for one in request.per_image_requests()[:4]),
        language=None,
        wrap_lines=True,
    )


def _shown(request: GenerationRequest) -> str:
    negative = f"\n    - {request.negative_prompt}" if request.negative_template else ""
    return f"{request.seed}: {request.prompt}{negative}"


def _negative(studio: Studio, library: prompts.Library | None, model: ModelInfo | None) -> None:
    """Show the negative prompt: open while it can act, else one line that says why it does not."""
    if model is not None and NEGATIVE in model.cannot:
        return
    acts = (form_state.form_value(form_state.CFG) or 1) > 1
    filled = bool((form_state.form_value(NEGATIVE) or "").strip())
    if not acts and not filled:
        custom_components.quiet(t("generate.negative_off"))
        return
    with st.container(key="negative"):
        st.text_area(
            localized(SCHEMA.options[NEGATIVE].label), key=form_state.seed_widget(NEGATIVE), height=68,
            help=localized(SCHEMA.options[NEGATIVE].help), on_change=form_state.keep_form,
        )  # fmt: skip
    _tokens(studio, NEGATIVE)
    if not acts:
        st.warning(t("generate.negative_idle"), icon=":material/info:")
    elif library and not filled:
        st.button(
            t("generate.ready_negative"), key="ready_negative", type="tertiary", icon=":material/playlist_add:",
            on_click=lambda: form_state.fill_form({NEGATIVE: localized(library.negative)}),
        )  # fmt: skip


def _numbers(studio: Studio, model: ModelInfo | None) -> None:
    """Show Steps, CFG scale, number of images and seed."""
    options = {key: parameter_panel.bounded(option, model) for key, option in SCHEMA.options.items()}
    keys = ("generation.num_inference_steps", form_state.CFG, "generation.num_images")
    labels = {form_state.CFG: t("generate.cfg")}
    with st.container(key="numbers"):
        for column, key in zip(st.columns(3, gap="small"), keys, strict=True):
            with column:
                parameter_panel.field(options[key], label=labels.get(key), exact=True)
    with st.container(horizontal=True, vertical_alignment="bottom", key="seed_row"):
        parameter_panel.field(options["generation.seed"], placeholder=t("generate.random"))
        st.button(
            t("generate.random_help"), key="seed_random", icon=":material/casino:", help=t("generate.random_help"),
            on_click=lambda: form_state.fill_form({"generation.seed": -1}),
        )  # fmt: skip
        last = last_seed(studio)
        st.button(
            t("generate.reuse"), key="seed_reuse", icon=":material/history:", help=t("generate.reuse"), disabled=last is None,
            on_click=lambda: form_state.fill_form({"generation.seed": last}),
        )  # fmt: skip
    live_draft.switch(studio)


def last_seed(studio: Studio) -> int | None:
    """Return the seed of the job that was submitted last."""
    for job in studio.queue.recent(1):
        return job.request.seed
    return None
