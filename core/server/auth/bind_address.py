"""Decide where the studio listens and under which names it may be called; refuse to listen when nothing guards it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from core.config.loader import Settings, local_file, variable_of
from core.errors import ConfigFileError, InputError, OptionError
from core.i18n import localize
from core.server.auth.authenticator import Keys, is_strong
from core.server.auth.proxies import Network, read_proxies

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
