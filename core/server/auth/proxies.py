"""Find the caller behind a reverse proxy that the configuration trusts.

Forwarding headers of anyone else are ignored: whoever may write them chooses the address that the rate limit counts.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Scope

from core.errors import OptionError
from core.i18n import localize

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
KEY = "server.trusted_proxies"


def read_proxies(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return the networks of the option. Raises OptionError for text that is neither an address nor a network."""
    networks = []
    for text in texts:
        try:
            networks.append(ipaddress.ip_network(text.strip(), strict=False))
        except ValueError:
            allowed = localize("server.auth.proxies.ip_addresses_or_networks_such_as")
            raise OptionError(source="settings", key=KEY, value=text[:60], allowed=allowed) from None
    return tuple(networks)


def behind_proxy(scope: Scope, headers: Headers, trusted: Sequence[Network]) -> Scope:
    """Return the scope with the caller's own address and scheme, where a trusted proxy says them."""
    peer = (scope.get("client") or ("", 0))[0]
    if not trusted or not _is_trusted(peer, trusted):
        return scope
    named: dict[str, Any] = {}
    hops = [hop.strip() for value in headers.getlist("x-forwarded-for") for hop in value.split(",") if hop.strip()]
    client = next((hop for hop in reversed(hops) if not _is_trusted(hop, trusted)), "")
    if _address(client) is not None:
        named["client"] = (str(_address(client)), 0)
    scheme = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
    if scheme in ("http", "https"):
        secure = scheme == "https"
        named["scheme"] = ("wss" if secure else "ws") if scope["type"] == "websocket" else scheme
    return {**scope, **named}


def _is_trusted(text: str, trusted: Sequence[Network]) -> bool:
    address = _address(text)
    return address is not None and any(address in network for network in trusted)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address of a hop, which may come with a port or in brackets."""
    plain = text.strip().removeprefix("[").partition("]")[0]
    if plain.count(":") == 1:
        plain = plain.partition(":")[0]
    try:
        address = ipaddress.ip_address(plain.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if address.version == 6 else address
