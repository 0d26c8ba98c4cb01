"""When jobs end and the queue is empty: webhook, notification, command, and a countdown that can be stopped."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from core.config.loader import load_settings
from core.errors import OptionError
from core.jobs.queue import JobQueue
from core.storage.database import Database
from core.studio import queue_end
from core.studio.queue_end import QueueEnd, WebhookError, command_of, power_command, read_url, webhook_of
from tests.databases import put_database
from tests.integration.jobs.harness import make_request, make_settings


class Receiver(BaseHTTPRequestHandler):
    """Keeps what it is sent; at /elsewhere it redirects, at /broken it fails."""

    heard: list[dict[str, Any]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.heard.append({"path": self.path, "host": self.headers["Host"], **json.loads(body)})
        self.send_response({"/elsewhere": 302, "/broken": 500}.get(self.path, 204))
        if self.path == "/elsewhere":
            self.send_header("Location", "/followed")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    Receiver.heard = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


class Watched:
    """A queue, and what watches its end, a look at a time."""

    def __init__(self, folder: Path, **values: Any) -> None:
        self.database = Database(put_database(folder / "studio.db"))
        self.queue = JobQueue(self.database)
        self.ran: list[Sequence[str]] = []
        self.settings = make_settings(folder, **values)
        self.end = QueueEnd(self.settings, self.queue, self.ran.append)
        self.counting = False

    def look(self, command: Sequence[str] = ()) -> None:
        self.counting = self.end._turn(webhook_of(self.settings), command, self.counting)

    def job(self) -> str:
        return self.queue.submit(make_request("a secret house", seed=4711)).id


@pytest.mark.option("webhook.url")
def test_the_webhook_is_told_of_each_job_and_of_the_empty_queue(tmp_path: Path, receiver: HTTPServer) -> None:
    watched = Watched(tmp_path, **{"webhook.url": f"http://127.0.0.1:{receiver.server_port}/done?to=me"})
    first, second = watched.job(), watched.job()
    watched.look()
    watched.queue.cancel(first)
    watched.look()
    watched.look()
    assert [(one["event"], one.get("job")) for one in Receiver.heard] == [("job.cancelled", first)]
    watched.queue.cancel(second)
    watched.look()
    assert [one["event"] for one in Receiver.heard] == ["job.cancelled", "job.cancelled", "queue.empty"]
    assert Receiver.heard[0]["path"] == "/done?to=me"
    told = json.dumps(Receiver.heard)
    assert "prompt" not in told and "seed" not in told and "secret" not in told, "a prompt leaves the studio with its images only"


def test_a_webhook_follows_no_redirect_and_a_failure_holds_up_nothing(tmp_path: Path, receiver: HTTPServer) -> None:
    address = f"http://127.0.0.1:{receiver.server_port}"
    for path in ("/elsewhere", "/broken"):
        with pytest.raises(WebhookError, match=r"HTTP (302|500)"):
            read_url(f"{address}{path}", (), "test").send({"event": "x"})
    assert [one["path"] for one in Receiver.heard] == ["/elsewhere", "/broken"]
    watched = Watched(tmp_path, **{"webhook.url": f"{address}/broken"})
    job = watched.job()
    watched.look()
    watched.queue.cancel(job)
    watched.look()
    assert not watched.counting


@pytest.mark.option("webhook.allowed_hosts")
def test_a_webhook_goes_to_this_machine_or_to_allowed_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        found = {"localhost": ["127.0.0.1"], "both.example": ["127.0.0.1", "10.0.0.5"], "inner.example": ["169.254.169.254"]}
        return [(2, 1, 6, "", (address, port)) for address in found.get(host, [host])]

    monkeypatch.setattr("core.studio.queue_end.socket.getaddrinfo", resolve)
    assert read_url("http://localhost:9000", (), "test").address() == "127.0.0.1"
    for url in ("http://both.example", "http://inner.example", "http://192.168.1.7", "https://8.8.8.8/x"):
        with pytest.raises(WebhookError, match="allowed_hosts"):
            read_url(url, (), "test").address()
    assert read_url("https://INNER.example/x", ("inner.example",), "test").address() == "169.254.169.254"
    for url in ("ftp://localhost", "http://", "http://user:hunter2@localhost", "http://localhost#x", "http://a b", "file:///etc"):
        with pytest.raises(OptionError, match=r"webhook\.url") as error:
            read_url(url, (), "test")
        assert "hunter2" not in str(error.value)


@pytest.mark.option("queue_end.power")
@pytest.mark.option("queue_end.countdown_seconds")
def test_the_countdown_can_be_stopped_and_ends_with_the_action(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(queue_end.time, "time", lambda: now[0])
    watched = Watched(tmp_path, **{"queue_end.power": "sleep", "queue_end.countdown_seconds": 30})

    def empty() -> None:
        job = watched.job()
        watched.look()
        watched.queue.cancel(job)
        watched.look()
        assert watched.end.countdown.left() == ("sleep", 30.0)

    empty()
    assert watched.end.countdown.stop() and not watched.end.countdown.stop()
    now[0] += 31
    watched.look()
    assert not watched.ran, "stopped by somebody"
    empty()
    later = watched.job()
    watched.look()
    assert watched.end.countdown.left() is None, "stopped by a new job"
    watched.queue.cancel(later)
    watched.look()
    now[0] += 29
    watched.look()
    assert not watched.ran
    now[0] += 1
    watched.look()
    watched.look()
    assert watched.ran == [power_command("sleep", queue_end.sys.platform)] and watched.end.countdown.left() is None


@pytest.mark.option("queue_end.command")
@pytest.mark.option("queue_end.notify")
def test_a_command_comes_from_the_local_file_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_end.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(queue_end.sys, "platform", "linux")
    text = "backup --to '/media/my disk'"
    for settings in (
        load_settings(overrides={"queue_end.command": text}),
        load_settings(environment={"ZDARKROOM_QUEUE_END__COMMAND": text}),
    ):
        with pytest.raises(OptionError, match=r"local\.yaml"):
            command_of(settings)
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "local.yaml").write_text(f'queue_end: {{command: "{text}"}}')
    command = command_of(load_settings(configs))
    assert command == ["backup", "--to", "/media/my disk"]
    (configs / "local.yaml").write_text('queue_end: {command: "an \'open quote"}')
    with pytest.raises(OptionError, match="quotes closed"):
        command_of(load_settings(configs))
    watched = Watched(tmp_path / "outputs", **{"queue_end.notify": True})
    job = watched.job()
    watched.look(command)
    watched.queue.cancel(job)
    watched.look(command)
    watched.look(command)
    assert watched.ran == [("/usr/bin/notify-send", "Z Darkroom", "The queue is empty."), command], "once"


def test_a_paused_or_scheduled_job_is_no_empty_queue(tmp_path: Path) -> None:
    watched = Watched(tmp_path, **{"queue_end.power": "shutdown"})
    job = watched.job()
    watched.look()
    watched.queue.pause_job(job, True)
    watched.look()
    assert watched.end.countdown.left() is None
