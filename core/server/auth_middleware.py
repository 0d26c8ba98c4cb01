"""Guard the whole app, pages, websocket, images and service: who may call, by which name, from which page.

1. The Host header must name this studio, and an Origin header must be its own: a page elsewhere must neither read
   images nor order some (its scripts may point a name of their own at 127.0.0.1, or post to it blindly).
   Access-Control headers are sent to origins that `server.cors_origins` names, for the service alone.
2. Where there is a token or a user, the caller shows one: in an Authorization header, or with a session's cookie that
   the login page gave. Everything asks for it but the login page itself and the word that the server lives.
3. Every answer says what browsers may do with it, and gives the cookie by which a browser finds its jobs. Cookies are never
   allowed to pages of another origin: they show a key of their own.

"""

from __future__ import annotations

import logging
import math
import re
import secrets
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote

import anyio
import anyio.to_thread
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import StudioError
from core.i18n import localize
from core.server import html_pages
from core.server.auth.authenticator import Failures, Keys, Visitor, read_authorization
from core.server.auth.bind_address import LINE, Binding, UnguardedError, behind_proxy, names_this_studio
from core.server.body_limit import RefusedError, Say
from core.server.html_pages import language_of
from core.server.submission import BROWSER_COOKIE, PRIVATE_HEADER, ROLE_HEADER, SIGN, USER_HEADER

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
        elif path == html_pages.LOGIN:
            await (await self._log_in(scope, headers, receive))(scope, receive, send)
        elif (visitor := await self._visitor(scope, headers)) is None:
            await self._ask(scope, headers)(scope, receive, send)
        elif path == html_pages.LOGOUT:
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
        asked = query.get("lang") or html_pages.language_in(query.get("next", ""))
        language, names = language_of(asked, headers), self._keys.has_users
        if scope["method"] != "POST":
            following = html_pages.local_path(query.get("next", "/"))
            session = self._session(headers)
            if session and self._keys.visitor_of(session) is not None:
                return RedirectResponse(following, 303)
            return html_pages.login_page(language, names, following)
        form = await html_pages.read_form(headers, receive)
        following = html_pages.local_path(form.get("next", "/"))
        try:
            visitor = await self._check(scope, form.get("name", ""), form.get("password", ""))
        except TooManyTriesError as error:
            page = html_pages.login_page(language, names, following, "wait", error.seconds, 429)
            page.headers["Retry-After"] = str(error.seconds)
            return page
        if visitor is None:
            return html_pages.login_page(language, names, following, "wrong", status=401)
        answer = RedirectResponse(following, 303)
        self._set_cookie(answer, scope, self._keys.open_session(visitor), self._keys.session_seconds)
        return answer

    def _log_out(self, scope: Scope, headers: Headers, visitor: Visitor) -> Response:
        language = language_of(QueryParams(scope["query_string"]).get("lang"), headers)
        if scope["method"] != "POST":
            return html_pages.logout_page(language, visitor.name)
        self._keys.close_session(self._session(headers))
        answer = RedirectResponse(f"{html_pages.LOGIN}?lang={language}", 303)
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
            answer = RedirectResponse(html_pages.login_address(scope["path"], query), 303)
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


_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_OWN_SOURCES = (  # nothing is loaded from, or sent to, another server, whatever a file name or a prompt makes of a page
    "base-uri 'self'; object-src 'none'; form-action 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' data: blob:; font-src 'self' data:; frame-src 'self' data: blob:"
)
_SELF, _NOBODY = "'self'", "'none'"
_FRAMED = "/component/"  # below it are frames of our own pages


def known_browser(headers: Headers) -> bool:
    """Return True if the request has the cookie of a browser."""
    return f"{BROWSER_COOKIE}=" in headers.get("cookie", "")


def new_browser(scope: Scope, headers: Headers) -> str:
    """Return a cookie for a new browser, "" for other clients, so that it finds its jobs again at the second request."""
    if scope["method"] != "GET" or "text/html" not in headers.get("accept", ""):
        return ""
    secure = "; Secure" if scope.get("scheme") == "https" else ""
    year = 365 * 24 * 3600
    return f"{BROWSER_COOKIE}={secrets.token_urlsafe(16)}; Path=/; Max-Age={year}; HttpOnly; SameSite=Strict{secure}"


def with_headers(send: Send, cookie: str, path: str) -> Send:
    """Return a `send` with these headers on every answer and, where there is one, that cookie."""
    framed = path.startswith(_FRAMED)
    own = {
        **_HEADERS,
        "X-Frame-Options": "SAMEORIGIN" if framed else "DENY",
        "Content-Security-Policy": f"frame-ancestors {_SELF if framed else _NOBODY}; {_OWN_SOURCES}",
    }

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in own.items():
                headers.setdefault(name, value)
            if cookie:
                headers.append("Set-Cookie", cookie)
        await send(message)

    return send_with_headers


CORS_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
CORS_SECONDS = 600  # a browser asks again after this time
_EXPOSED = "Location, Retry-After, X-Model"
_NAMES = re.compile(r"[\w\-, ]{0,1000}")


def allowed_origin(headers: Headers, binding: Binding) -> str:
    """Return the origin of the calling page when the configuration names it, else ""."""
    origin = headers.get("origin", "").lower().rstrip("/")
    if not origin or origin == f"http://{headers.get('host', '').lower()}":
        return ""
    return origin if origin in binding.cors_origins or (binding.any_origin and origin != "null") else ""


def is_preflight(method: str, headers: Headers) -> bool:
    """Return True for the question that a browser asks before a call."""
    return method == "OPTIONS" and "access-control-request-method" in headers


def preflight(headers: Headers) -> Response:
    """Answer it; `with_origin` adds the origin."""
    asked = headers.get("access-control-request-headers", "")
    answer = Response(status_code=204)
    answer.headers["Access-Control-Allow-Methods"] = CORS_METHODS
    answer.headers["Access-Control-Allow-Headers"] = asked if _NAMES.fullmatch(asked) and asked else "Content-Type"
    answer.headers["Access-Control-Max-Age"] = str(CORS_SECONDS)
    if headers.get("access-control-request-private-network") == "true":
        answer.headers["Access-Control-Allow-Private-Network"] = "true"
    return answer


def with_origin(send: Send, headers: Headers) -> Send:
    """Return a `send` whose answers the calling page may read."""
    origin = headers["origin"]

    async def send_with_origin(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer = MutableHeaders(scope=message)
            answer["Access-Control-Allow-Origin"] = origin
            answer["Access-Control-Expose-Headers"] = _EXPOSED
            answer["Cross-Origin-Resource-Policy"] = "cross-origin"
            answer.add_vary_header("Origin")
        await send(message)

    return send_with_origin
