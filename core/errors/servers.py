"""Another studio that was asked over HTTP."""

from __future__ import annotations

from core.errors.inputs import InputError


class ServerError(InputError):
    """Another studio, asked over HTTP. `server` is its address without any secret."""


class NoServerError(ServerError):
    """Nobody answers there, or not any more."""

    text = {
        "en": "No studio answers at {server}: {detail}. Check the address and whether the studio runs there.",
        "zh": "{server} 处没有工作室应答：{detail}。请检查地址，以及那里是否已启动。",
    }


class ServerDeniedError(ServerError):
    """It does not know the token."""

    text = {
        "en": "{server} does not accept this token: {reason} Set {variable} to its token, or to NAME:PASSWORD.",
        "zh": "{server} 不接受此令牌：{reason}请将 {variable} 设为其令牌，或“用户名:密码”。",
    }


class ServerVersionError(ServerError):
    """What answers is no studio, or one of another version."""

    text = {
        "en": "{server} is {came}; this one is Z Darkroom {allowed}. Use the same version on both sides.",
        "zh": "{server} 是 {came}；此处为 Z Darkroom {allowed}。请在两端使用同一版本。",
    }


class ServerRefusedError(ServerError):
    """It says no; `reason` is its own sentence."""

    text = {"en": "{server}: {reason}", "zh": "{server}：{reason}"}
