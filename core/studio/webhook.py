"""Tell another program when a job has ended: one POST of JSON, to this machine or to hosts that the settings allow.

The address is resolved once and that very address is called, so that a name can't point elsewhere between the check and the
call. Redirects are not followed, and the answer is not read.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from core.config.loader import Settings
from core.errors import OptionError
from core.i18n import localize

KEY = "webhook.url"
TIMEOUT = 5.0  # seconds, to connect and to be answered


class WebhookError(Exception):
    """A call that failed; the text says why, for the log."""


@dataclass(frozen=True)
class Webhook:
    """Where to call, checked by form; the host is checked at each call."""

    scheme: str
    host: str
    port: int
    path: str
    allowed_hosts: tuple[str, ...] = ()

    def send(self, event: Mapping[str, Any]) -> None:
        """POST an event as JSON. Raises WebhookError when it is refused, not answered in time, or may not be sent there."""
        body = json.dumps(event).encode()
        connection = _Pinned(self, self.address())
        try:
            connection.request("POST", self.path, body, {"Content-Type": "application/json", "Host": self._host_header()})
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise WebhookError(f"{self.host}: {type(error).__name__}: {error}") from error
        finally:
            connection.close()
        if not 200 <= status < 300:
            raise WebhookError(f"{self.host}: HTTP {status}")

    def address(self) -> str:
        """Return the address to call. Raises WebhookError for one that is neither this machine nor allowed by name."""
        try:
            found = [str(one[4][0]) for one in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)]
        except (OSError, UnicodeError) as error:
            raise WebhookError(f"{self.host}: {type(error).__name__}") from error
        if self.host.lower() not in self.allowed_hosts:
            for text in found:
                if not ipaddress.ip_address(text.partition("%")[0]).is_loopback:
                    raise WebhookError(f"{self.host} is {text}: neither this machine nor in webhook.allowed_hosts")
        return found[0]

    def _host_header(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == (443 if self.scheme == "https" else 80) else f"{name}:{self.port}"


class _Pinned(http.client.HTTPConnection):
    """A connection to one address; over https its certificate is checked for the host's name."""

    def __init__(self, hook: Webhook, address: str) -> None:
        super().__init__(hook.host, hook.port, timeout=TIMEOUT)
        self._hook = hook
        self._address = address

    def connect(self) -> None:
        made = socket.create_connection((self._address, self._hook.port), TIMEOUT)
        if self._hook.scheme == "https":
            made = ssl.create_default_context().wrap_socket(made, server_hostname=self._hook.host)
        self.sock = made


def webhook_of(settings: Settings) -> Webhook | None:
    """Return the webhook of the settings; None without one. Raises OptionError for an address that can't be one."""
    url, allowed = settings.webhook.url, settings.webhook.allowed_hosts
    return read_url(url, allowed, settings.origins[KEY]) if url else None


def read_url(url: str, allowed_hosts: Sequence[str], source: str) -> Webhook:
    """Return the webhook of a URL: http or https, without user, password and fragment. Raises OptionError."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        plain = parts.scheme in ("http", "https") and bool(parts.hostname)
        plain = plain and not (parts.username or parts.password or parts.fragment)
        plain = plain and url.isprintable() and " " not in url
    except ValueError:
        plain = False
    if not plain:
        shown = url.rpartition("@")[2][:100]  # a password is not repeated
        raise OptionError(source=source, key=KEY, value=shown, allowed=localize("studio.webhook.allowed"))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Webhook(parts.scheme, str(parts.hostname), port, path, tuple(host.lower() for host in allowed_hosts))
