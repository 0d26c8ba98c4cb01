"""Read and check the body of every service call: its size, its encoding and, where it is JSON, its shape.

Every sentence says what is wrong with the body itself, before a route looks at any field. HEAD is answered as GET without a body.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio.to_thread
from PIL import Image, ImageOps
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import OptionError, StudioError
from core.i18n import localize
from core.server.submission import SOURCE
from core.storage.input_images import MAX_SIDE
from core.studio import Studio

Say = Callable[[StudioError, int], Response]
MAX_DEPTH = 64  # lists and objects inside one another
MAX_VALUES = 500_000  # values of one JSON body: 10,000 prompts with every field have half as many
BACKGROUND_BYTES = 1 << 20  # a larger body is parsed in a thread
_UNTYPED = ("", "text/plain", "application/x-www-form-urlencoded")  # what clients send that set no content type
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class RefusedError(StudioError):
    """A refused call; `reason` says why, by language."""


class BodyError(RefusedError):
    """An unusable body; values are `status`, the HTTP status, and `reason`, by language."""

    @property
    def status(self) -> int:
        """Return the HTTP status."""
        return int(self.values["status"])


class Guard:
    """ASGI middleware: reads the whole body, refuses unusable ones, and passes it to the app."""

    def __init__(self, app: ASGIApp, get_studio: Callable[[], Studio], say: Say) -> None:
        self.app = app
        self._get_studio = get_studio
        self._say = say

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            scope, send, receive = _as_get(scope, send, receive)
        try:
            limit = 1000 * self._get_studio().settings.service.max_body_kb
        except StudioError as error:  # the output folder can't be used
            await self._say(error, 503)(scope, receive, send)
            return
        try:
            body = await read_body(Headers(scope=scope), receive, limit)
            scope = await _checked(scope, body)
        except BodyError as error:
            await self._say(error, error.status)(scope, receive, send)
            return
        await self.app(scope, _again(body, receive), send)


def _as_get(scope: Scope, send: Send, receive: Receive) -> tuple[Scope, Send, Receive]:
    """Return the call as GET, with a `send` that drops the body and a `receive` that ends a stream after its headers."""
    started = False

    async def send_headers(message: Message) -> None:
        nonlocal started
        if message["type"] == "http.response.start":
            started = True
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def receive_until_started() -> Message:
        return {"type": "http.disconnect"} if started else await receive()

    return {**scope, "method": "GET"}, send_headers, receive_until_started


async def read_body(headers: Headers, receive: Receive, limit: int) -> bytes:
    """Return the whole body. Raises BodyError as soon as it is known to be longer than `limit` bytes."""
    length = headers.get("content-length", "0")
    if length.isdigit() and int(length) > limit:
        raise _too_large(limit)
    body = bytearray()
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        more = message.get("more_body", False)
    return bytes(body)


def _unreadable(status: int, problem: str, **values: Any) -> BodyError:
    return BodyError(status=status, reason=localize(f"server.body_limit.{problem}", **values))


def _too_large(limit: int) -> BodyError:
    return _unreadable(413, "too_large", limit=limit)


async def _checked(scope: Scope, body: bytes) -> Scope:
    """Return the scope, with the content type of JSON where the body is JSON. Raises BodyError."""
    headers = Headers(scope=scope)
    encoding = headers.get("content-encoding", "").strip().lower()
    if body and encoding not in ("", "identity"):
        raise _unreadable(415, "compressed", encoding=encoding[:20])
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    named = kind == "application/json" or kind.endswith("+json")
    untyped = kind in _UNTYPED and body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")
    if not body or not (named or untyped):
        return scope
    if len(body) > BACKGROUND_BYTES:
        await anyio.to_thread.run_sync(parse_json, body)
    else:
        parse_json(body)
    if named:
        return scope
    plain = [(name, value) for name, value in scope["headers"] if name.lower() != b"content-type"]
    return {**scope, "headers": [*plain, (b"content-type", b"application/json")]}


def parse_json(body: bytes) -> Any:
    """Return what a JSON body says. Raises BodyError, naming the byte or the line at fault."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable(400, "not_utf_8", byte=f"{body[error.start]:02x}", position=error.start) from None
    try:
        data = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise _unreadable(400, "not_json", detail=error.msg, line=error.lineno, column=error.colno) from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:  # a number with more digits than Python converts
        raise _unreadable(400, "digits") from None
    _check_shape(data, surrogates="\\u" in text)
    return data


def _no_constant(name: str) -> None:
    raise _unreadable(400, "constant", name=name)


def _too_deep() -> BodyError:
    return _unreadable(400, "too_deep", most=MAX_DEPTH)


def _check_shape(data: Any, surrogates: bool) -> None:
    """Raise BodyError for too many values, too deep a nesting, or text that UTF-8 has no bytes for."""
    waiting: list[tuple[Any, int, str]] = [(data, 1, "")]
    values = 0
    while waiting:
        value, depth, key = waiting.pop()
        if isinstance(value, str):
            if surrogates and _SURROGATE.search(value):
                raise _unreadable(422, "surrogate", part=key[:60] or localize("server.body_limit.body"))
            continue
        if not isinstance(value, dict | list):
            continue
        if depth > MAX_DEPTH:
            raise _too_deep()
        values += len(value)
        if values > MAX_VALUES:
            raise _unreadable(413, "values", most=MAX_VALUES)
        if isinstance(value, dict):
            if surrogates and any(_SURROGATE.search(name) for name in value):
                waiting.append(("\ud800", depth, "A key"))
            waiting.extend((one, depth + 1, name) for name, one in value.items())
        else:
            waiting.extend((one, depth + 1, key) for one in value)


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that hands out the body that was read, then what comes after it (that the caller has gone)."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_again


_ALLOWED = localize("server.body_limit.allowed")
_NO_ADDRESS = localize("server.body_limit.no_address")


def from_base64(text: str, key: str) -> bytes:
    """Return the bytes of an image, with or without "data:image/png;base64," before them. OptionError naming `key`.

    Line breaks, spaces, the URL-safe alphabet and missing padding are read as well.
    """
    if text[:8].lower().startswith(("http://", "https://")):
        raise OptionError(source=SOURCE, key=key, value=text[:60], allowed=_NO_ADDRESS)
    data = "".join(text.rpartition(",")[2].split()).rstrip("=").translate({ord("-"): "+", ord("_"): "/"})
    try:
        return base64.b64decode(data + "=" * (-len(data) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise OptionError(source=SOURCE, key=key, value=text[:20], allowed=_ALLOWED) from None


def fitted(path: Path, size: tuple[int, int], mode: int) -> bytes | None:
    """Return the image file laid over `size` (width, height) by A1111's resize mode, as PNG; None where nothing changes.

    0 stretches it, 2 fits it in and repeats its edges around it. 1 (cover, then cut from the centre) is what the models do
    themselves.
    """
    with Image.open(path) as stored:
        same_ratio = stored.width * size[1] == stored.height * size[0]
        if same_ratio or mode == 1 or min(size) < 1 or max(size) > MAX_SIDE:
            return None
        image = stored.convert("RGB")
    if mode == 2:
        inside = ImageOps.contain(image, size, Image.Resampling.LANCZOS)
        laid = inside.resize(size)
        left, top = (size[0] - inside.width) // 2, (size[1] - inside.height) // 2
        if left or inside.width < size[0]:
            laid = _edges(inside, size, left, across=True)
        elif top or inside.height < size[1]:
            laid = _edges(inside, size, top, across=False)
        laid.paste(inside, (left, top))
    else:
        laid = image.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    laid.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _edges(image: Image.Image, size: tuple[int, int], first: int, across: bool) -> Image.Image:
    """Return an image of `size` filled with the outermost columns (`across`) or rows of `image`."""
    filled = Image.new("RGB", size)
    width, height = image.size
    if across:
        filled.paste(image.crop((0, 0, 1, height)).resize((max(first, 1), size[1])), (0, 0))
        filled.paste(image.crop((width - 1, 0, width, height)).resize((size[0] - first, size[1])), (first, 0))
    else:
        filled.paste(image.crop((0, 0, width, 1)).resize((size[0], max(first, 1))), (0, 0))
        filled.paste(image.crop((0, height - 1, width, height)).resize((size[0], size[1] - first)), (0, first))
    return filled
