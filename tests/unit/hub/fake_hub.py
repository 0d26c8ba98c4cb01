"""Stand-ins for Hugging Face and ModelScope on loopback: their real addresses and answers, over a folder, with faults on demand."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

COMMIT = "c0ffee" * 6 + "beef"


@dataclass
class Hub:
    """What it serves, and how badly. `cuts` are byte counts of an answer after which the connection breaks, one each."""

    folder: Path
    address: str = ""
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)  # answered instead, one each
    listing_statuses: list[int] = field(default_factory=list)
    retry_after: str | None = None
    ranges: bool = True
    seconds_a_chunk: float = 0.0
    chunk: int = 65536  # bytes
    wrong: set[str] = field(default_factory=set)  # files served with another content than announced
    token: str | None = None  # wanted for files
    requests: list[tuple[str, str | None, str | None]] = field(default_factory=list)  # path, Range, Authorization
    sent: int = 0


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *given: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        hub, url = self.hub, urlparse(self.path)
        path = unquote(url.path)
        hub.requests.append((path, self.headers["Range"], self.headers["Authorization"]))
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if path.startswith("/api/models/"):
            self._listing(self._hugging_face())
        elif path.endswith("/repo/files"):
            self._listing(self._modelscope())
        elif path.endswith("/repo") and "FilePath" in query:
            self._file(query["FilePath"])
        elif f"/resolve/{COMMIT}/" in path:
            self._file(path.split(f"/resolve/{COMMIT}/")[1])
        else:
            self._json(404, {"error": "no such thing"})

    def _hugging_face(self) -> dict[str, Any]:
        siblings = []
        for name, data in files_of(self.hub.folder).items():
            sibling: dict[str, Any] = {"rfilename": name, "size": len(data)}
            sibling["blobId"] = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            if name.endswith(".safetensors"):
                digest = hashlib.sha256(data).hexdigest()
                sibling["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": 134}
            siblings.append(sibling)
        return {"id": "owner/toy", "modelId": "owner/toy", "sha": COMMIT, "siblings": siblings, "private": False,
                "tags": [], "downloads": 0, "likes": 0}  # fmt: skip

    def _modelscope(self) -> dict[str, Any]:
        files = [
            {"Path": name, "Name": name.rsplit("/", 1)[-1], "Size": len(data), "Type": "blob",
             "Sha256": hashlib.sha256(data).hexdigest()}
            for name, data in files_of(self.hub.folder).items()
        ]  # fmt: skip
        folders = [{"Path": "vae", "Name": "vae", "Size": 0, "Type": "tree", "Sha256": ""}]
        return {"Code": 200, "Success": True, "Message": "", "Data": {"Files": files + folders}}

    def _listing(self, told: dict[str, Any]) -> None:
        if self.hub.listing_statuses:
            return self._json(self.hub.listing_statuses.pop(0), {"error": "later"})
        return self._json(200, told)

    def _json(self, status: int, told: dict[str, Any]) -> None:
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.hub.retry_after is not None:
            self.send_header("Retry-After", self.hub.retry_after)
        self.end_headers()
        self.wfile.write(body)

    def _file(self, name: str) -> None:
        hub = self.hub
        if hub.token is not None and self.headers["Authorization"] != f"Bearer {hub.token}":
            return self._json(401, {"error": "gated"})
        if hub.statuses:
            return self._json(hub.statuses.pop(0), {"error": "not now"})
        path = hub.folder / name
        if not path.is_file():
            return self._json(404, {"error": "no such file"})
        data = path.read_bytes()
        if name in hub.wrong:
            data = bytes(255 - byte for byte in data)
        begin = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if self.headers["Range"] else 0
        if not hub.ranges:
            begin = 0
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - begin))
        self.end_headers()
        return self._send(data[begin:])

    def _send(self, data: bytes) -> None:
        cut = self.hub.cuts.pop(0) if self.hub.cuts else None
        until = len(data) if cut is None else min(cut, len(data))
        start = 0
        while start < until:
            chunk = data[start : min(start + self.hub.chunk, until)]
            start += len(chunk)
            self.hub.sent += len(chunk)  # before the client can have it, and look at this
            self.wfile.write(chunk)
            time.sleep(self.hub.seconds_a_chunk)
        if cut is not None:
            self.close_connection = True


@contextmanager
def serving(folder: Path) -> Iterator[Hub]:
    """A hub over this folder, for both protocols, on a port of its own."""
    hub = Hub(folder)
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
