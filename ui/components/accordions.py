"""Show the accordions of the Generate page with their fields, panels and the whole form as YAML."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from core.config.control_units import KEY as UNITS
from core.config.loader import to_yaml
from core.config.options import GROUPS, SCHEMA
from core.config.schema import Option
from core.errors import StudioError
from core.studio import Studio
from core.types import CONTROL, IMAGE, MASK, ModelInfo, WorkerStatus
from ui import formats
from ui.actions import form as form_actions
from ui.actions import generate as generate_actions
from ui.actions import input_images as input_actions
from ui.components import control_units, custom_components, error_card, input_card, lora_cards, parameter_panel, rerun
from ui.i18n import localized, t
from ui.state import form as form_state
from ui.state import form as lora_state
from ui.state import form as unit_state
from ui.state import generate_page as generate_state
from ui.state import input_images as input_state
from ui.state import session

SEARCH = "option_search"
EXPERT = "expert"


@dataclass(frozen=True)
class Section:
    """One accordion: its groups of options, from which level on it is shown, and its content."""

    name: str
    icon: str
    level: str
    groups: tuple[str, ...] = ()


SECTIONS = (
    Section("img2img", "add_photo_alternate", generate_state.BASIC, ("img2img", "inpaint", "outpaint")),
    Section("hires", "hd", generate_state.BASIC, ("hires", "upscale")),
    Section("control", "polyline", generate_state.BASIC, ("controlnet",)),
    Section("lora", "extension", generate_state.BASIC, ("lora",)),
    Section("sampler", "ssid_chart", generate_state.ADVANCED, ("sampling", "cfg")),
    Section("xy", "grid_on", generate_state.ADVANCED),
    Section("batch", "dynamic_feed", generate_state.BASIC),
    Section("rope", "aspect_ratio", generate_state.ADVANCED, ("size", "rope")),
    Section("vae", "dashboard", generate_state.ADVANCED, ("vae",)),
    Section("performance", "speed", generate_state.ADVANCED, ("precision", "attention", "memory", "performance", "compile")),
    Section("output", "save", generate_state.ADVANCED, ("output", "preview")),
    Section(EXPERT, "science", generate_state.EXPERT),
    Section("yaml", "code", generate_state.ADVANCED),
)


def render(studio: Studio, model: ModelInfo | None) -> None:
    """Show the search with the level, then what it finds, or all accordions of the level."""
    with st.container(horizontal=True, vertical_alignment="bottom", key="search_row"):
        search = st.text_input(
            t("options.search"), key=SEARCH, placeholder=t("options.search_hint"), label_visibility="collapsed"
        )
        level = _level()
    panel = _Panel(studio, model, level)
    if search and search.strip():
        panel.found(search)
        return
    for section in SECTIONS:
        if generate_state.LEVELS.index(section.level) <= generate_state.LEVELS.index(level):
            panel.section(section)
    panel.unsupported()
    st.button(
        t("options.reset"), key="options_reset", icon=":material/restart_alt:", type="tertiary",
        on_click=lambda: form_state.fill_form(studio.settings.request_options()),
    )  # fmt: skip


def _level() -> str:
    """Return which options are shown; kept over pages, as the widget's value alone is not."""
    key = session.labelled("level_select")
    form_state.give_widget(key, generate_state.level())
    st.selectbox(
        t("options.level"), generate_state.LEVELS, key=key, label_visibility="collapsed",
        format_func={name: t(f"level.{name}") for name in generate_state.LEVELS}.__getitem__,
        on_change=lambda: generate_state.set_level(st.session_state[key]),
    )  # fmt: skip
    return generate_state.level()


class _Panel:
    """The accordions of one run of the page."""

    def __init__(self, studio: Studio, model: ModelInfo | None, level: str) -> None:
        self._studio = studio
        self._model = model
        self._cannot: Mapping[str, Mapping[str, str]] = model.cannot if model else {}
        self._worker = studio.worker.status()
        self._level = level
        self._values = form_state.form_values()
        self._own: dict[str, Callable[[], None]] = {
            "img2img": lambda: input_card.render(studio, model),
            "hires": self._hires,
            "control": self._control,
            "xy": lambda: render_xy_plot(studio),
            "batch": lambda: render_batch(studio),
            "yaml": lambda: render_yaml(studio),
            "lora": lambda: self._lora(SCHEMA.options["lora.use"]),
        }

    def section(self, section: Section) -> None:
        """Show one accordion; nothing where the model supports none of its options."""
        options = self._options(section)
        if section.groups and not options and section.name not in self._own:
            return
        if section.name == "control" and not self._controlled() and UNITS in self._cannot:
            return
        key, is_open = generate_state.section_key(section.name), generate_state.section_open(section.name)
        form_state.give_widget(key, is_open)
        # while it is open its header stays as it was: another label would be another element, and closed
        summary = generate_state.section_summary(section.name, self._summary(section, options))
        panel = st.expander(
            f"{t(f'section.{section.name}')} :gray[· {formats.literal(summary)}]" if summary else t(f"section.{section.name}"),
            key=key, icon=f":material/{section.icon}:",
            on_change=lambda: generate_state.set_section(section.name, bool(st.session_state[key])),
        )  # fmt: skip
        if not is_open:
            return
        with panel:
            if section.name in self._own:
                self._own[section.name]()
            else:
                self._grouped(options)
            if section.name == "performance":
                st.button(
                    t("check.button"), key="quick_check", icon=":material/fact_check:", help=t("check.help"),
                    on_click=generate_actions.quick_check, args=(self._studio,),
                )  # fmt: skip

    def found(self, search: str) -> None:
        """Show what the search finds, of all levels, with the name of its accordion."""
        hits = [
            option for option in SCHEMA.panel("advanced") if option.matches(search) and option.key not in self._cannot
        ]
        if not hits:
            st.caption(t("options.none"))
        for section in SECTIONS:
            named = search.strip().lower() in t(f"section.{section.name}").lower()
            own = section.name in self._own and (named or any(option.group in section.groups for option in hits))
            options = [option for option in hits if option.group in section.groups]
            if own:
                st.caption(t(f"section.{section.name}"))
                self._own[section.name]()
            elif options:
                st.caption(t(f"section.{section.name}"))
                parameter_panel.group(options, self._worker)

    def unsupported(self) -> None:
        """Show one line for all that the model can't use, with the reasons."""
        names = [option for option in SCHEMA.panel("advanced") if option.key in self._cannot]
        if not names:
            return
        with st.popover(t("options.unsupported", count=len(names)), key="unsupported", type="tertiary"):
            for option in names:
                st.caption(f"**{localized(option.label)}**: {formats.literal(localized(self._cannot[option.key]))}")

    def _options(self, section: Section) -> list[Option]:
        """Return the options of an accordion that the model supports, at the present level."""
        supported = [option for option in SCHEMA.panel("advanced") if option.key not in self._cannot]
        if section.name == EXPERT:
            return [option for option in supported if option.level == generate_state.EXPERT]
        return [option for option in supported if option.group in section.groups and option.level != generate_state.EXPERT]

    def _grouped(self, options: Sequence[Option]) -> None:
        groups = [group for group in GROUPS if any(option.group == group for option in options)]
        for group in groups:
            if len(groups) > 1:
                st.caption(localized(GROUPS[group]))
            parameter_panel.group([option for option in options if option.group == group], self._worker)

    def _lora(self, option: Option) -> None:
        lora_cards.render_field(self._studio, self._model, option, "")

    def _hires(self) -> None:
        options = [option for option in SCHEMA.panel("advanced") if option.key not in self._cannot]
        render_upscale(self._studio, [one for one in options if one.group in ("hires", "upscale")], self._worker)

    def _control(self) -> None:
        if self._controlled():
            control_units.render_single(self._studio)
        elif self._model is not None:
            control_units.render(self._studio, self._model)

    def _controlled(self) -> bool:
        return self._model is not None and CONTROL in self._model.inputs

    def _summary(self, section: Section, options: Iterable[Option]) -> str:
        """Return what is set in an accordion, for its header."""
        if section.name == "img2img":
            inputs = input_state.sources().inputs
            strength = f"{self._values[input_card.STRENGTH]:g}"
            if IMAGE not in inputs:
                return t("value.off")
            return (
                t("summary.inpaint", strength=strength) if MASK in inputs else t("summary.img2img", strength=strength)
            )
        if section.name == "hires":
            return f"{self._values['hires.scale']:g}×" if self._values["hires.enabled"] else t("value.off")
        if section.name == "control":
            if not self._controlled():
                return ", ".join(unit.name for unit in unit_state.control_units()) or t("value.off")
            return t("value.on") if CONTROL in input_state.control_inputs() else t("summary.missing")
        if section.name == "lora":
            uses = lora_state.lora_uses()
            return ", ".join(f"{use.name} {use.weight:g}" for use in uses[:2]) + ("…" if uses[2:] else "")
        if section.name == "batch":
            return summary()
        if section.name in ("xy", "yaml"):
            return ""
        defaults = self._studio.settings.request_options()
        changed = sum(self._values[option.key] != defaults[option.key] for option in options)
        return t("summary.changed", count=changed) if changed else ""


FILES = ("txt", "csv", "tsv")
SHOWN = 4  # prompts of the preview
TEXT, FILE = "batch_text", "batch_file"


def render_batch(studio: Studio) -> None:
    """Show the panel. What is in it is checked at every run, so the button never leads to an error card."""
    form_state.give_widget(TEXT, form_state.batch_text())
    st.text_area(t("batch.text"), key=TEXT, height=104, placeholder=t("batch.hint"), on_change=_keep)
    file = st.file_uploader(t("batch.file"), FILES, key=FILE)
    names = " ".join(f"`__{name}__`" for name in studio.requests.wildcards())
    st.caption(t("batch.wildcards", names=formats.literal(names), folder=studio.settings.batch.wildcards))
    text = form_state.batch_text()
    if file is not None:
        _offer(studio, file.getvalue(), file.name)
    elif text.strip():
        _offer(studio, text, "batch")


def summary() -> str:
    """Return how many prompts there are, for the header of the panel."""
    count = sum(bool(line.strip()) for line in form_state.batch_text().splitlines())
    return t("summary.prompts", count=count) if count else ""


def _keep() -> None:
    form_state.set_batch_text(str(st.session_state.get(TEXT) or ""))


def _offer(studio: Studio, given: bytes | str, source: str) -> None:
    """Show how many images, the first of their prompts, and the button; or what is wrong, row by row."""
    try:
        request = studio.requests.new_batch(given, form_state.form_values(), source)
    except StudioError as error:
        st.html(f'<div class="zd-problem" role="alert"><p>{html.escape(error.message(session.language()))}</p></div>')
        return
    shown = "\n".join(f"{single.seed}: {single.prompt}" for single in request.per_image_requests()[:SHOWN])
    st.caption(t("batch.example") if form_state.form_values()["generation.seed"] < 0 else t("batch.begins"))
    st.code(shown, language=None, wrap_lines=True)
    st.button(
        t("batch.button", count=request.num_images),
        key="queue_batch",
        type="primary",
        width="stretch",
        icon=":material/playlist_add:",
        on_click=generate_actions.submit_batch,
        args=(studio, given, source),
    )


GROUP = "upscale"
SIZED = ("upscale.mode", "upscale.by")  # the size of the file follows from these


def render_upscale(studio: Studio, options: Sequence[Option], worker: WorkerStatus) -> None:
    """Show the fields of Hires. fix, then those of upscaling that have an effect."""
    parameter_panel.group([option for option in options if option.group != GROUP], worker)
    st.caption(localized(GROUPS[GROUP]))
    values = form_state.form_values()
    for option in options:
        if option.group != GROUP or parameter_panel.unmet(option, values):
            continue
        if option.key in SIZED:
            parameter_panel.field(option, on_change=_fit_size, args=(studio,))
        else:
            parameter_panel.field(option)


def _fit_size(studio: Studio) -> None:
    form_state.keep_form()
    input_actions.fit_size(studio)


def render_xy_plot(studio: Studio) -> None:
    """Show the axes and the button; what keeps the form from being an image stands in their place."""
    try:
        base = generate_actions.single_request(studio)
    except StudioError as error:
        custom_components.quiet(error.message(session.language()))
        return
    st.caption(t("vary.base"))
    rerun.axes(studio, base, lambda selected: studio.reruns.sweep_request(base, selected, generate_state.terms()))


_RESULT = "yaml_result"


def render_yaml(studio: Studio) -> None:
    """Show the effective settings, and a field that takes them back. What cannot be used changes nothing and stays in the field."""
    try:
        request = studio.requests.new(form_state.form_values())
    except StudioError as error:
        error_card.render(error, "yaml_now")
    else:
        st.code(to_yaml(form_state.request_values(request)), language="yaml", height=240)
    field = f"yaml_{form_state.yaml_version()}"
    st.text_area(t("yaml.paste"), key=field, height=120, placeholder="generation:\n  cfg_scale: 3.0")
    st.button(t("yaml.apply"), key="yaml_apply", on_click=_apply, args=(studio, field))
    _show_result()


def _apply(studio: Studio, field: str) -> None:
    problems, elsewhere = form_actions.apply_yaml(studio, st.session_state.get(field) or "", "YAML")
    st.session_state[_RESULT] = ([problem.to_dict() for problem in problems], elsewhere)
    if not problems:
        form_state.renew_yaml()


def _show_result() -> None:
    result = st.session_state.pop(_RESULT, None)
    if result is None:
        return
    problems, elsewhere = result
    for number, data in enumerate(problems):
        error_card.render(StudioError.from_dict(data), f"yaml{number}")
    if not problems:
        st.success(t("yaml.applied"), icon=":material/check:")
    if elsewhere:
        st.info(t("yaml.elsewhere", keys=", ".join(elsewhere)), icon=":material/info:")
