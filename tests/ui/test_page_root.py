"""The line in the head of a page that tells the browser where the server is."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from ui.page_root import PageRoot

PAGE = "<html><head><title>x</title></head></html>"


@pytest.fixture
def client() -> TestClient:
    routes = [
        Route("/queue", lambda _: HTMLResponse(PAGE)),
        Route("/", lambda _: HTMLResponse(PAGE)),
        Route("/system", lambda _: PlainTextResponse("gone", status_code=404)),
    ]
    return TestClient(Starlette(routes=routes, middleware=[Middleware(PageRoot, pages=["queue", "system"])]))


def test_a_page_under_its_own_address_names_the_root(client):
    answer = client.get("/queue")
    assert "BACKEND_BASE_URL: location.origin" in answer.text and answer.text.endswith("</head></html>")
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_the_first_page_and_other_answers_stay_as_they_are(client):
    assert client.get("/").text == PAGE
    answer = client.get("/system")
    assert (answer.status_code, answer.text) == (404, "gone")
