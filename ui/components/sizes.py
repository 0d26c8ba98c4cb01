"""Show size presets as chips, and the exact size beside them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import partial

import streamlit as st

from core.config.options import SCHEMA
from core.types import ModelInfo
from ui import formats
from ui.components import parameter_panel
from ui.i18n import t
from ui.state import form as form_state
from ui.state import generate_page as generate_state

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


def draw(presets: Sequence[str], model: ModelInfo) -> None:
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
