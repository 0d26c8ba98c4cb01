"""The same image again: what is known before, the verdict afterwards, and variations over seeds and options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from core.config.options import SCHEMA
from core.config.schema import Option
from core.errors import StudioError
from core.studio import Studio
from core.studio.images import MAX_CELLS
from core.types import Axis, Change, ImageRecord, Job, JobState
from ui import actions, formats, state
from ui.components import custom_components, error_card, image_card
from ui.i18n import said, t

SHEET_PAGE = "views/sweep_grid.py"
COMPARE_PAGE = "views/image_compare.py"
BASIC = ("num_inference_steps", "cfg_scale", "seed", "width", "height")
KINDS = ("int", "float", "bool", "choice")


def button(studio: Studio, record: ImageRecord) -> None:
    """Run again, and what is known to come out differently."""
    if st.button(t("history.again"), key="run_again", icon=":material/replay:") and actions.submit(
        studio, record.request
    ):
        state.set_original(record.id)
        st.switch_page(image_card.GENERATE_PAGE)


def foretold(studio: Studio, record: ImageRecord) -> None:
    """Before a run: why it would not be the same image."""
    try:
        changes = studio.reruns.expected_changes(record.id)
    except StudioError as error:  # such as a model that is not here any more
        custom_components.quiet(error.message(state.language()))
        return
    if changes:
        custom_components.quiet(t("again.expected", why=_reasons(changes)))


def verdict(studio: Studio, job: Job) -> None:
    """After a run: identical, or different and why."""
    original = state.original()
    if original is None or job.state is not JobState.DONE or not job.image_ids:
        return
    try:
        found = studio.reruns.result(original, job.image_ids[0])
    except StudioError as error:  # such as an image that was deleted meanwhile
        error_card.draw(error, "verdict")
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
        state.choose_images((original, job.image_ids[0]), by_page=True)
        st.switch_page(COMPARE_PAGE, query_params={"ids": f"{original},{job.image_ids[0]}"})


def _reasons(changes: Sequence[Change]) -> str:
    return ", ".join(_reason(change) for change in changes)


def _reason(change: Change) -> str:
    """A changed LoRA file is told by its name: hashes say nothing to people."""
    if change.name.startswith("lora."):
        return t("again.lora", name=change.name.removeprefix("lora."))
    return f"{_name(change.name)} {formats.plain(change.before)} → {formats.plain(change.now)}"


def _name(condition: str) -> str:
    """An option by its label, a library by its name."""
    if condition == "model.fingerprint":
        return t("again.revision")
    return (
        condition.removeprefix("versions.")
        if condition not in SCHEMA.options
        else said(SCHEMA.options[condition].label)
    )


def vary(studio: Studio, record: ImageRecord) -> None:
    """New seeds, or one or two options over several values."""
    with st.popover(t("vary.title"), icon=":material/grid_view:", key="vary"):
        count = st.number_input(t("vary.count"), 1, 64, 4, key="vary_count")
        if st.button(t("vary.seeds", count=count), key="vary_seeds", icon=":material/casino:") and actions.submit(
            studio, replace(record.request, seed=-1, num_images=int(count))
        ):
            st.switch_page(image_card.GENERATE_PAGE)
        st.divider()
        axes(studio, record)


def axes(studio: Studio, record: ImageRecord) -> None:
    """One or two options with their values, and the button that generates the grid."""
    chosen = [axis for name in ("x", "y") if (axis := _axis(name, record))]
    cells = 1
    for axis in chosen:
        cells *= len(axis.values)
    clash = len(chosen) == 2 and chosen[0].key == chosen[1].key
    ready = bool(chosen) and not clash and 1 <= cells <= MAX_CELLS
    if st.button(
        t("vary.sweep", count=cells if chosen else 0), key="vary_sweep", type="primary", disabled=not ready,
        icon=":material/grid_on:",
    ):  # fmt: skip
        _sweep(studio, record, chosen)


def _axis(name: str, record: ImageRecord) -> Axis | None:
    """One option and its values, as they are typed with commas between them."""
    options = _options()
    left, right = st.columns(2)
    with left:
        key = st.selectbox(
            t(f"vary.{name}"), list(options), index=None, key=state.labelled(f"vary_{name}"), placeholder=t("vary.none"),
            format_func=lambda key: said(options[key].label),
        )  # fmt: skip
    if key is None:
        return None
    option = options[key]
    choices = {"bool": ("false", "true"), "choice": option.choices}.get(option.type)
    with right:
        if choices:
            words = st.multiselect(t("vary.values"), choices, list(choices), key=f"vary_{name}_{key}")
        else:
            typed = st.text_input(
                t("vary.values"), key=f"vary_{name}_{key}", placeholder="4, 8, 12", help=said(option.allowed)
            )
            words = [part for part in typed.replace("，", ",").split(",") if part.strip()]
    try:
        values = tuple(dict.fromkeys(option.check(word.strip(), t("vary.values")) for word in words))
    except StudioError as error:
        custom_components.quiet(error.message(state.language()))
        return None
    return Axis(key, values) if values else None


def _options() -> dict[str, Option]:
    basic = [SCHEMA.options[f"generation.{name}"] for name in BASIC]
    return {option.key: option for option in (*basic, *SCHEMA.request_options())
            if option.implemented and option.type in KINDS}  # fmt: skip


def _sweep(studio: Studio, record: ImageRecord, axes: Sequence[Axis]) -> None:
    try:
        sheet = studio.reruns.sweep(record.id, axes)
    except StudioError as error:
        error_card.draw(error, "sweep")
        return
    st.switch_page(SHEET_PAGE, query_params={"sheet": sheet.id})
