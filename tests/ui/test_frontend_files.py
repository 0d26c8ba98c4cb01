"""The frontend's files come from memory, with the headers that let a browser keep them; nothing else is reached by it."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from ui.page_head import FrontendFiles


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    for name, text in (("js/a.1-x.js", "one"), ("css/a.css", "two"), ("media/a.woff2", "three"), ("js/secret.py", "no")):
        (tmp_path / "static" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "static" / name).write_text(text)
    (tmp_path / "b.js").write_text("outside")
    app = Route("/{path:path}", lambda _: PlainTextResponse("the app"), methods=["GET", "POST"])
    return TestClient(Starlette(routes=[app], middleware=[Middleware(FrontendFiles, static=tmp_path)]))


@pytest.mark.parametrize(
    ("path", "text", "kind"),
    [("js/a.1-x.js", "one", "text/javascript"), ("css/a.css", "two", "text/css"), ("media/a.woff2", "three", "font/woff2")],
)
def test_a_file_is_read_once_and_kept_by_the_browser(client, tmp_path, path, text, kind):
    for _ in range(2):
        answer = client.get(f"/static/{path}")
        assert (answer.status_code, answer.text) == (200, text) and answer.headers["content-type"].startswith(kind)
        assert answer.headers["cache-control"] == "public, immutable, max-age=31536000"
        (tmp_path / "static" / path).unlink(missing_ok=True)


@pytest.mark.parametrize(
    "path", ["static/js/none.js", "static/js/secret.py", "static/js/..%2F..%2Fb.js", "static/js/x/../a.1-x.js/", "queue"]
)
def test_all_else_is_the_apps(client, path):
    assert client.get(f"/{path}").text == "the app"
    assert client.post("/static/js/a.1-x.js").text == "the app"
