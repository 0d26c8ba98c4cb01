"""Decide where the studio listens and under which names it may be called; refuse to listen when nothing guards it.

Forwarding headers are read from a reverse proxy that the configuration trusts. Those of anyone else are ignored: whoever may write
them chooses the address that the rate limit counts.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Scope

from core.config.loader import Settings, local_file, variable_of
from core.errors import ConfigFileError, InputError, OptionError
from core.i18n import localize
from core.server.auth.authenticator import Keys, is_strong

CORS_KEY, ANY_ORIGIN = "server.cors_origins", "*"
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]{0,30}://(\[[0-9a-f:.]+\]|[a-z0-9._-]{1,253})(:[0-9]{1,5})?")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
LINE = localize("server.auth.bind_address.line")


class UnguardedError(InputError):
    """Remote access is configured without a token and without users."""


class WeakTokenError(InputError):
    """A token that can be guessed or that a header can't carry. The message does not contain it."""


@dataclass(frozen=True)
class Binding:
    """The listen address. `names` are the accepted host names (lower case, without port)."""

    address: str
    port: int
    names: tuple[str, ...]
    for_others: bool  # anyone but this machine may call
    cors_origins: tuple[str, ...] = ()  # whose pages may call the service from a browser
    any_origin: bool = False  # "*" was among them
    proxies: tuple[Network, ...] = ()  # whose forwarding headers are believed

    @property
    def url(self) -> str:
        """Return an address for the browser of this machine."""
        own = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.address, self.address)
        return f"http://{f'[{own}]' if ':' in own and own[0] != '[' else own}:{self.port}"


def read_binding(settings: Settings, keys: Keys) -> Binding:
    """Return the checked listen address. Raises StudioError if others had access without a token or a user."""
    _demand_readable(settings)
    token = settings.access.token
    if token and not is_strong(token):
        raise WeakTokenError(value=len(token), variable=variable_of("access.token"))
    address = settings.server.host.strip().lower()
    names = tuple(str(name).strip().lower().strip("[]") for name in settings.server.allowed_hosts)
    for_others = not _is_loopback(address) or bool(names)
    if for_others and not keys.guarded:
        key = "server.allowed_hosts" if _is_loopback(address) else f"server.host = {address}"
        raise UnguardedError(key=key, line=LINE)
    origins = read_origins(settings.server.cors_origins)
    if ANY_ORIGIN in origins and not keys.guarded:
        raise UnguardedError(key=f"{CORS_KEY}: [{ANY_ORIGIN}]", line=LINE)
    return Binding(
        address,
        settings.server.port,
        (*LOOPBACK, *names),
        for_others,
        cors_origins=origins,
        any_origin=ANY_ORIGIN in origins,
        proxies=read_proxies(settings.server.trusted_proxies),
    )


def read_origins(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the origins of `server.cors_origins`, in lower case. Raises OptionError for text that is none."""
    origins = tuple(str(text).strip().lower().rstrip("/") for text in texts)
    for origin in origins:
        if origin not in ("null", ANY_ORIGIN) and not _ORIGIN.fullmatch(origin):
            allowed = localize("server.auth.bind_address.scheme_name_port_such_as_http")
            raise OptionError(source="settings", key=CORS_KEY, value=origin[:60], allowed=allowed)
    return origins


def _demand_readable(settings: Settings) -> None:
    """Raise for unreadable settings: others fall back to safe values, but access must not fall back to open."""
    for problem in settings.problems:
        about_access = str(problem.values.get("key", "")).startswith(("access", "server"))
        if about_access or (isinstance(problem, ConfigFileError) and _mentions_access(settings)):
            raise problem


def _mentions_access(settings: Settings) -> bool:
    """Return True if the file that can't be read may say who is let in."""
    try:
        text = local_file(settings.configs).read_bytes()
        return any(section in text for section in (b"access", b"server"))
    except OSError:
        return True


def _is_loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        allowed = localize("server.auth.bind_address.an_ip_address_of_this_machine")
        raise OptionError(source="settings", key="server.host", value=address[:60], allowed=allowed) from None


def names_this_studio(host: str, binding: Binding) -> bool:
    """Return True if a Host header (with or without a port) is a known name, or an address while others have access.

    An address can't be rebound, which is how a page of another site would get in.
    """
    end = host.rfind(":")
    if end > host.rfind("]") and host[end + 1 :].strip("0123456789"):  # localhost:8501@evil.example
        return False
    name = (host[:end] if end > host.rfind("]") else host).lower().removeprefix("[").removesuffix("]").rstrip(".")
    if name in binding.names:
        return True
    try:
        return binding.for_others and bool(ipaddress.ip_address(name))
    except ValueError:
        return False


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


PRIVATE_MASK = 0o077


def keep_private(settings: Settings, keys: Keys) -> bool:
    """Let this process and its workers write files that only their owner can read (0600, folders 0700).

    Nothing changes without a key, or with `access.share_files`. Returns True when it was done.
    """
    if os.name == "nt" or not keys.guarded or settings.access.share_files:
        return False
    os.umask(PRIVATE_MASK)
    folder: Path = settings.output_directory
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError:  # the folder of another user, or one that cannot be written: the studio says so when it writes
        return False
    return True
