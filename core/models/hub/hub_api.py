"""List a repository by each hub's own protocol: names, sizes, checksums and addresses of its files.

Hugging Face is asked through its own library. ModelScope's is a heavy one, and its file interface is two addresses, so these are
asked directly.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any
from urllib.parse import quote, urlparse

import requests

from core.config.schema import AUTO

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
