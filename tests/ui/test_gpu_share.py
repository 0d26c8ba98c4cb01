"""The GPU on the Queue page and over HTTP: given back and taken again, and why it is left alone, in both languages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from core.config.loader import load_settings
from core.i18n import localize
from core.server import service_routes
from tests.ui.conftest import all_text, use
from tests.ui.page_studio import PageStudio


@pytest.mark.parametrize(
    ("language", "give", "take", "why", "hot", "unread"),
    [
        ("en", "Give the GPU back", "Use the GPU again", "The GPU was given back", "81 °C", "gpu.max_power has no effect"),
        ("zh", "让出 GPU", "重新使用 GPU", "GPU 已让出", "81 °C", "gpu.max_power 不起作用"),
    ],
)
def test_the_gpu_is_given_back_and_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_page: Callable[..., AppTest],
    language: str, give: str, take: str, why: str, hot: str, unread: str,
) -> None:  # fmt: skip
    studio = use(monkeypatch, PageStudio(tmp_path, load_settings(overrides={"ui.language": language})))
    page = open_page("queue")
    assert page.button(key="gpu_give_back").label == give and why not in all_text(page)
    page.button(key="gpu_give_back").click().run()
    assert studio.queue.is_given_back() and page.button(key="gpu_give_back").label == take
    assert why in all_text(page)
    too_hot, no_power = localize("jobs.tenant.limit.hot", value=81, allowed=80), localize("jobs.tenant.power_unmeasured")
    told = replace(studio.worker.status(), yields_to=too_hot, unmeasured=no_power)
    monkeypatch.setattr(studio.worker, "status", lambda: told)
    page.button(key="gpu_give_back").click().run()
    said = all_text(page)
    assert not studio.queue.is_given_back() and why not in said and hot in said and unread in said
    http = TestClient(Starlette(routes=service_routes(lambda: studio)))
    found = http.get("/api/v1/gpu").json()
    assert found["given_back"] is False and hot in found["yields_to"][language] and unread in found["unmeasured"][language]
    assert http.patch("/api/v1/gpu", json={"given_back": True}).json()["given_back"] is True
    assert studio.queue.is_given_back()
    assert http.patch("/api/v1/gpu", json={"given_back": "no"}).status_code == 422
