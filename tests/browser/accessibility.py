"""Run axe-core, which the package axe-playwright-python ships, over an open page."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from playwright.sync_api import Page

GRAVE = ("serious", "critical")
_RUN = "async () => (await axe.run(document, { resultTypes: ['violations'] })).violations"


@cache
def _script() -> str:
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


def grave_violations(page: Page) -> list[str]:
    """Return a line for each serious or critical violation: rule, number of elements, the first of them."""
    page.evaluate(_script())
    found: list[dict[str, Any]] = page.evaluate(_RUN)
    return [_line(one) for one in found if one["impact"] in GRAVE]


def _line(violation: dict[str, Any]) -> str:
    nodes = violation["nodes"]
    return f"{violation['id']} ({violation['impact']}, {len(nodes)}): {nodes[0]['target']} {nodes[0]['html'][:160]}"
