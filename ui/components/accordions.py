"""Show the advanced settings as accordions: a closed one lists changed values and renders nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from core.config.control_units import KEY as UNITS
from core.config.options import GROUPS, SCHEMA
from core.config.schema import Option
from core.studio import Studio
from core.types import CONTROL, IMAGE, MASK, ModelInfo
from ui import formats
from ui.actions import generate as generate_actions
from ui.components import (
    batch_panel,
    control_panel,
    control_units,
    input_card,
    lora_field,
    parameter_panel,
    settings_yaml,
    upscale_panel,
    xy_plot,
)
from ui.i18n import localized, t
from ui.state import control_units as unit_state
from ui.state import form as form_state
from ui.state import generate_page as generate_state
from ui.state import input_images as input_state
from ui.state import loras as lora_state
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


def draw(studio: Studio, model: ModelInfo | None) -> None:
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
            "img2img": lambda: input_card.draw(studio, model),
            "hires": self._hires,
            "control": self._control,
            "xy": lambda: xy_plot.draw(studio),
            "batch": lambda: batch_panel.draw(studio),
            "yaml": lambda: settings_yaml.draw(studio),
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
        lora_field.draw(self._studio, self._model, option, "")

    def _hires(self) -> None:
        options = [option for option in SCHEMA.panel("advanced") if option.key not in self._cannot]
        upscale_panel.draw(self._studio, [one for one in options if one.group in ("hires", "upscale")], self._worker)

    def _control(self) -> None:
        if self._controlled():
            control_panel.draw(self._studio)
        elif self._model is not None:
            control_units.draw(self._studio, self._model)

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
            return batch_panel.summary()
        if section.name in ("xy", "yaml"):
            return ""
        defaults = self._studio.settings.request_options()
        changed = sum(self._values[option.key] != defaults[option.key] for option in options)
        return t("summary.changed", count=changed) if changed else ""
