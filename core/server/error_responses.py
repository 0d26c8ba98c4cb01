"""Convert errors to HTTP: status, and the body in the studio's own dialect."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from core.errors import (
    AdminOnlyError,
    Cancelled,
    DiskFullError,
    InputError,
    InputQuotaError,
    JobStateError,
    KeyReusedError,
    NotFoundError,
    OptionError,
    QueueFullError,
    StorageError,
    StudioError,
)
from core.history.hidden_collections import CollectionTriesError
from core.i18n import localize
from core.server.body_limit import RefusedError, Say
from core.server.submission import StoppedError, WaitError


class NotBuiltInError(StudioError):
    """A part of A1111's API that this studio does not have."""


_STATUS: tuple[tuple[type[StudioError], int], ...] = (  # the first that fits
    (NotFoundError, 404),
    (KeyReusedError, 409),
    (JobStateError, 409),
    (StoppedError, 409),
    (AdminOnlyError, 403),
    (CollectionTriesError, 429),
    (QueueFullError, 429),
    (InputQuotaError, 507),
    (InputError, 422),
    (WaitError, 504),
    (NotBuiltInError, 501),
    (DiskFullError, 507),
)
_RETRY_AFTER = {429: 5, 503: 10}  # seconds
GONE = 499  # nobody reads it: the caller has hung up


class Answer(JSONResponse):
    """JSON in ASCII, because a prompt may contain half a surrogate pair, which UTF-8 can't encode."""

    def render(self, content: Any) -> bytes:
        """Encode the content as ASCII JSON."""
        return json.dumps(content, separators=(",", ":"), default=jsonable_encoder).encode("ascii")


def status_of(error: StudioError) -> int:
    """Return the HTTP status of an error: 500 for internal errors, 503 for temporary ones."""
    if is_temporary(error):
        return 503
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def is_temporary(error: StudioError) -> bool:
    """Return True for an error that is gone once a database server or an object store is back."""
    return isinstance(error, StorageError) and error.temporary


def problem(error: StudioError, status: int) -> Response:
    """Return the response of an error in both languages, with its code and values."""
    return Answer({"error": described(error)}, status_code=status)


def described(error: StudioError) -> dict[str, Any]:
    """Return an error as JSON."""
    return {"code": error.code, "en": error.message("en"), "zh": error.message("zh"), "values": error.values}


def nothing_here() -> RefusedError:
    """Return the error of an unknown path, and of a method that a route lacks."""
    return RefusedError(reason=localize("server.error_responses.there_is_nothing_at_this_address"))


def _unreadable_form(detail: str) -> RefusedError:
    """For a form that Starlette cannot read: a missing boundary, too many fields."""
    return RefusedError(reason=localize("server.error_responses.the_body_cannot_be_read", part=detail[:200]))


def unusable(errors: Sequence[Mapping[str, Any]]) -> OptionError:
    """Return the first of FastAPI's validation errors as one of ours."""
    first = errors[0]
    place = ".".join(str(part) for part in first["loc"])
    given = first.get("input", "")
    shown = f"{len(given)} bytes" if isinstance(given, bytes) else str(given)[:60]
    return OptionError(source="request", key=place, value=shown, allowed=first["msg"])


def install_errors(app: FastAPI, say: Say) -> None:
    """Let `say` (the dialect's) answer for every error that a route raises."""

    def studio_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, StudioError)
        status = status_of(error)
        answer = say(error, status)
        if status in _RETRY_AFTER:
            answer.headers["Retry-After"] = str(_RETRY_AFTER[status])
        return answer

    def invalid(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return say(unusable(error.errors()), 422)

    def refused(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code in (404, 405):
            return say(nothing_here(), error.status_code)
        return say(_unreadable_form(str(error.detail)), error.status_code)

    app.add_exception_handler(StudioError, studio_error)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(FileNotFoundError, lambda _request, _error: say(nothing_here(), 404))
    app.add_exception_handler(Cancelled, lambda _request, _error: Response(status_code=GONE))
