"""Trigger words from Civitai by a file's hash, over a real HTTP server; nothing is asked while the option is off."""

import hashlib
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from core.errors import LoraFileError, UnavailableError
from core.models import lora_library
from core.models.lora_library import SHIPPED, LoraLibrary
from core.studio.models import Models
from tests.options import measured


@pytest.fixture
def civitai(monkeypatch):
    """A server that answers with `status` and `body`, and keeps what it was asked."""
    answer = SimpleNamespace(status=200, body=b"{}", asked=[])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answer.asked.append((self.path, self.headers.get("Authorization"), self.headers.get("Cookie")))
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *given):
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(lora_library, "ADDRESS", f"http://127.0.0.1:{server.server_port}/by-hash")
    yield answer
    server.shutdown()
    server.server_close()


@pytest.fixture
def library(tmp_path):
    shutil.copy(SHIPPED / "ink-print.safetensors", tmp_path / "mine.safetensors")
    return LoraLibrary(tmp_path, shipped=tmp_path / "none")


def test_words_are_asked_by_hash_and_kept(civitai, library):
    own = library.find("mine").triggers
    civitai.body = json.dumps({"trainedWords": ["ink  style,", "ink  style", 7, ""], "model": {"name": "x"}}).encode()
    assert library.look_up("mine") == ("ink style",)
    digest = hashlib.sha256((library.folder / "mine.safetensors").read_bytes()).hexdigest()
    assert civitai.asked == [(f"/by-hash/{digest}", None, None)]
    assert LoraLibrary(library.folder, library.folder / "none").find("mine").triggers == (*own, "ink style")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [(404, b"{}", "does not know"), (503, b"", "HTTP 503"), (302, b"", "HTTP 302"), (200, b"<html>", "could not be asked"),
     (200, b"[1]", "could not be asked"), (200, b"[" * 100_000, "could not be asked"), (200, b" " * 3_000_000, "bytes")],
)  # fmt: skip
def test_answers_that_are_none_are_named(civitai, library, status, body, said):
    civitai.status, civitai.body = status, body
    before = library.find("mine").triggers
    with pytest.raises(LoraFileError, match=said):
        library.look_up("mine")
    assert library.find("mine").triggers == before


@pytest.mark.option("lora.civitai")
def test_nothing_is_asked_while_it_is_off(civitai, library):
    def models(allowed):
        settings = SimpleNamespace(lora=SimpleNamespace(civitai=allowed))
        return Models(settings, None, library, None, None, None, None)

    with pytest.raises(UnavailableError, match=r"lora\.civitai"):
        models(False).look_up_lora("mine")
    assert civitai.asked == [] and not models(False).asks_civitai()
    civitai.body = b'{"trainedWords": []}'
    assert models(True).look_up_lora("mine") == ()
    measured("lora.civitai", "off: no request; on: one, by the file's hash, when the button is pressed")
