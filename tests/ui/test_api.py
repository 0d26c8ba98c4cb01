"""Images over HTTP: by id only, to this machine only, kept by the browser for good."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from core.errors import StorageError
from core.server import Keys, create_api, gate, read_binding
from core.types import JobState

HERE = "http://127.0.0.1:8501"


@pytest.fixture(scope="module")
def api():
    """Return the routes, which take a while to make, and the list whose last studio they serve."""
    studios = []
    return create_api(lambda: studios[-1]), studios


@pytest.fixture
def client(studio, api) -> TestClient:
    routes, studios = api
    studios.append(studio)
    keys = Keys(studio.settings)
    app = Starlette(routes=[Mount("/", routes)], middleware=[gate(keys, read_binding(studio.settings, keys))])
    return TestClient(app, base_url=HERE)


def test_a_image_is_its_file(studio, client):
    record = studio.fill_history(1)[0]
    answer = client.get(f"/images/{record.id}")
    assert answer.content == studio.history.file(record.id).read_bytes()
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith("inline")
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_download_has_the_files_name(studio, client):
    record = studio.fill_history(1)[0]
    answer = client.get(f"/images/{record.id}?download=1")
    assert answer.headers["content-disposition"] == f'attachment; filename="{Path(record.file).name}"'


def test_a_thumbnail_is_webp(studio, client):
    answer = client.get(f"/thumbnails/{studio.fill_history(1)[0].id}")
    assert answer.content[8:12] == b"WEBP"
    assert answer.headers["content-type"] == "image/webp"
    assert "immutable" in answer.headers["cache-control"]


def test_a_preview_is_never_kept(studio, client):
    job = studio.queue.submit(studio.requests.new({"prompt": "a house"}))
    assert client.get(f"/jobs/{job.id}/preview").status_code == 404
    studio.queue.advance(job.id, 3)
    answer = client.get(f"/jobs/{job.id}/preview")
    assert answer.content[8:12] == b"WEBP"
    assert answer.headers["cache-control"] == "no-store"
    assert studio.queue.get(job.id).state is JobState.RUNNING


@pytest.mark.parametrize(
    "path", ["/images/none", "/thumbnails/..%2F..%2Fstudio.db", "/jobs/none/preview", "/", "/images/", "/x"]
)
def test_what_is_not_there_is_one_line(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert list(answer.json()) == ["error"]
    assert all(words and "\n" not in words for words in (answer.json()["error"][name] for name in ("en", "zh")))
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_what_cannot_be_made_is_an_error_of_this_side(studio, client, monkeypatch):
    def refuse(_image_id):
        raise StorageError(path="thumbnails", detail="no")

    monkeypatch.setattr(studio.history, "thumbnail", refuse)
    assert client.get("/thumbnails/x").status_code == 500


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:8501", True),
        ("localhost:8501", True),
        ("LOCALHOST", True),
        ("[::1]:8501", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example:8501", False),
        ("localhost.evil.example", False),
        ("", False),
    ],
)
def test_only_this_machine_is_answered(studio, client, host, allowed):
    record = studio.fill_history(1)[0]
    answer = client.get(f"/images/{record.id}", headers={"Host": host})
    assert answer.status_code == (200 if allowed else 403)
