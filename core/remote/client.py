"""Call another studio's /api/v1.

It uses `http.client` rather than `requests`: certificates are checked against the system's store, where the CA of a private
network is installed, and no redirect, proxy or .netrc can send the token to another address than the given one.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

from core import __version__
from core.config.schema import HIDDEN
from core.errors import (
    NoServerError,
    OptionError,
    ServerDeniedError,
    ServerRefusedError,
    ServerVersionError,
    StudioError,
    error_classes,
)
from core.i18n import localize
from core.types import Decision, Estimate, GenerationRequest, Job, JobState, Phase, Progress

TIMEOUT = 30.0  # seconds for one answer; none waits for an image
REACHING = 10.0  # seconds for the connection
_PLAIN = re.compile(r"[!-~]+")  # printable ASCII without a space
_PROGRESS = {field.name for field in fields(Progress)} - {"phase", "preview"}


@dataclass(frozen=True)
class RemoteJob:
    """A snapshot of a remote job. `images` are the ids of the finished ones."""

    job: Job
    images: tuple[str, ...]


@dataclass(frozen=True)
class RemoteRecord:
    """The record of an image of the remote studio."""

    seed: int
    rendered_size: tuple[int, int]
    timings: Mapping[str, float]
    effective: Mapping[str, Any]
    decisions: tuple[Decision, ...]
    peak_memory_bytes: int | None


class Remote:
    """One studio at `address` (http or https, a host, a port). Thread-safe: each call has a connection of its own.

    Every method raises NoServerError, ServerDeniedError or ServerRefusedError; OptionError is for the address.
    """

    def __init__(
        self, address: str, token: str = "", variable: str = "", source: str = "settings", reaching: float = REACHING
    ) -> None:
        """Check the address. `variable` is the setting with the token; `reaching` is the connection timeout in seconds."""
        self.address = address.strip().rstrip("/")
        self._token = token
        self._variable = variable
        self._reaching = reaching
        self._https, self._host, self._port, self._path = _parts(self.address, source)

    # -- what there is ---------------------------------------------------------------------------------------------

    def capabilities(self) -> Mapping[str, Any]:
        """Return models, options and limits. Raises ServerVersionError for anything but a studio of this minor version."""
        status, body = self._send("GET", "/api/v1/capabilities")
        found = _json(body)
        version = found.get("version") if isinstance(found, dict) and status == 200 else None
        if version is None:
            self._demand(status, body)
            raise ServerVersionError(server=self.address, value=f"no Z Darkroom (HTTP {status})", allowed=__version__)
        if str(version).split(".")[:2] != __version__.split(".")[:2]:
            raise ServerVersionError(server=self.address, value=f"Z Darkroom {version}"[:60], allowed=__version__)
        return dict(found)

    # -- jobs ------------------------------------------------------------------------------------------------------

    def submit(self, values: Mapping[str, Any], key: str) -> RemoteJob:
        """Queue a job; a repeated call with the same `key` and values returns the same job."""
        body = json.dumps(dict(values)).encode("ascii")
        return self._job("POST", "/api/v1/jobs", body, {"Content-Type": "application/json", "Idempotency-Key": key})

    def estimate(self, values: Mapping[str, Any]) -> Estimate:
        """Return what a job of these values will cost there."""
        body = json.dumps(dict(values)).encode("ascii")
        status, answer = self._send("POST", "/api/v1/estimates", body, {"Content-Type": "application/json"})
        self._demand(status, answer)
        try:
            found = json.loads(answer)
            return Estimate(**{**found, "reasons": tuple(found["reasons"])})
        except (ValueError, KeyError, TypeError):
            raise self._strange(status) from None

    def keep_input(self, data: bytes, mask: bool = False) -> str:
        """Upload an input image or a mask; return its digest. The same image is stored once."""
        path = "/api/v1/inputs?mask=true" if mask else "/api/v1/inputs"
        status, body = self._send("POST", path, data, {"Content-Type": "image/png"})
        self._demand(status, body)
        try:
            return str(json.loads(body)["digest"])
        except (ValueError, KeyError, TypeError):
            raise self._strange(status) from None

    def look(self, job_id: str) -> RemoteJob:
        """Return the present state of a job."""
        return self._job("GET", f"/api/v1/jobs/{quote(job_id)}")

    def cancel(self, job_id: str) -> RemoteJob:
        """Cancel a job: it ends within one step. Does nothing if it has ended."""
        return self._job("DELETE", f"/api/v1/jobs/{quote(job_id)}")

    def retry(self, job_id: str) -> RemoteJob:
        """Queue a failed or cancelled job again, for its missing images."""
        return self._job("POST", f"/api/v1/jobs/{quote(job_id)}/retry")

    def preview(self, job_id: str) -> bytes | None:
        """Return the live preview, a small WebP, or None."""
        status, body = self._send("GET", f"/api/v1/jobs/{quote(job_id)}/preview")
        return body if status == 200 else None

    # -- prompts ---------------------------------------------------------------------------------------------------

    def ask_prompt(self, values: Mapping[str, Any]) -> str:
        """Ask for a prompt to be enhanced or translated; return the id of the answer."""
        body = json.dumps(dict(values)).encode("ascii")
        status, answer = self._send("POST", "/api/v1/prompts", body, {"Content-Type": "application/json"})
        self._demand(status, answer)
        try:
            return str(json.loads(answer)["id"])
        except (ValueError, KeyError, TypeError):
            raise self._strange(status) from None

    def prompt(self, answer_id: str) -> tuple[str, bool, StudioError | None]:
        """Return what there is of an answer, whether that is all, and the error that ended it."""
        status, answer = self._send("GET", f"/api/v1/prompts/{quote(answer_id)}")
        self._demand(status, answer)
        try:
            found = json.loads(answer)
            return str(found["text"]), bool(found["done"]), _error(found["error"]) if found["error"] else None
        except (ValueError, KeyError, TypeError):
            raise self._strange(status) from None

    def cancel_prompt(self, answer_id: str) -> None:
        """Stop an answer."""
        self._demand(*self._send("DELETE", f"/api/v1/prompts/{quote(answer_id)}"))

    # -- images --------------------------------------------------------------------------------------------------

    def image(self, image_id: str) -> bytes:
        """Return the file of an image, with its metadata."""
        status, body = self._send("GET", f"/api/v1/images/{quote(image_id)}")
        self._demand(status, body)
        return body

    def record(self, image_id: str) -> RemoteRecord:
        """Return the record of an image."""
        status, body = self._send("GET", f"/api/v1/images/{quote(image_id)}/record")
        self._demand(status, body)
        try:
            data = json.loads(body)
            width, height = data["rendered_size"]
            decisions = [
                Decision(str(one["option"]), one["requested"], one["effective"], dict(one["reason"]))
                for one in data["decisions"]
            ]
            return RemoteRecord(
                seed=int(data["request"]["seed"]),
                rendered_size=(int(width), int(height)),
                timings={str(part): float(seconds) for part, seconds in data["timings"].items()},
                effective=dict(data["effective"]),
                decisions=tuple(decisions),
                peak_memory_bytes=data["peak_memory_bytes"],
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._strange(status) from None

    def image_address(self, image_id: str) -> str:
        """Return the URL of an image for users."""
        return f"{self.address}/api/v1/images/{quote(image_id)}"

    # -- one call --------------------------------------------------------------------------------------------------

    def _job(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> RemoteJob:
        status, answer = self._send(method, path, body, headers)
        self._demand(status, answer)
        try:
            return _read_job(json.loads(answer))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._strange(status) from None

    def _demand(self, status: int, body: bytes) -> None:
        """Raise the error of a response that is not a success."""
        if 200 <= status < 300:
            return
        reason = _sentence(body)
        if status == 401:
            raise ServerDeniedError(
                server=self.address, reason=reason or localize("remote.client.http_401"), variable=self._variable
            )
        if reason is None:
            raise self._strange(status)
        raise ServerRefusedError(server=self.address, reason=reason)

    def _strange(self, status: int) -> ServerVersionError:
        return ServerVersionError(server=self.address, value=f"no Z Darkroom (HTTP {status})", allowed=__version__)

    def _send(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        sent: dict[str, Any] = {"Accept": "application/json", **(headers or {})}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}".encode()
        connection = self._connection()
        try:
            connection.connect()
            if connection.sock is not None:
                connection.sock.settimeout(TIMEOUT)
            connection.request(method, self._path + path, body or None, sent)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException, ValueError) as error:
            detail = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise NoServerError(server=self.address, detail=str(detail)[:200]) from error
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._https:
            trusted = ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._reaching, context=trusted)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._reaching)


class RetryDeadline:
    """How long a studio that was reachable may be away: calls are retried until then."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None

    def good(self) -> None:
        """Note a successful call."""
        self._since = None

    def spend(self, error: NoServerError) -> None:
        """Note a failed call. Raises the error after the deadline."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since > self._seconds:
            raise error


def _parts(address: str, source: str) -> tuple[bool, str, int | None, str]:
    """Return (https, host, port, base path). Addresses with a user or a password are refused: they are shown and stored."""
    allowed = localize("remote.client.such_as_http_192_168_1")
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment
        if good and parts.username is None and parts.password is None and _PLAIN.fullmatch(address):
            return parts.scheme == "https", str(parts.hostname), parts.port, parts.path
    except ValueError:  # a port that is no number, brackets that do not close
        pass
    shown = HIDDEN if "@" in address else repr(address)[:80]
    raise OptionError(source=source, key="server", value=shown, allowed=allowed)


def _read_job(data: Mapping[str, Any]) -> RemoteJob:
    progress = data["progress"]
    error = data["error"]
    job = Job(
        id=str(data["id"]),
        state=JobState(data["state"]),
        request=GenerationRequest(**{**data["request"], "options": dict(data["request"]["options"])}),
        created_at=datetime.fromisoformat(data["created_at"]),
        progress=Progress(Phase(progress["phase"]), **{name: progress[name] for name in _PROGRESS & set(progress)})
        if progress
        else None,
        error=_error(error) if error else None,
        position=data["position"],
        cancel_requested=bool(data["cancel_requested"]),
        held=bool(data["held"]),
    )
    return RemoteJob(job, tuple(str(image["id"]) for image in data["images"]))


def _error(data: Mapping[str, Any]) -> StudioError:
    """Return the error of a remote job, as the same class if known, so that pages offer its remedy."""
    if str(data["code"]) in error_classes():
        return StudioError.from_dict(data)
    return StudioError(detail={"en": str(data["en"]), "zh": str(data["zh"])})


def _sentence(body: bytes) -> Mapping[str, str] | None:
    """Return the message of an error response by language, or None."""
    data = _json(body)
    error = data.get("error") if isinstance(data, dict) else None
    if not isinstance(error, dict) or not all(isinstance(error.get(name), str) for name in ("en", "zh")):
        return None
    return {name: error[name][:1000] for name in ("en", "zh")}


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
