"""Both palettes can be read: at least 4.5 to 1 between every pair of colours that is text on a ground (WCAG 2 AA)."""

from __future__ import annotations

import re
import tomllib

import pytest

from core.config.loader import PROJECT_ROOT

THEME = tomllib.loads((PROJECT_ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))["theme"]
STYLE = (PROJECT_ROOT / "ui" / "assets" / "style.css").read_text(encoding="utf-8")
READABLE = 4.5
GROUNDS = ("backgroundColor", "secondaryBackgroundColor", "codeBackgroundColor")
INKS = (
    "textColor",
    "linkColor",
    "grayTextColor",
    "orangeTextColor",
    "redTextColor",
    "greenTextColor",
    "codeTextColor",
    "primaryColor",
)


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def styled(name: str) -> dict[str, str]:
    """A light-dark() pair of style.css, by the words before it."""
    found = re.search(re.escape(name) + r"[^;]*light-dark\((#\w{6}), (#\w{6})\)", STYLE)
    assert found, name
    return {"light": found[1], "dark": found[2]}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_on_every_ground(theme):
    palette = THEME[theme]
    inks = {name: palette[name] for name in INKS} | {
        name: styled(name)[theme] for name in ("--zd-quiet:", "--zd-problem:")
    }
    weak = {
        (name, ground): round(contrast(ink, palette[ground]), 2)
        for name, ink in inks.items()
        for ground in GROUNDS
        if contrast(ink, palette[ground]) < READABLE
    }
    assert weak == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_main_button_can_be_read(theme):
    assert contrast(styled('[data-testid="stBaseButton-primary"] *')[theme], THEME[theme]["primaryColor"]) >= READABLE


def test_the_measure_itself():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
