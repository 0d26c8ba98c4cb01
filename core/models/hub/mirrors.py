"""Decide which addresses a download may use, and which of them may see a token.

A token goes to the hub's own host, or to an address that the configuration or the environment names, over https (loopback
excepted). A mirror that somebody types on a page gets none, must be a plain https address, and must not lie in this
network unless `models.allowed_mirrors` names it.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlparse

import requests
from requests.adapters import HTTPAdapter

from core.models.hub.hub_api import HubError

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def typed_mirror(text: str, allowed: Sequence[str] = ()) -> str:
    """Return the address of a mirror that was typed: https://NAME, no path. Raises HubError for any other.

    A mirror among `allowed` (addresses as the configuration names them) is taken as it is named there.
    """
    address = (text if "://" in text else f"https://{text}").strip().rstrip("/")
    if address.lower() in (_whole(one) for one in allowed):
        return address
    parts = urlparse(address)
    try:
        plain = parts.scheme == "https" and bool(parts.hostname) and not (parts.username or parts.password)
        plain = plain and not (parts.path or parts.params or parts.query or parts.fragment) and parts.port in (None, 443)
    except ValueError:  # a port that is none
        plain = False
    if not plain:
        raise HubError("mirror", re.sub(r"//[^/@]*@", "//…@", text)[:100])  # a password stays out of pages and logs
    demand_public(str(parts.hostname))
    return address


def _whole(text: str) -> str:
    return (text if "://" in text else f"https://{text}").strip().rstrip("/").lower()


def demand_public(host: str) -> None:
    """Raise HubError for a host that has an address in this machine or network, or that cannot be resolved."""
    try:
        found = {str(one[4][0]) for one in socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError) as error:
        raise HubError("network", f"{host}: {type(error).__name__}", wait=0.0) from None
    for text in found:
        address = ipaddress.ip_address(text.partition("%")[0])
        carried = _carried(address) if isinstance(address, ipaddress.IPv6Address) else None
        meant = carried or address
        if not meant.is_global or meant.is_multicast or (isinstance(meant, ipaddress.IPv6Address) and meant.is_site_local):
            raise HubError("private", host)


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for: mapped, 6to4 or NAT64 (RFC 4291, 3056, 6052)."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def may_have_token(endpoint: str, typed: bool) -> bool:
    """Return True for an address that may see a token."""
    parts = urlparse(endpoint)
    return not typed and (parts.scheme == "https" or parts.hostname in LOOPBACK)


class PublicAdapter(HTTPAdapter):
    """Refuses plain http and addresses of this machine or network, also after redirects.

    A name may have another address when it is connected to than when it was asked for; over https the server there cannot
    show a certificate of that name.
    """

    def send(self, request: requests.PreparedRequest, *given: Any, **more: Any) -> requests.Response:
        """Send it where it may go. Raises HubError."""
        _demand_public_https(str(request.url))
        return super().send(request, *given, **more)


def _demand_public_https(url: str) -> None:
    parts = urlparse(url)
    if parts.scheme != "https":
        raise HubError("mirror", f"{parts.scheme}://{parts.hostname}")
    demand_public(str(parts.hostname))


def guard_session(session: requests.Session) -> requests.Session:
    """Return the session, kept out of this machine and network."""
    for scheme in ("https://", "http://"):
        session.mount(scheme, PublicAdapter())
    return session


def guard_hugging_face() -> None:
    """Keep the client of huggingface_hub, of this process alone, out of this machine and network."""
    import httpx2 as httpx
    from huggingface_hub import set_client_factory

    def check(request: httpx.Request) -> None:
        _demand_public_https(str(request.url))

    set_client_factory(lambda: httpx.Client(event_hooks={"request": [check]}, follow_redirects=True, timeout=None))
