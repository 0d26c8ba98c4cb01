"""Show reruns of an image: what may differ beforehand, the result afterwards, and variations over seeds and options."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import streamlit as st

from core.config.options import SCHEMA
from core.errors import StudioError
from core.studio import Studio, sweep_axes
from core.studio.images import changed_file
from core.studio.sweep_axes import MAX_CELLS
from core.types import (
    Axis,
    Change,
    GenerationRequest,
    ImageRecord,
    Job,
    JobState,
    ParameterSweep,
    SubmitOptions,
)
from ui import formats
from ui.actions import studio_calls
from ui.components import custom_components, error_card, image_card
from ui.i18n import localized, t
from ui.state import generate_page as generate_state
from ui.state import history as history_state
from ui.state import session

SHEET_PAGE = "views/sweep_grid.py"
COMPARE_PAGE = "views/image_compare.py"
FEW = 4  # values of an axis that are all selected at first


def button(studio: Studio, record: ImageRecord) -> None:
    """Run again, and what is known to come out differently."""
    if st.button(
        t("history.again"), key="run_again", icon=":material/replay:", help=t("history.again"), type="tertiary"
    ) and studio_calls.submit(studio, record.request):
        generate_state.set_original(record.id)
        st.switch_page(image_card.GENERATE_PAGE)


def foretold(studio: Studio, record: ImageRecord) -> None:
    """Show, before a rerun, why it would differ."""
    try:
        changes = studio.reruns.expected_changes(record.id)
    except StudioError as error:  # such as a model that is not here any more
        custom_components.quiet(error.message(session.language()))
        return
    if changes:
        custom_components.quiet(t("again.expected", why=_reasons(changes)))


def verdict(studio: Studio, job: Job) -> None:
    """Show, after a rerun, whether it is identical, and the reasons if not."""
    original = generate_state.original()
    if original is None or job.state is not JobState.DONE or not job.image_ids:
        return
    try:
        found = studio.reruns.result(original, job.image_ids[0])
    except StudioError as error:  # such as an image that was deleted meanwhile
        error_card.render(error, "verdict")
        return
    gap = found.difference
    if gap.identical:
        st.success(t("again.identical"), icon=":material/check_circle:")
        return
    why = _reasons(found.reasons) or t("again.unknown")
    figures = t("again.figures", psnr=f"{gap.psnr:.1f}", changed=f"{gap.changed:.1%}") if gap.same_size else ""
    st.warning(t("again.different"), icon=":material/difference:")
    custom_components.quiet(f"{why}. {figures}")
    if st.button(t("history.compare"), key="compare_again", icon=":material/compare:"):
        history_state.select_images((original, job.image_ids[0]), by_page=True)
        st.switch_page(COMPARE_PAGE, query_params={"ids": f"{original},{job.image_ids[0]}"})


def _reasons(changes: Sequence[Change]) -> str:
    return ", ".join(_reason(change) for change in changes)


def _reason(change: Change) -> str:
    """A changed file is told by its name: hashes say nothing to people."""
    kind, name = changed_file(change)
    if kind and name:
        return t(f"again.{kind}", name=name)
    return f"{_name(change.name)} {formats.plain(change.before)} → {formats.plain(change.now)}"


def _name(condition: str) -> str:
    """Return an option by its label, a library by its name."""
    if condition == "model.fingerprint":
        return t("again.revision")
    return (
        condition.removeprefix("versions.")
        if condition not in SCHEMA.options
        else localized(SCHEMA.options[condition].label)
    )


def vary(studio: Studio, record: ImageRecord) -> None:
    """Show the form for variations: new seeds, or one or two options over several values."""
    with st.popover(
        t("vary.title"), icon=":material/grid_view:", key="vary", help=t("vary.title"), type="tertiary"
    ):
        count = st.number_input(t("vary.count"), 1, 64, 4, key="vary_count")
        if st.button(t("vary.seeds", count=count), key="vary_seeds", icon=":material/casino:") and studio_calls.submit(
            studio, replace(record.request, seed=-1, num_images=int(count))
        ):
            st.switch_page(image_card.GENERATE_PAGE)
        st.divider()
        terms = SubmitOptions(client=session.client())
        axes(studio, record.request, lambda selected: studio.reruns.sweep(record.id, selected, terms))


def axes(studio: Studio, base: GenerationRequest, submit: Callable[[Sequence[Axis]], ParameterSweep]) -> None:
    """Show one to three axes with their values, and the button that generates the grid; `submit` queues it.

    Raises nothing: what `submit` refuses is shown.
    """
    known = {axis.key: axis for axis in sweep_axes.axes_of(base, studio.catalog.models())}
    selected = [axis for name in ("x", "y", "z") if (axis := _axis(name, known, base))]
    cells = math.prod(len(axis.values) for axis in selected) if selected else 0
    if len({axis.key for axis in selected}) < len(selected):
        custom_components.quiet(t("vary.twice"))
    elif cells > MAX_CELLS:
        custom_components.quiet(t("vary.too_many", most=MAX_CELLS))
    ready = len({axis.key for axis in selected}) == len(selected) and 1 <= cells <= MAX_CELLS
    if st.button(
        t("vary.sweep", count=cells), key="vary_sweep", type="primary", disabled=not ready, icon=":material/grid_on:",
    ):  # fmt: skip
        try:
            sweep = submit(selected)
        except StudioError as error:
            error_card.render(error, "sweep")
            return
        st.switch_page(SHEET_PAGE, query_params={"sheet": sweep.id})


def _axis(name: str, known: Mapping[str, sweep_axes.SweepAxis], base: GenerationRequest) -> Axis | None:
    """Return one axis and its values, selected, or typed with commas between them."""
    left, right = st.columns(2)
    with left:
        key = st.selectbox(
            t(f"vary.{name}"), list(known), index=None, key=session.labelled(f"vary_{name}"), placeholder=t("vary.none"),
            format_func=lambda key: localized(known[key].label) if key in known else key,
        )  # fmt: skip
    if key is None or key not in known:
        return None
    axis = known[key]
    field = f"vary_{name}_{key}"
    with right:
        if axis.choices:
            few = axis.choices if len(axis.choices) <= FEW else ()
            words: Sequence[str] = st.multiselect(t("vary.values"), axis.choices, few, key=field)
        else:
            allowed = localized(axis.allowed) if axis.allowed else None
            typed = st.text_input(t("vary.values"), key=field, placeholder=axis.example, help=allowed)
            words = sweep_axes.split(typed or "")
    if not words:
        return None
    try:
        return sweep_axes.read(key, words, base)
    except StudioError as error:
        custom_components.quiet(error.message(session.language()))
        return None
