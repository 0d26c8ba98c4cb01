"""Show the form of the Generate page: prompt and its helpers, model, size and numbers."""

from __future__ import annotations

import html
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import streamlit as st

from core.batch.templates import is_template
from core.config.options import SCHEMA
from core.config.prompt_weights import SYNTAX, editing, has_syntax
from core.errors import StudioError
from core.studio import Studio
from core.types import GenerationRequest, ModelInfo
from ui import formats, prompts
from ui.actions import form as form_actions
from ui.actions import generate as generate_actions
from ui.components import custom_components, live_draft, parameter_panel, presets_menu
from ui.i18n import localized, t
from ui.state import form as form_state
from ui.state import generate_page as generate_state
from ui.state import generate_page as prompt_help_state
from ui.state import session
from ui.state import session as page_state

PROMPT = "generation.prompt"
NEGATIVE = "generation.negative_prompt"
SELECTORS: Mapping[str, str] = {PROMPT: ".st-key-prompt", NEGATIVE: ".st-key-negative", "batch": ".st-key-batch_text"}


def render(studio: Studio, model: ModelInfo | None, library: prompts.Library | None) -> None:
    """Show the whole form, in the order of the keyboard."""
    with st.container(horizontal=True, vertical_alignment="bottom", key="top_row"):
        problem = _model(studio)
        presets_menu.render(studio)
    if problem:
        st.warning(formats.literal(problem), icon=":material/info:")
    render_reload_question(studio)
    _prompt(studio, library, model)
    _brackets(model)
    _negative(studio, library, model)
    _numbers(studio, model)
    if model is not None:
        render_sizes(studio.settings.ui.size_presets, model)


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
    take_answer(studio)
    option = SCHEMA.options[PROMPT]
    with st.container(key="prompt"):
        st.text_area(
            localized(option.label), key=form_state.seed_widget(PROMPT), height=112, placeholder=t("generate.prompt_hint"),
            on_change=form_state.keep_form,
        )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="center", key="prompt_tools"):
        render_prompt_builder(library)
        buttons(studio, model)
        _tokens(studio, PROMPT)
        if any(is_template(form_state.form_value(key) or "") for key in (PROMPT, NEGATIVE)):
            with st.popover(
                t("wildcards.button"), icon=":material/casino:", key="wildcard_preview", on_change="rerun"
            ) as one:
                if one.open:
                    _preview(studio)
    progress(studio)


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


def render_reload_question(studio: Studio) -> None:
    """Show the question with its two answers, while it waits for one."""
    present = generate_state.reload_question()
    if not present:
        return
    seconds = studio.worker.status().load_seconds
    names = ", ".join(localized(SCHEMA.options[key].label) for key in present)
    words = t("reload.timed", names=names, time=formats.seconds(seconds)) if seconds else t("reload.plain", names=names)
    with st.container(border=True, key="reload_question"):
        st.text(words)
        with st.container(horizontal=True):
            st.button(t("reload.go"), key="reload_go", type="primary", on_click=generate_actions.reload_now, args=(studio,))
            st.button(t("reload.keep"), key="reload_keep", on_click=generate_actions.keep_loaded, args=(present,))


def render_prompt_builder(library: prompts.Library | None) -> None:
    """Show words by slot. A choice writes its words into the prompt, in the place of the ones chosen before."""
    if library is None:
        return
    with st.popover(t("generate.ideas"), icon=":material/lightbulb:", key="ideas", on_change="rerun") as panel:
        if not panel.open:
            return
        names = {kind.id: localized(kind.name) for kind in library.kinds}
        selected = library.kinds[0].id
        if len(names) > 1:
            selected = st.segmented_control(
                t("generate.kind"),
                list(names),
                format_func=names.__getitem__,
                default=selected,
                required=True,
                key=session.labelled("idea_kind"),
                label_visibility="collapsed",
            )
        kind = next(kind for kind in library.kinds if kind.id == selected)
        write = _writer(library, kind)
        for slot in kind.slots:
            words = [localized(word) for word in slot.words]
            st.pills(
                localized(slot.name),
                range(len(words)),
                format_func=words.__getitem__,
                key=session.labelled(_slot_key(kind, slot)),
                on_change=write,
            )


def _slot_key(kind: prompts.Kind, slot: prompts.Slot) -> str:
    return f"slot_{kind.id}_{slot.id}"


def _writer(library: prompts.Library, kind: prompts.Kind) -> Callable[[], None]:
    def write() -> None:
        picked = {slot.id: st.session_state.get(_slot_key(kind, slot)) for slot in kind.slots}
        selected = {slot: number for slot, number in picked.items() if number is not None}
        words = prompts.compose(library, kind, selected, session.language())
        separator = library.separator[session.language()]
        prompt = prompts.replace_words(form_state.form_value(PROMPT) or "", form_state.slot_text(), words, separator)
        form_state.fill_form({PROMPT: prompt})
        form_state.set_slot_text(words)

    return write


POLL_SECONDS = 0.3
ICONS = {"enhance": ":material/auto_fix_high:", "translate": ":material/translate:"}


def buttons(studio: Studio, model: ModelInfo | None) -> None:
    """Show the buttons of both tasks, disabled with the reason, and Undo after one of them."""
    reason = studio.prompt_help.problem(model.id) if model is not None else None
    prompt = (form_state.form_value(PROMPT) or "").strip()
    busy = prompt_help_state.prompt_help() is not None
    for task, icon in ICONS.items():
        st.button(
            t(f"prompt_help.{task}"), key=f"prompt_{task}", icon=icon, type="tertiary",
            help=localized(reason) if reason else t(f"prompt_help.{task}_help"),
            disabled=model is None or reason is not None or busy or not prompt,
            on_click=_ask, args=(studio, task),
        )  # fmt: skip
    if original := prompt_help_state.original_prompt(prompt):
        st.button(
            t("prompt_help.undo"), key="prompt_undo", icon=":material/undo:", type="tertiary", help=original,
            on_click=_undo, args=(original,),
        )  # fmt: skip


def take_answer(studio: Studio) -> None:
    """Put a finished prompt into the form; called before the form's fields are drawn."""
    asked = prompt_help_state.prompt_help()
    answer = studio.prompt_help.answer(asked.id) if asked is not None else None
    if asked is None or answer is None or not answer.done:
        return
    prompt_help_state.set_prompt_help(None)
    if answer.error is not None:
        page_state.set_errors([answer.error])
    elif written := answer.text.strip():
        prompt_help_state.take_prompt(asked.original, written)
        form_state.fill_form({PROMPT: written})


def progress(studio: Studio) -> None:
    """Show the words as they come, while they come."""
    asked = prompt_help_state.prompt_help()
    if asked is not None:
        st.fragment(_progress, run_every=POLL_SECONDS)(studio, asked)


def _progress(studio: Studio, asked: prompt_help_state.PromptHelpRequest) -> None:
    answer = studio.prompt_help.answer(asked.id)
    if answer.done:
        st.rerun()
    st.code(answer.text or t("prompt_help.waiting"), language=None, wrap_lines=True)
    st.button(t("job.cancel"), key="prompt_cancel", on_click=_cancel, args=(studio, asked))


def _ask(studio: Studio, task: str) -> None:
    prompt = (form_state.form_value(PROMPT) or "").strip()
    seed = random.SystemRandom().randrange(2**31)
    try:
        answer_id = studio.prompt_help.ask(task, prompt, form_state.form_values(), seed)
    except StudioError as error:
        page_state.set_errors([error])
        return
    original = prompt_help_state.original_prompt(prompt) or prompt
    prompt_help_state.set_prompt_help(prompt_help_state.PromptHelpRequest(answer_id, original))


def _cancel(studio: Studio, asked: prompt_help_state.PromptHelpRequest) -> None:
    """Stop it; the prompt stays as it was."""
    studio.prompt_help.cancel(asked.id)
    prompt_help_state.set_prompt_help(None)


def _undo(original: str) -> None:
    prompt_help_state.forget_original()
    form_state.fill_form({PROMPT: original})


WIDTH, HEIGHT = "generation.width", "generation.height"
CHIPS = "size_chips"


def preset_size(preset: str, model: ModelInfo) -> tuple[int, int] | None:
    """Return "4:3" at the model's native number of pixels on its grid, or the exact "1280x720"; None for neither."""
    exact = re.fullmatch(r"\s*(\d+)\s*[x×*]\s*(\d+)\s*", preset)
    if exact:
        return int(exact[1]), int(exact[2])
    ratio = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*:\s*(\d+(?:\.\d+)?)\s*", preset)
    if not ratio or not float(ratio[1]) or not float(ratio[2]):
        return None
    share = float(ratio[1]) / float(ratio[2])
    budget = model.default_width * model.default_height
    width, height = math.sqrt(budget * share), math.sqrt(budget / share)
    grid = model.size_multiple
    return max(grid, round(width / grid) * grid), max(grid, round(height / grid) * grid)


def render_sizes(presets: Sequence[str], model: ModelInfo) -> None:
    """Show chips that set width and height; that of the present size is lit."""
    sizes = {preset: size for preset in presets if (size := preset_size(preset, model))}
    present = (form_state.form_value(WIDTH), form_state.form_value(HEIGHT))
    form_state.give_widget(CHIPS, next((preset for preset, size in sizes.items() if size == present), None))

    def choose() -> None:
        preset = st.session_state.get(CHIPS)
        if preset:
            form_state.fill_form({WIDTH: sizes[preset][0], HEIGHT: sizes[preset][1]})
            if generate_state.ratio() is not None:
                generate_state.set_ratio(sizes[preset][0] / sizes[preset][1])

    st.pills(t("generate.size"), list(sizes), key=CHIPS, on_change=choose, help=_legend(sizes))
    with st.container(horizontal=True, vertical_alignment="bottom", key="size_row"):
        parameter_panel.field(SCHEMA.options[WIDTH], on_change=partial(_keep_ratio, WIDTH, HEIGHT, model))
        st.button(
            t("generate.swap"), key="size_swap", icon=":material/swap_horiz:", help=t("generate.swap"), on_click=_swap
        )
        parameter_panel.field(SCHEMA.options[HEIGHT], on_change=partial(_keep_ratio, HEIGHT, WIDTH, model))
        locked = generate_state.ratio() is not None
        words = t("generate.unlock") if locked else t("generate.lock")
        st.button(
            words, key="size_lock", icon=":material/lock:" if locked else ":material/lock_open:", help=words,
            type="primary" if locked else "secondary", on_click=_toggle_lock,
        )  # fmt: skip


def _swap() -> None:
    width, height = form_state.form_value(WIDTH), form_state.form_value(HEIGHT)
    form_state.fill_form({WIDTH: height, HEIGHT: width})
    if generate_state.ratio() is not None:
        generate_state.set_ratio(height / width)


def _toggle_lock() -> None:
    width, height = form_state.form_value(WIDTH), form_state.form_value(HEIGHT)
    generate_state.set_ratio(None if generate_state.ratio() is not None else width / height)


def _keep_ratio(changed: str, other: str, model: ModelInfo) -> None:
    """While the ratio is locked, the other side follows, on the grid of the model."""
    ratio, side = generate_state.ratio(), form_state.form_value(changed)
    if ratio is None or not side:
        return
    exact = side / ratio if changed == WIDTH else side * ratio
    option, grid = SCHEMA.options[other], model.size_multiple
    low, high = int(option.minimum or grid), int(option.maximum or exact)
    form_state.fill_form({other: min(high, max(low, round(exact / grid) * grid))})


def _legend(sizes: dict[str, tuple[int, int]]) -> str:
    return " · ".join(f"{preset} = {formats.pixels(*size)}" for preset, size in sizes.items())
