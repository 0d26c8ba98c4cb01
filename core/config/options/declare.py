"""How the declarations are written: one helper for each of the shipped files."""

from __future__ import annotations

from typing import Any

from core.config.schema import Option, TakesEffect

REQUEST, LIVE, RELOAD, START = TakesEffect.REQUEST, TakesEffect.LIVE, TakesEffect.RELOAD, TakesEffect.START


def basic(key: str, **declared: Any) -> Option:
    """An option of config.yaml."""
    return Option(key=key, file="config", **{"takes_effect": REQUEST, **declared})


def advanced(key: str, **declared: Any) -> Option:
    """An option of advanced_config.yaml; it travels with each request."""
    return Option(key=key, file="advanced_config", **{"panel": "advanced", "takes_effect": REQUEST, **declared})


def interface(key: str, **declared: Any) -> Option:
    """An option of ui_config.yaml."""
    return Option(key=key, file="ui_config", **{"takes_effect": START, **declared})


def service(key: str, **declared: Any) -> Option:
    """An option of service_config.yaml."""
    return Option(key=key, file="service_config", **{"takes_effect": START, **declared})
