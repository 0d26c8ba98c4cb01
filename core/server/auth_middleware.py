"""Guard the whole app, pages, websocket, images and service: who may call, by which name, from which page.

1. The Host header must name this studio, and an Origin header must be its own: a page elsewhere must neither read
   images nor order some (its scripts may point a name of their own at 127.0.0.1, or post to it blindly).
   Access-Control headers are sent to origins that `server.cors_origins` names, for the service alone.
2. Where there is a token or a user, the caller shows one: in an Authorization header, or with a session's cookie that
   the login page gave. Everything asks for it but the login page itself and the word that the server lives.

"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote

import anyio
import anyio.to_thread
from starlette.datastructures import Headers, QueryParams
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import StudioError
from core.i18n import localize
from core.server import login
from core.server.auth.authenticator import Keys, Visitor, read_authorization
from core.server.auth.bind_address import LINE, Binding, UnguardedError, names_this_studio
from core.server.auth.proxies import behind_proxy
from core.server.auth.rate_limit import Failures
from core.server.body_limit import RefusedError, Say
from core.server.page import language_of
from core.server.response_headers import (
    allowed_origin,
    is_preflight,
    known_browser,
    new_browser,
    preflight,
    with_headers,
    with_origin,
)
from core.server.submission import PRIVATE_HEADER, ROLE_HEADER, SIGN, USER_HEADER

_CONTAINER_NAMES = ("host.docker.internal", "gateway.docker.internal", "host.containers.internal")
_SLASHES = re.compile("/{2,}")
SIGNED = "/api/v1/images/"  # below it, an address may carry a signature instead of a key
OPEN_PATHS = ("/_stcore/health",)  # says "ok" and nothing else
COOKIE = "zdarkroom_session"

log = logging.getLogger(__name__)


class TooManyTriesError(StudioError):
    """Too many failed logins from one address."""

    @property
    def seconds(self) -> int:
        """Return the seconds until the next try."""
        return int(self.values["seconds"])


class Gate:
    """ASGI middleware. `dialects` maps the first part of a path to the format of refusals, `otherwise` is for the rest."""

    def __init__(self, app: ASGIApp, keys: Keys, binding: Binding, dialects: Mapping[str, Say], otherwise: Say) -> None:
        self.app = app
        self._keys = keys
        self._binding = binding
        self._dialects = dialects
        self._otherwise = otherwise
        self._failures = Failures()
        self._cookie = f"{COOKIE}_{binding.port}"  # a browser sends its cookies to every port of a host
        self._hashing: anyio.Lock | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        scope = self._single_slashes(behind_proxy(scope, headers, self._binding.proxies))
        origin = ""
        if scope["type"] == "http":
            send = with_headers(send, "" if known_browser(headers) else new_browser(scope, headers), scope["path"])
            if self._dialect(scope) is not None and (origin := allowed_origin(headers, self._binding)):
                send = with_origin(send, headers)
        foreign = _foreign(headers, scope.get("method", "GET"), self._binding, bool(origin))
        if foreign is not None:
            await self._refuse(foreign, 403)(scope, receive, send)
            return
        if origin and is_preflight(scope["method"], headers):
            await preflight(headers)(scope, receive, send)
            return
        try:
            await self._let_in(scope, headers, receive, send)
        except TooManyTriesError as error:
            await self._refuse(error, 429)(scope, receive, send)
        except StudioError as error:  # the users or the secret can't be read: nobody is let in
            log.error("nobody can be let in: %s", error)
            await self._refuse(error, 503)(scope, receive, send)

    async def _let_in(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" else ""
        guarded = self._keys.guarded
        if path in OPEN_PATHS or not (guarded or self._binding.for_others) or (guarded and self._is_signed(scope)):
            await self.app(_named(scope, None, False), receive, send)
        elif not guarded:  # the last user was removed while others could call
            raise UnguardedError(key="server.host", line=LINE)
        elif path == login.LOGIN:
            await (await self._log_in(scope, headers, receive))(scope, receive, send)
        elif (visitor := await self._visitor(scope, headers)) is None:
            await self._ask(scope, headers)(scope, receive, send)
        elif path == login.LOGOUT:
            await self._log_out(scope, headers, visitor)(scope, receive, send)
        else:
            if scope["type"] == "websocket":
                receive = self._while_valid(headers, receive)
            await self.app({**_named(scope, visitor, self._keys.has_users), SIGN: self._keys.sign}, receive, send)

    def _is_signed(self, scope: Scope) -> bool:
        """Return True for an image's address that the service signed."""
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or not scope["path"].startswith(SIGNED):
            return False
        return self._keys.is_signed(scope["path"], QueryParams(scope["query_string"]))

    def _single_slashes(self, scope: Scope) -> Scope:
        """Return the scope of a service call without doubled slashes: a base URL often ends with one."""
        path = _SLASHES.sub("/", scope["path"])
        single = {**scope, "path": path, "raw_path": _SLASHES.sub("/", quote(path)).encode()}
        return single if path != scope["path"] and self._dialect(single) is not None else scope

    # -- who it is ---------------------------------------------------------------------------------------------------

    async def _visitor(self, scope: Scope, headers: Headers) -> Visitor | None:
        """By header, else by session. TooManyTriesError."""
        shown = headers.get("authorization")
        if shown is not None and (key := read_authorization(shown)) is not None:
            return await self._check(scope, *key)
        session = self._session(headers)
        return self._keys.visitor_of(session) if session else None

    async def _check(self, scope: Scope, name: str, password: str) -> Visitor | None:
        """Return whom this key belongs to. A right one that is known is never refused; a wrong one counts once.

        Hashes are computed one at a time, as each takes memory and tenths of a second. Raises TooManyTriesError.
        """
        address = (scope.get("client") or ("",))[0]
        if (visitor := self._keys.known(name, password)) is not None:
            return visitor
        shown = self._keys.digest(name, password)
        if self._failures.is_known(address, shown):
            return None
        self._demand_patience(address, name)
        self._hashing = self._hashing or anyio.Lock()
        async with self._hashing:
            self._demand_patience(address, name)
            visitor = await anyio.to_thread.run_sync(self._keys.check, name, password)
            if visitor is None:
                self._failures.add(address, name, shown)
                log.warning("a wrong key from %s", address)
        return visitor

    def _demand_patience(self, address: str, name: str) -> None:
        if seconds := math.ceil(self._failures.wait(address, name)):
            raise TooManyTriesError(seconds=seconds)

    def _session(self, headers: Headers) -> str:
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return ""
        return cookies[self._cookie].value if self._cookie in cookies else ""

    def _while_valid(self, headers: Headers, receive: Receive) -> Receive:
        """Return a `receive` that ends a page's connection with the key or session that opened it."""

        async def receive_while_valid() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive" and self._still(headers) is None:
                return {"type": "websocket.disconnect", "code": 1008}
            return message

        return receive_while_valid

    def _still(self, headers: Headers) -> Visitor | None:
        """Return whose connection it is, without hashing anything."""
        shown = headers.get("authorization")
        if shown is not None and (key := read_authorization(shown)) is not None:
            return self._keys.known(*key)
        return self._keys.visitor_of(self._session(headers))

    # -- login -------------------------------------------------------------------------------------------------------

    async def _log_in(self, scope: Scope, headers: Headers, receive: Receive) -> Response:
        query = QueryParams(scope["query_string"])
        asked = query.get("lang") or login.language_in(query.get("next", ""))
        language, names = language_of(asked, headers), self._keys.has_users
        if scope["method"] != "POST":
            following = login.local_path(query.get("next", "/"))
            session = self._session(headers)
            if session and self._keys.visitor_of(session) is not None:
                return RedirectResponse(following, 303)
            return login.login_page(language, names, following)
        form = await login.read_form(headers, receive)
        following = login.local_path(form.get("next", "/"))
        try:
            visitor = await self._check(scope, form.get("name", ""), form.get("password", ""))
        except TooManyTriesError as error:
            page = login.login_page(language, names, following, "wait", error.seconds, 429)
            page.headers["Retry-After"] = str(error.seconds)
            return page
        if visitor is None:
            return login.login_page(language, names, following, "wrong", status=401)
        answer = RedirectResponse(following, 303)
        self._set_cookie(answer, scope, self._keys.open_session(visitor), self._keys.session_seconds)
        return answer

    def _log_out(self, scope: Scope, headers: Headers, visitor: Visitor) -> Response:
        language = language_of(QueryParams(scope["query_string"]).get("lang"), headers)
        if scope["method"] != "POST":
            return login.logout_page(language, visitor.name)
        self._keys.close_session(self._session(headers))
        answer = RedirectResponse(f"{login.LOGIN}?lang={language}", 303)
        self._set_cookie(answer, scope, "", 0)
        answer.headers["Clear-Site-Data"] = '"cache"'  # the images that the browser has kept
        return answer

    def _set_cookie(self, answer: Response, scope: Scope, value: str, seconds: int) -> None:
        secure = scope.get("scheme") == "https"
        answer.set_cookie(self._cookie, value, seconds, httponly=True, samesite="strict", secure=secure)
        answer.headers["Cache-Control"] = "no-store"

    # -- no ----------------------------------------------------------------------------------------------------------

    def _ask(self, scope: Scope, headers: Headers) -> ASGIApp:
        """To the login page where a person looks, else 401."""
        looks = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if looks and "text/html" in headers.get("accept", "") and self._dialect(scope) is None:
            query = scope.get("query_string", b"")
            answer = RedirectResponse(login.login_address(scope["path"], query), 303)
            answer.headers["Cache-Control"] = "no-store"
            return answer
        return self._refuse(_nobody(), 401)

    def _dialect(self, scope: Scope) -> Say | None:
        return next((say for path, say in self._dialects.items() if f"{scope['path']}/".startswith(f"{path}/")), None)

    def _refuse(self, error: StudioError, status: int) -> ASGIApp:
        async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1008})
                return
            answer = (self._dialect(scope) or self._otherwise)(error, status)
            if status == 401:  # a browser must not ask by itself: the login page does
                basic = f"{scope['path']}/".startswith("/sdapi/")
                answer.headers["WWW-Authenticate"] = 'Basic realm="Z Darkroom"' if basic else "Bearer"
            if isinstance(error, TooManyTriesError):
                answer.headers["Retry-After"] = str(error.seconds)
            answer.headers["Cache-Control"] = "no-store"
            await answer(scope, receive, send)

        return refuse


def _nobody() -> RefusedError:
    return RefusedError(reason=localize("server.auth_middleware.this_studio_asks_who_you_are"))


def _foreign(headers: Headers, method: str, binding: Binding, allowed: bool) -> RefusedError | None:
    """Return why this call is refused: by the name it calls, or by the page that it comes from (unless `allowed`)."""
    host, origin = headers.get("host", ""), headers.get("origin")
    if not names_this_studio(host, binding):
        if (container := host.partition(":")[0].lower()) in _CONTAINER_NAMES:
            reason = localize("server.auth_middleware.a_program_in_a_container_calls", container=container)
        elif binding.for_others:
            reason = localize("server.auth_middleware.the_studio_is_not_known_by")
        else:
            reason = localize("server.auth_middleware.this_address_serves_its_own_machine")
        return RefusedError(reason=reason)
    own = (f"http://{host.lower()}", f"https://{host.lower()}")
    if allowed:
        return None
    from_elsewhere = headers.get("sec-fetch-site") == "cross-site" and method not in ("GET", "HEAD")
    if from_elsewhere or (origin is not None and origin.lower() not in own):
        return RefusedError(reason=localize("server.auth_middleware.a_page_of_another_site_may"))
    return None


def _named(scope: Scope, visitor: Visitor | None, private: bool) -> Scope:
    """Return the scope with the visitor's name and role in headers that nobody else can set.

    `private`: there are users, and each has own images and jobs.
    """
    name, role, own = (header.lower().encode() for header in (USER_HEADER, ROLE_HEADER, PRIVATE_HEADER))
    kept = [(key, value) for key, value in scope["headers"] if key.lower() not in (name, role, own)]
    if private:
        kept.append((own, b"1"))
    if visitor is not None:
        kept += [(name, quote(visitor.name).encode("ascii")), (role, visitor.role.encode("ascii"))]
    return {**scope, "headers": kept}
