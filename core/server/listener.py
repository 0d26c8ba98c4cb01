"""Open the server's socket, and limit how many and how slow its connections may be.

uvicorn reads requests (h11); this module adds what it leaves open: a deadline for headers, a least speed for bodies, a limit of
connections in all and by address, and TCP_NODELAY, without which every answer on a kept-open connection waits 40 ms.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import time
from collections import Counter
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from core.errors import StudioError
from core.i18n import localize

HEADER_SECONDS = 20.0  # for a request's headers, from the first moment of the connection or of the request
BODY_GRACE_SECONDS = 30.0  # a body may be this slow to begin with ...
BODY_BYTES_PER_SECOND = 1024  # ... and has to arrive at this speed on average
KEEP_ALIVE_SECONDS = 30
MAX_HEADER_BYTES = 96 * 1024  # the address of a long history query has 60,000 characters
SPARE_DESCRIPTORS = 256  # for files, databases and workers
MOST_CONNECTIONS = 2000
LEAST_CONNECTIONS = 64
BACKLOG = 512
SHARE_OF_ADDRESS = 0.75  # of all connections, that one address may hold

log = logging.getLogger(__name__)


class AddressError(StudioError):
    """The studio can't listen on the address or the port."""


_IN_USE = localize("server.listener.in_use")
_NO_ADDRESS = localize("server.listener.no_address")


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket whose connections have TCP_NODELAY. Raises AddressError."""
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, socket.IPPROTO_TCP)
    except OSError as error:
        raise AddressError(host=host, port=port, reason=_NO_ADDRESS) from error
    try:
        if os.name != "nt":  # there it would let two servers have one port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.bind(place)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        reason = _IN_USE if error.errno == errno.EADDRINUSE else _NO_ADDRESS
        raise AddressError(host=host, port=port, reason=reason) from error
    return listening


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard one, and return it; a guess where there is no such limit."""
    try:
        import resource
    except ImportError:  # Windows
        return MOST_CONNECTIONS + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < most:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
        except (ValueError, OSError):
            log.warning("the limit of open files stays at %s", soft)
    return most if soft == resource.RLIM_INFINITY else soft


def connection_limit(descriptors: int) -> int:
    """Return how many connections may be open at once with so many file descriptors."""
    return max(LEAST_CONNECTIONS, min(MOST_CONNECTIONS, descriptors - SPARE_DESCRIPTORS))


def server(app: ASGIApp, descriptors: int, **options: Any) -> uvicorn.Server:
    """Return a server to be run on the socket of `listen`; `options` are uvicorn's and win over those set here."""
    limits = Limits(connection_limit(descriptors))
    protocol = type("BoundedProtocol", (BoundedProtocol,), {"limits": limits})
    selected: dict[str, Any] = {
        "http": protocol,
        "proxy_headers": False,  # `server.trusted_proxies` says whom to believe
        "server_header": False,
        "access_log": False,
        "use_colors": False,
        "timeout_keep_alive": KEEP_ALIVE_SECONDS,
        "h11_max_incomplete_event_size": MAX_HEADER_BYTES,
        **options,
    }
    limit_repeats()
    return uvicorn.Server(uvicorn.Config(app, **selected))


class Limits:
    """Connection limits of one server."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.most_of_address = max(1, int(most * SHARE_OF_ADDRESS))
        self.open = 0
        self.by_address: Counter[str] = Counter()

    def admit(self, address: str) -> bool:
        """Count a connection, and return False when there are too many already."""
        if self.open >= self.most or self.by_address[address] >= self.most_of_address:
            return False
        self.open += 1
        self.by_address[address] += 1
        return True

    def leave(self, address: str) -> None:
        """Count a connection that has ended."""
        self.open -= 1
        self.by_address[address] -= 1
        if self.by_address[address] <= 0:
            del self.by_address[address]


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP connection with a deadline for headers and a minimum speed for bodies.

    A connection that becomes a websocket is counted until it ends, too: `Limits` watches its transport.
    """

    limits: Limits
    _address = ""
    _timer: asyncio.TimerHandle | None = None
    _began = 0.0
    _received = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection, or close it when there are too many."""
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) else ""
        if not self.limits.admit(address):
            log.warning("too many connections; one was closed")
            transport.abort()
            self._address = "?"
            self.transport = transport
            return
        self._address = address
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the connection's place in the limits."""
        self._stop()
        if self._address == "?":
            return
        self.limits.leave(self._address)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Receive bytes, and start or stop the deadlines for headers and body."""
        if self._address == "?":
            return
        self._received += len(data)
        super().data_received(data)
        if self.transport.is_closing() or self.transport.get_protocol() is not self:  # a websocket has taken over
            self._stop()
        elif (cycle := self._cycle()) is None or cycle.response_complete:
            if self._timer is None and data:
                self._await_headers()
        elif cycle.more_body:
            self._await_body()
        else:
            self._stop()

    def on_response_complete(self) -> None:
        """Wait for the next request on the same connection."""
        self._stop()
        super().on_response_complete()

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Hand the connection to the websocket protocol, counted in the limits as before."""
        super().handle_websocket_upgrade(event)
        taken = self.transport.get_protocol()
        lost = taken.connection_lost

        def connection_lost(exc: Exception | None) -> None:
            self.limits.leave(self._address)
            lost(exc)

        taken.connection_lost = connection_lost  # type: ignore[method-assign]

    def _cycle(self) -> RequestResponseCycle | None:
        """Return the request in hand, None before the first."""
        return self.cycle

    def _await_headers(self) -> None:
        self._stop()
        self._timer = self.loop.call_later(HEADER_SECONDS, self._close)

    def _await_body(self) -> None:
        if self._began == 0.0:
            self._stop()
            self._began, self._received = time.monotonic(), 0
            self._timer = self.loop.call_later(BODY_GRACE_SECONDS, self._check_body)

    def _check_body(self) -> None:
        """Close the connection when the body is slower than the least speed; look again in a second."""
        cycle = self._cycle()
        if cycle is None or not cycle.more_body:
            self._stop()
            return
        seconds = time.monotonic() - self._began - BODY_GRACE_SECONDS
        if self._received < seconds * BODY_BYTES_PER_SECOND or self._received == 0:
            self._close()
        else:
            self._timer = self.loop.call_later(1.0, self._check_body)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._began = None, 0.0

    def _close(self) -> None:
        log.info("a slow connection was closed")
        self._stop()
        self.transport.abort()


# -- logs ----------------------------------------------------------------------------------------------------------------


class RepeatFilter(logging.Filter):
    """Logging filter: passes the same message once a second, with the number of dropped ones."""

    def __init__(self, seconds: float = 1.0) -> None:
        super().__init__()
        self._seconds = seconds
        self._last: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return False for a message that was logged less than a second ago."""
        key = str(record.msg)[:200]
        now = time.monotonic()
        when, left_out = self._last.get(key, (-self._seconds, 0))
        if now - when < self._seconds:
            self._last[key] = when, left_out + 1
            return False
        if len(self._last) > 1000:
            self._last.clear()
        self._last[key] = now, 0
        if left_out:
            record.msg = f"{record.getMessage()} (and {left_out} more like it)"
            record.args = ()
        return True


def limit_repeats() -> None:
    """Limit the server's loggers to one line a second for each message."""
    for name in ("asyncio", "uvicorn.error", __name__):
        logger = logging.getLogger(name)
        if not any(isinstance(one, RepeatFilter) for one in logger.filters):
            logger.addFilter(RepeatFilter())
