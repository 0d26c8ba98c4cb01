"""Another studio that was asked over HTTP."""

from __future__ import annotations

from core.errors.inputs import InputError


class ServerError(InputError):
    """Another studio, asked over HTTP. `server` is its address without any secret."""


class NoServerError(ServerError):
    """Nobody answers there, or not any more."""


class ServerDeniedError(ServerError):
    """It does not know the token."""


class ServerVersionError(ServerError):
    """What answers is no studio, or one of another version."""


class ServerRefusedError(ServerError):
    """It says no; `reason` is its own sentence."""
