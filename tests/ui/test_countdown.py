"""The countdown to sleep or shutdown stands on every page, in both languages, and can be stopped there and over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from core.config.loader import load_settings
from core.server import service_routes
from tests.ui.conftest import all_text, use
from tests.ui.page_studio import PageStudio


@pytest.mark.parametrize(("language", "words"), [("en", "shuts down in"), ("zh", "秒后关机")])
def test_a_countdown_is_shown_and_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_page: Callable[..., AppTest], language: str, words: str
) -> None:
    values = {"ui.language": language, "queue_end.power": "shutdown", "output.directory": str(tmp_path)}
    studio = use(monkeypatch, PageStudio(tmp_path, load_settings(overrides=values)))
    page = open_page("queue", lang=language)
    assert words not in all_text(page)
    studio.queue_end.countdown.begin("shutdown", 600)
    page.run()
    assert words in all_text(page)
    page.button(key="countdown_stop").click().run()
    assert studio.queue_end.countdown.left() is None and words not in all_text(page)
    http = TestClient(Starlette(routes=service_routes(lambda: studio)))
    studio.queue_end.countdown.begin("sleep", 600)
    assert http.get("/api/v1/countdown").json()["action"] == "sleep"
    assert http.delete("/api/v1/countdown").json() == {"action": None, "seconds": None}
