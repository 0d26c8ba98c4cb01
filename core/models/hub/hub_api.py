"""List a repository by each hub's own protocol: names, sizes, checksums and addresses of its files.

Hugging Face is asked through its own library. ModelScope's is a heavy one, and its file interface is two addresses, so these are
asked directly.

A token goes to the hub's own host, or to an address that the configuration or the environment names, over https (loopback
excepted). A mirror that somebody types on a page gets none, must be a plain https address, and must not lie in this
network unless `models.allowed_mirrors` names it.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlparse

import requests
from requests.adapters import HTTPAdapter

from core.config.schema import AUTO
from core.errors import InputError, NotWritableError

ENDPOINTS = {"huggingface": "https://huggingface.co", "modelscope": "https://modelscope.cn"}
TIMEOUT = (10.0, 30.0)  # seconds to connect, and of silence
SOCKS_PACKAGES = ("socks", "socksio")  # of requests, and of huggingface_hub's HTTP client


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository. `sha256` of large files on both hubs; `git` is the object id of small ones on Hugging Face."""

    path: str
    size: int
    url: str
    sha256: str | None = None
    git: str | None = None


@dataclass(frozen=True)
class Repository:
    """A repository at one commit."""

    revision: str
    files: tuple[RemoteFile, ...]


class HubError(Exception):
    """An error of a hub. `kind` is one of `problems`; `wait` is the seconds after which a retry may succeed, or None."""

    def __init__(self, kind: str, detail: object, wait: float | None = None) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind, self.detail, self.wait = kind, detail, wait


def endpoint_of(hub: str, wanted: str) -> str:
    """Return the address to use: the wanted one, else the environment's, else the hub's. Raises HubError."""
    variable = {"huggingface": "HF_ENDPOINT", "modelscope": "MODELSCOPE_DOMAIN"}[hub]
    selected = (os.environ.get(variable) or ENDPOINTS[hub]) if wanted in (AUTO, "") else wanted
    selected = (selected if "://" in selected else f"https://{selected}").rstrip("/")
    parts = urlparse(selected)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise HubError("address", wanted)
    return selected


def new_session(hub: str, endpoint: str, token: str | None) -> requests.Session:
    """Return a session with the headers for the hub. `token` is one that this endpoint may see (`mirrors.may_have_token`).

    requests drops it where a redirect leads to another host. Raises HubError for a SOCKS proxy without the packages for it.
    """
    _check_proxy(endpoint)
    session = requests.Session()
    session.headers.update({"User-Agent": "zdarkroom", "Accept-Encoding": "identity"})
    if token:
        session.headers["Authorization"] = f"Bearer {token}"
        if hub == "modelscope":
            session.cookies.set("m_session_id", token, domain=urlparse(endpoint).hostname or "")
    return session


def _check_proxy(endpoint: str) -> None:
    """Raise HubError if the environment names a SOCKS proxy for this address, and a package for it is missing."""
    used = requests.utils.get_environ_proxies(endpoint)
    proxy = used.get(urlparse(endpoint).scheme) or used.get("all") or ""
    if urlparse(proxy).scheme.startswith("socks") and not all(find_spec(name) for name in SOCKS_PACKAGES):
        parts = urlparse(proxy)
        raise HubError("socks", f"{parts.scheme}://{parts.hostname}:{parts.port or 1080}")  # without user and password


def list_repository(
    hub: str, repository: str, revision: str | None, endpoint: str, token: str | None, session: requests.Session
) -> Repository:
    """Return all files of the repository. Raises HubError."""
    if hub == "huggingface":
        return _hugging_face(repository, revision, endpoint, token)
    return _modelscope(repository, revision or "master", endpoint, session)


def _hugging_face(repository: str, revision: str | None, endpoint: str, token: str | None) -> Repository:
    from huggingface_hub import HfApi, hf_hub_url
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled

    try:
        info = HfApi(endpoint=endpoint, token=token or False).model_info(
            repository, revision=revision, files_metadata=True, timeout=TIMEOUT[1]
        )
    except HubError:  # of `mirrors`
        raise
    except OfflineModeIsEnabled:
        raise HubError("offline", "") from None
    except GatedRepoError:
        raise HubError("gated", 403) from None
    except HfHubHTTPError as error:
        raise status_error(error.response.status_code, error.response.headers, repository) from None
    except (OSError, ValueError, TypeError, KeyError) as error:  # what the library lets through of network and JSON
        raise HubError("answer" if isinstance(error, ValueError | TypeError | KeyError) else "network",
                       type(error).__name__, wait=0.0) from None  # fmt: skip
    except Exception as error:  # its HTTP client's own errors, which derive from nothing of Python's
        raise HubError("network", type(error).__name__, wait=0.0) from None
    commit = info.sha or revision or "main"
    return Repository(
        commit, tuple(_sibling(one, repository, commit, endpoint, hf_hub_url) for one in info.siblings or ())
    )


def _sibling(one: Any, repository: str, commit: str, endpoint: str, address: Any) -> RemoteFile:
    large = one.lfs.sha256 if one.lfs else None
    url = address(repository, one.rfilename, revision=commit, endpoint=endpoint)
    return RemoteFile(one.rfilename, int(one.size or 0), url, large, None if large else one.blob_id)


def _modelscope(repository: str, revision: str, endpoint: str, session: requests.Session) -> Repository:
    base = f"{endpoint}/api/v1/models/{quote(repository)}"
    wanted = {"Revision": revision, "Recursive": "True"}
    try:
        answer = session.get(f"{base}/repo/files", params=wanted, timeout=TIMEOUT)
    except requests.RequestException as error:
        raise HubError("network", type(error).__name__, wait=0.0) from None
    if answer.status_code != 200:
        raise status_error(answer.status_code, answer.headers, repository)
    try:
        data = answer.json()
        if data["Code"] != 200:
            raise HubError("missing", repository)
        files: Sequence[dict[str, Any]] = data["Data"]["Files"]
        found = tuple(
            RemoteFile(
                one["Path"],
                int(one["Size"]),
                f"{base}/repo?Revision={quote(revision, safe='')}&FilePath={quote(one['Path'], safe='')}",
                one.get("Sha256") or None,
            )
            for one in files
            if one.get("Type") != "tree"
        )
    except (ValueError, TypeError, KeyError) as error:
        raise HubError("answer", type(error).__name__) from None
    return Repository(revision, found)


def status_error(status: int, headers: Any, what: str) -> HubError:
    """Return the error of an HTTP status, and whether waiting helps."""
    if status in (401, 403):
        return HubError("gated", status)
    if status == 404:
        return HubError("missing", what)
    if status in (408, 425, 429) or status >= 500:
        return HubError("busy", status, wait=_seconds(headers.get("Retry-After")))
    return HubError("answer", status)


def _seconds(header: str | None) -> float:
    """Retry-After in seconds; a date is rare, and answered by our own waiting."""
    return min(300.0, float(header)) if header and header.isdigit() else 0.0


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


VARIABLES = {"huggingface": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN"}
FILE = "tokens.json"


class TokenFileError(InputError):
    """The token file can be read by other users."""


def token_of(hub: str, store: Path) -> str | None:
    """Return the token of the environment, else of the file. Raises TokenFileError when others can read that."""
    return os.environ.get(VARIABLES[hub]) or _kept(store).get(hub)


def has_token(hub: str, store: Path) -> bool:
    """Return True if there is a usable token."""
    try:
        return token_of(hub, store) is not None
    except TokenFileError:
        return False


def save_token(hub: str, token: str, store: Path) -> None:
    """Keep it in a file of mode 0600; an empty one is removed."""
    path = store / FILE
    kept = _kept(store)
    kept.pop(hub, None)
    if token.strip():
        kept[hub] = token.strip()
    part = path.with_suffix(".part")
    try:
        store.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(kept, file)
        part.replace(path)
    except OSError as error:
        raise NotWritableError(path=path) from error


def _kept(store: Path) -> dict[str, str]:
    path = store / FILE
    try:
        mode = path.stat().st_mode
        if sys.platform != "win32" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise TokenFileError(path=path)
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(hub): str(token) for hub, token in data.items()} if isinstance(data, dict) else {}
