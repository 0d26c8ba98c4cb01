"""Where the studio listens and under which names it may be called; refused before it listens when nothing guards it.

What this module does not know: sockets, HTTP.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from core.config.layers import Settings, variable_of
from core.entrypoints.access.keys import Keys, is_strong
from core.entrypoints.access.proxies import Network, read_proxies
from core.errors import ConfigFileError, InputError, OptionError

CORS_KEY, ANY_ORIGIN = "server.cors_origins", "*"
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]{0,30}://(\[[0-9a-f:.]+\]|[a-z0-9._-]{1,253})(:[0-9]{1,5})?")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
LINE = {
    "en": 'access: {token: "<at least 16 characters of your own>"}',
    "zh": 'access: {token: "<自己选的至少 16 个字符>"}',
}


class UnguardedError(InputError):
    """Others would be let in, and nothing asks them who they are."""

    text = {
        "en": "{key} lets others in, and nothing guards the studio. Add this line to configs/local.yaml: {line} "
        "or make a user: python3 start.py users add NAME",
        "zh": "{key} 会让他人访问，而工作室没有任何防护。请在 configs/local.yaml 中加入此行：{line} "
        "或添加用户：python3 start.py users add 用户名",
    }


class WeakTokenError(InputError):
    """A token that can be guessed, or that a header can't carry. The token itself is never said."""

    text = {
        "en": "access.token (of {came} characters) cannot be used; needed: at least 16 letters, digits and marks, without "
        "spaces, < > and colons. Set another in configs/local.yaml or in {variable}.",
        "zh": "access.token（{came} 个字符）无法使用；至少需要 16 个字母、数字或符号，不含空格、< > 与冒号。"
        "请在 configs/local.yaml 或 {variable} 中另设。",
    }


@dataclass(frozen=True)
class Binding:
    """Where to listen. `names` are the host names (lower case, without port) under which calls are answered."""

    address: str
    port: int
    names: tuple[str, ...]
    for_others: bool  # anyone but this machine may call
    cors_origins: tuple[str, ...] = ()  # whose pages may call the service from a browser
    any_origin: bool = False  # "*" was among them
    proxies: tuple[Network, ...] = ()  # whose forwarding headers are believed

    @property
    def url(self) -> str:
        """An address for the browser of this machine."""
        own = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.address, self.address)
        return f"http://{f'[{own}]' if ':' in own and own[0] != '[' else own}:{self.port}"


def read_binding(settings: Settings, keys: Keys) -> Binding:
    """Checked: nobody else is let in without a token or a user. Raises StudioError with what to do."""
    _demand_readable(settings)
    token = str(settings["access.token"])
    if token and not is_strong(token):
        raise WeakTokenError(came=len(token), variable=variable_of("access.token"))
    address = str(settings["server.host"]).strip().lower()
    names = tuple(str(name).strip().lower().strip("[]") for name in settings["server.allowed_hosts"])
    for_others = not _is_loopback(address) or bool(names)
    if for_others and not keys.guarded:
        key = "server.allowed_hosts" if _is_loopback(address) else f"server.host = {address}"
        raise UnguardedError(key=key, line=LINE)
    origins = read_origins(settings["server.cors_origins"])
    if ANY_ORIGIN in origins and not keys.guarded:
        raise UnguardedError(key=f"{CORS_KEY}: [{ANY_ORIGIN}]", line=LINE)
    return Binding(
        address,
        int(settings["server.port"]),
        (*LOOPBACK, *names),
        for_others,
        cors_origins=origins,
        any_origin=ANY_ORIGIN in origins,
        proxies=read_proxies(settings["server.trusted_proxies"]),
    )


def read_origins(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the origins of `server.cors_origins`, in lower case. Raises OptionError for text that is none."""
    origins = tuple(str(text).strip().lower().rstrip("/") for text in texts)
    for origin in origins:
        if origin not in ("null", ANY_ORIGIN) and not _ORIGIN.fullmatch(origin):
            allowed = {
                "en": "scheme://name:port, such as http://localhost:5001, or null, or * (with a token or users)",
                "zh": "协议://主机:端口，如 http://localhost:5001，或 null，或 *（须有令牌或用户）",
            }
            raise OptionError(source="settings", key=CORS_KEY, came=origin[:60], allowed=allowed)
    return origins


def _demand_readable(settings: Settings) -> None:
    """Other settings fall back to safe values; what guards the studio must not fall back to nothing."""
    for problem in settings.problems:
        about_access = str(problem.values.get("key", "")).startswith(("access", "server"))
        if about_access or (isinstance(problem, ConfigFileError) and _mentions_access(settings)):
            raise problem


def _mentions_access(settings: Settings) -> bool:
    """Return True if the file that can't be read may say who is let in."""
    try:
        text = (settings.configs / "local.yaml").read_bytes()
        return any(section in text for section in (b"access", b"server"))
    except OSError:
        return True


def _is_loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        allowed = {"en": "an IP address of this machine, or localhost", "zh": "本机的 IP 地址，或 localhost"}
        raise OptionError(source="settings", key="server.host", came=address[:60], allowed=allowed) from None


def names_this_studio(host: str, binding: Binding) -> bool:
    """Whether a Host header (with or without a port) names it: by a known name, or by address where others may call.

    An address can't be made to point elsewhere, which is how a page of another site would get in.
    """
    end = host.rfind(":")
    name = (host[:end] if end > host.rfind("]") else host).lower().removeprefix("[").removesuffix("]").rstrip(".")
    if name in binding.names:
        return True
    try:
        return binding.for_others and bool(ipaddress.ip_address(name))
    except ValueError:
        return False
