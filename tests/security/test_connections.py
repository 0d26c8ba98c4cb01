"""Slow and many connections: half requests, slow bodies, floods, and what they may write into the log."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from core.server import listener
from tests.integration.jobs.harness import wait_for


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


@contextmanager
def serving(descriptors: int = 4096) -> Iterator[tuple[int, socket.socket]]:
    """A server of our own start over one route; its port and its listening socket."""
    listening = listener.listen("127.0.0.1", 0)
    app = Starlette(routes=[Route("/", echo, methods=["GET", "POST"])])
    server = listener.server(app, descriptors, log_level="warning", lifespan="off")
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    port = listening.getsockname()[1]
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield port, listening
    finally:
        server.should_exit = True
        thread.join()


def ended(connection: socket.socket) -> bool:
    """True when the server has closed the connection (waits for it)."""
    connection.settimeout(30)
    try:
        while connection.recv(4096):
            pass
        return True
    except ConnectionResetError:
        return True


def test_accepted_socket_sends_without_delay() -> None:
    """asyncio sets TCP_NODELAY only for sockets that say they are TCP; without it each kept-open answer waits 40 ms."""
    with socket.create_server(("127.0.0.1", 0)) as plain:
        assert plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
    listening = listener.listen("127.0.0.1", 0)
    with listening, socket.create_connection(listening.getsockname()):
        listening.setblocking(True)
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_port_in_use_is_one_sentence() -> None:
    with listener.listen("127.0.0.1", 0) as taken, pytest.raises(listener.AddressError, match="in use"):
        listener.listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(listener.AddressError, match="no such address"):
        listener.listen("203.0.113.7", 8501)


@pytest.mark.parametrize(
    "start",
    [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT"],
    ids=["nothing", "half a line", "half the headers", "half a second request"],
)
def test_half_requests_are_closed(monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
    monkeypatch.setattr(listener, "HEADER_SECONDS", 0.3)
    monkeypatch.setattr(listener, "KEEP_ALIVE_SECONDS", 0.3)
    with serving() as (port, _), socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(start)
        if b"\r\n\r\n" in start:
            connection.settimeout(30)
            assert b"200 OK" in connection.recv(4096)
        assert ended(connection)


def test_dripped_headers_get_no_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "HEADER_SECONDS", 0.3)
    with serving() as (port, _), socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        with pytest.raises(OSError):
            for number in range(10_000):
                connection.sendall(f"X-{number}: y\r\n".encode())
                threading.Event().wait(0.01)


def test_slow_bodies_are_closed_and_steady_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "BODY_GRACE_SECONDS", 0.3)
    with serving() as (port, _):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
            assert ended(connection)

        def steady() -> Iterator[bytes]:
            for _ in range(8):
                threading.Event().wait(0.1)
                yield b"x" * 4096

        assert httpx.post(f"http://127.0.0.1:{port}/", content=steady(), timeout=30).text == "32768"


def test_flood_leaves_room_for_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,400 half requests at 1,024 descriptors stopped the server; now those beyond the limit are closed at once."""
    monkeypatch.setattr(listener, "LEAST_CONNECTIONS", 8)
    with serving(descriptors=0) as (port, _), ExitStack() as stack:
        flood = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(20)]
        for connection in flood:
            connection.sendall(b"GET / HT")
        assert [ended(connection) for connection in flood[6:]] == [True] * 14, "an address holds three quarters"
        for connection in flood[:6]:
            connection.close()
        wait_for(lambda: _answers(port))


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_limit_of_connections_follows_the_descriptors() -> None:
    assert listener.connection_limit(1024) == 768 and listener.connection_limit(65_536) == listener.MOST_CONNECTIONS
    assert listener.raise_descriptor_limit() >= 256


def test_repeated_message_is_logged_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    listener.limit_repeats()
    with caplog.at_level(logging.ERROR, "asyncio"):
        for number in range(10_000):
            logging.getLogger("asyncio").error("socket.accept() out of system resource %s", number)
    assert len(caplog.records) < 10
