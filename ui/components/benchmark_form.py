"""Show the form of a benchmark: columns of a model and its options, prompts, seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from core.benchmark import plan
from core.benchmark.plan import SHARED
from core.config.loader import profile_names
from core.config.options import SCHEMA
from core.config.schema import Option
from core.errors import InputError, StudioError
from core.studio import Studio
from core.types import ModelInfo, SubmitOptions
from ui import prompts
from ui.components import custom_components
from ui.i18n import localized, t
from ui.state import benchmark as benchmark_state
from ui.state import session
from ui.state import session as page_state

MODELS_PAGE = "views/models.py"
ALL = "all"  # what overrides the settings in every column


def render(studio: Studio) -> None:
    """Show the fields and the button. What is wrong with them is told when it is pressed, and nothing is queued then."""
    models = {info.id: info for info in studio.catalog.models()}
    _prefill(studio, models)
    _keep(studio)
    with st.container(key="benchmark_form"):
        _fields(studio, models)


def _fields(studio: Studio, models: dict[str, ModelInfo]) -> None:
    """The columns, what they share, and the button."""
    rows = benchmark_state.benchmark_rows()
    with st.grid(4, min_column_width=250, gap="small", key="benchmark_columns"):
        for number, row in enumerate(rows, start=1):
            with st.container(border=True, key=f"benchmark_column_{number}"):
                _column(studio, models, number, row, removable=len(rows) > plan.MIN_COLUMNS)
    st.button(
        t("benchmark.add"),
        key="add_column",
        icon=":material/add:",
        disabled=len(rows) >= plan.MAX_COLUMNS,
        on_click=benchmark_state.add_benchmark_row,
    )
    with st.grid(2, min_column_width=300, gap="small", key="benchmark_shared"):
        with st.container(key="benchmark_prompts"):
            st.text_area(t("benchmark.prompts"), key=benchmark_state.PROMPTS, height=120, persist_state="session")
        with st.container():
            with st.container(key="benchmark_seeds"):
                st.text_input(t("benchmark.seeds"), key=benchmark_state.SEEDS, persist_state="session")
            render_overrides(t("benchmark.shared"), ALL)
            with st.expander(t("benchmark.as_text"), key="shared_as_text"):
                st.text_area(
                    t("benchmark.text_of_options"), key=benchmark_state.SHARED, height=68, placeholder="generation.width = 512",
                    help=t("benchmark.options_help"), persist_state="session",
                )  # fmt: skip
    missing = [models[name] for row in rows if (name := benchmark_state.column_text("model", row)) in models]
    unusable = any(info.problem is not None for info in missing)
    st.caption(_count(len(rows)))
    st.button(
        t("benchmark.start"),
        key="start_benchmark",
        type="primary",
        icon=":material/play_arrow:",
        disabled=unusable,
        on_click=_start,
        args=(studio,),
    )


def _keep(studio: Studio) -> None:
    """Keep the form in the browser, and take back what it had kept.

    Drawn before the fields: what is seen on the page has been kept, also when it is loaded anew at that moment.
    """
    texts = {
        benchmark_state.PROMPTS: ".st-key-benchmark_prompts",
        benchmark_state.SEEDS: ".st-key-benchmark_seeds",
        benchmark_state.SHARED: ".st-key-shared_as_text",
    }
    for number, row in enumerate(benchmark_state.benchmark_rows(), start=1):
        texts[benchmark_state.column_field("options", row)] = f".st-key-as_text_{number}"
    custom_components.draft(
        "benchmark", benchmark_state.benchmark_fields(), texts, form=".st-key-benchmark_form",
        on_restored=lambda kept: benchmark_state.restore_benchmark(_usable(studio, kept)),
        on_typed=lambda typed: benchmark_state.set_benchmark_texts({key: typed[key] for key in texts if key in typed}),
    )  # fmt: skip


def _usable(studio: Studio, kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields as their widgets take them: models, profiles and options may be others by now."""
    models, profiles = {info.id for info in studio.catalog.models()}, ("", *profile_names(studio.settings.configs))
    allowed = {"model": models, "profile": profiles}
    found: dict[str, Any] = {}
    for field, value in kept.items():
        name, _, rest = field.partition(":")[2].partition(":")
        if name == "override":
            key = rest.partition(":")[2]
            found[field] = checked(key, value) if key else known(value)
        elif name in allowed:
            found[field] = value if value in allowed[name] else None
        elif field == benchmark_state.COLUMNS:
            found[field] = [row for row in value if isinstance(row, int)][: plan.MAX_COLUMNS]
        elif name in ("shared", "prompts", "seeds", "options"):
            found[field] = str(value or "")
    return found


def _column(studio: Studio, models: dict[str, ModelInfo], number: int, row: int, removable: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.text(t("benchmark.column", number=number))
        if removable:
            st.button(
                "",
                key=f"remove_column_{number}",
                icon=":material/close:",
                help=t("benchmark.remove"),
                type="tertiary",
                on_click=benchmark_state.remove_benchmark_row,
                args=(row,),
            )
    st.selectbox(
        t("benchmark.model"),
        list(models),
        key=session.labelled(benchmark_state.column_field("model", row)),
        format_func=lambda name: _name(models[name]),
        persist_state="session",
    )
    info = models.get(benchmark_state.column_text("model", row))
    if info is not None and info.problem is not None:
        st.text(info.problem.message(session.language()))
        if st.button(t("benchmark.get"), key=f"get_model_{number}", icon=":material/download:"):
            st.switch_page(MODELS_PAGE)
    st.selectbox(
        t("benchmark.profile"),
        ["", *profile_names(studio.settings.configs)],
        key=session.labelled(benchmark_state.column_field("profile", row)),
        format_func=lambda name: name or t("benchmark.no_profile"),
        persist_state="session",
    )
    render_overrides(t("benchmark.options"), str(row))
    with st.expander(t("benchmark.as_text"), key=f"as_text_{number}"):
        st.text_area(
            t("benchmark.text_of_options"), key=benchmark_state.column_field("options", row), height=90,
            placeholder="generation.num_inference_steps = 4", help=t("benchmark.options_help"), persist_state="session",
        )  # fmt: skip


def _name(info: ModelInfo) -> str:
    return localized(info.name) if info.problem is None else t("benchmark.not_here", name=localized(info.name))


def _prefill(studio: Studio, models: dict[str, ModelInfo]) -> None:
    """Fill in the model of the settings and another one that is here; where there is none, the same with the draft profile."""
    first = studio.settings.model.id
    first = first if first in models else next(iter(models))
    others = [info.id for info in models.values() if info.problem is None and info.id != first]
    library = prompts.library_for(first, studio.settings.configs / "prompts")
    words = [sample.text[session.language()] for sample in library.samples[:2]] if library else []
    values: dict[str, object] = {benchmark_state.PROMPTS: "\n".join(words), benchmark_state.SEEDS: "1, 2"}
    for row in benchmark_state.benchmark_rows():
        values[benchmark_state.column_field("model", row)] = others[0] if others and row != 1 else first
        values[benchmark_state.column_field("profile", row)] = "draft" if row == 2 and not others else ""
    benchmark_state.prefill_benchmark(values)


def _count(columns: int) -> str:
    """Return how many images it will be; seeds that can't be read are told when it is started."""
    words = len(_prompts())
    try:
        seeds = len(plan.read_seeds(benchmark_state.benchmark_text(benchmark_state.SEEDS), "form"))
    except StudioError:
        return ""
    return t("benchmark.count", columns=columns, prompts=words, seeds=seeds, total=columns * words * seeds)


def _prompts() -> list[str]:
    return [line.strip() for line in benchmark_state.benchmark_text(benchmark_state.PROMPTS).splitlines() if line.strip()]


def _start(studio: Studio) -> None:
    """Queue it and open it; a problem leaves everything as it is and is shown."""
    page_state.set_errors(())
    try:
        shared = {**plan.read_values(benchmark_state.benchmark_text(benchmark_state.SHARED), "form"), **values(ALL)}
        specs = []
        for number, row in enumerate(benchmark_state.benchmark_rows(), start=1):
            written = plan.read_values(benchmark_state.column_text("options", row), plan.place_of(number))
            own = {**written, **values(str(row))}
            model, profile = benchmark_state.column_text("model", row), benchmark_state.column_text("profile", row)
            specs.append(plan.ColumnSpec(model, profile, {**shared, **own}))
        seeds = plan.read_seeds(benchmark_state.benchmark_text(benchmark_state.SEEDS), "form")
        benchmark = plan.start(studio, specs, _prompts(), seeds, SubmitOptions(client=session.client()))
    except StudioError as error:
        page_state.set_errors([error])
        return
    benchmark_state.set_open_benchmark(benchmark.id)


_BASIC = ("num_inference_steps", "cfg_scale", "width", "height", "negative_prompt")


def render_overrides(label: str, scope: str) -> None:
    """Show the selection of options and their fields; `scope` tells the places of a page apart."""
    options = _options()
    selected = st.multiselect(
        label, list(options), key=session.labelled(benchmark_state.override_field(scope)), placeholder=t("benchmark.add_option"),
        format_func=lambda key: localized(options[key].label), persist_state="session",
    )  # fmt: skip
    for key in selected:
        _field(options[key], benchmark_state.override_field(scope, key))


def values(scope: str) -> Mapping[str, Any]:
    """Return what is set there, by schema key; an empty field says nothing."""
    found = {key: st.session_state.get(benchmark_state.override_field(scope, key)) for key in benchmark_state.overridden(scope)}
    return {key: value for key, value in found.items() if value is not None}


def checked(key: str, value: Any) -> Any:
    """Return the value of an option's field as the field takes it; None for an option or a value that is not one."""
    option = _options().get(key)
    if option is None or value is None:
        return None
    try:
        number = option.check(value, "form")
    except InputError:
        return None
    return float(number) if option.type == "float" else number


def known(keys: Any) -> list[str]:
    """Return those that can be selected."""
    return [key for key in keys if key in _options()] if isinstance(keys, list) else []


def _options() -> dict[str, Option]:
    basic = [SCHEMA.options[f"generation.{name}"] for name in _BASIC]
    options = (option for option in SCHEMA.request_options() if option.implemented and option.type != "list")
    return {option.key: option for option in (*basic, *options) if option.key not in SHARED}


def _field(option: Option, key: str) -> None:
    unit = f" ({option.unit})" if option.unit else ""
    shared: dict[str, Any] = {"label": localized(option.label) + unit, "key": key, "help": localized(option.help)}
    if option.type == "bool":
        st.session_state.setdefault(key, not option.default)
        st.toggle(**shared, persist_state="session")
    elif option.type == "choice":
        st.selectbox(options=option.choices, **shared, persist_state="session")
    elif option.type in ("int", "float"):
        convert = int if option.type == "int" else float
        st.number_input(
            min_value=convert(option.minimum or 0), max_value=convert(option.maximum or 0), value=None,
            step=convert(option.step or 1), placeholder=localized(option.allowed), **shared, persist_state="session",
        )  # fmt: skip
    else:
        st.text_input(**shared, persist_state="session")
