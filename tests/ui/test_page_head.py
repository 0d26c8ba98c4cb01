"""What is added to the head of a page: where the server is, and the scripts of its widgets."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from ui.page_head import STATIC, PageHead, preloaded

PAGE = "<html><head><title>x</title></head></html>"


@pytest.fixture
def client() -> TestClient:
    routes = [
        Route("/queue", lambda _: HTMLResponse(PAGE)),
        Route("/", lambda _: HTMLResponse(PAGE)),
        Route("/other", lambda _: HTMLResponse(PAGE)),
        Route("/system", lambda _: PlainTextResponse("gone", status_code=404)),
    ]
    return TestClient(Starlette(routes=routes, middleware=[Middleware(PageHead, pages=["", "queue", "system"])]))


def test_a_page_under_its_own_address_names_the_root(client):
    answer = client.get("/queue")
    assert "BACKEND_BASE_URL: location.origin" in answer.text and answer.text.endswith("</head></html>")
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_the_first_page_fetches_its_widgets_with_the_frontend(client):
    answer = client.get("/")
    assert "BACKEND_BASE_URL" not in answer.text
    assert '<link rel="modulepreload" crossorigin href="./static/js/Selectbox.' in answer.text
    assert "Selectbox." not in client.get("/queue").text


def test_other_answers_stay_as_they_are(client):
    assert client.get("/other").text == PAGE
    answer = client.get("/system")
    assert (answer.status_code, answer.text) == (404, "gone")


def test_each_widget_that_is_named_has_a_file_in_this_streamlit():
    """All it imports comes with it, and nothing that the HTML asks for already."""
    names = preloaded("")
    for widget in (
        "Html",
        "BidiComponent",
        "ButtonGroup",
        "Button",
        "Selectbox",
        "TextArea",
        "NumberInput",
        "TextInput",
    ):
        assert any(name.startswith(f"{widget}.") for name in names), widget
    assert any(name.startswith("recordbatch.") for name in names)  # BidiComponent imports what imports it
    html = (STATIC / "index.html").read_text(encoding="utf-8")
    assert not [name for name in names if name in html]
    assert all((STATIC / "static" / "js" / name).is_file() for name in names)


def test_a_streamlit_without_such_a_file_has_nothing_to_fetch(tmp_path: Path):
    (tmp_path / "static" / "js").mkdir(parents=True)
    (tmp_path / "index.html").write_text("<html></html>")
    (tmp_path / "static" / "js" / "Html.1.js").write_text('import"./a.js";import{x}from"./a.js";')
    (tmp_path / "static" / "js" / "a.js").write_text("")
    assert preloaded("", tmp_path) == ("Html.1.js", "a.js")
