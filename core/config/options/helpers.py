"""Declare an option of one of the shipped files: a helper for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.config.schema import AUTO, Option, TakesEffect

REQUEST, LIVE, RELOAD, START = TakesEffect.REQUEST, TakesEffect.LIVE, TakesEffect.RELOAD, TakesEffect.START


def basic(key: str, **declared: Any) -> Option:
    """Declare an option of config.yaml."""
    return Option(key=key, file="config", **{"takes_effect": REQUEST, **declared})


def advanced(key: str, **declared: Any) -> Option:
    """Declare an option of advanced_config.yaml; it travels with each request."""
    return Option(key=key, file="advanced_config", **{"panel": "advanced", "takes_effect": REQUEST, **declared})


def interface(key: str, **declared: Any) -> Option:
    """Declare an option of ui_config.yaml."""
    return Option(key=key, file="ui_config", **{"takes_effect": START, **declared})


def dtype(key: str, name: Mapping[str, str], note: Mapping[str, str]) -> Option:
    """Declare the number format of one component; `auto` is the format of the whole model."""
    return advanced(
        key,
        type="choice",
        choices=(AUTO, "bfloat16", "float16", "float32"),
        default=AUTO,
        group="precision",
        takes_effect=RELOAD,
        label={"en": f"Precision of the {name['en']}", "zh": f"{name['zh']}的精度"},
        help={"en": f"auto: as the model's precision. {note['en']}", "zh": f"auto：与模型精度相同。{note['zh']}"},
    )


def service(key: str, **declared: Any) -> Option:
    """Declare an option of service_config.yaml."""
    return Option(key=key, file="service_config", **{"takes_effect": START, **declared})
