"""Render small HTML pages beside Streamlit's with one style, without a script, a font or an image, such as the login."""

from __future__ import annotations

from collections.abc import Collection
from html import escape
from urllib.parse import parse_qs, quote, urlencode

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from core.server.error_responses import Answer, described, nothing_here

# The palettes of .streamlit/config.toml.
_STYLE = """
:root { color-scheme: light dark; --ground: #faf8f5; --card: #efeae3; --ink: #26211c; --quiet: #6b6258;
  --line: #d8d0c5; --act: #96500a; --on-act: #ffffff; --link: #8a4a09; --bad: #a3262f; }
@media (prefers-color-scheme: dark) { :root { --ground: #141210; --card: #211d1a; --ink: #ece5db; --quiet: #a89d90;
  --line: #3a332d; --act: #f2a33a; --on-act: #141210; --link: #f5b25a; --bad: #ff9c93; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); line-height: 1.5;
  font: 16px "Source Sans", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif; }
a { color: var(--link); }
main.small { max-width: 22rem; margin: 12vh auto 2rem; padding: 0 1rem; }
main.wide { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 1rem; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; }
h3 { font-size: .95rem; margin: 1rem 0 .25rem; }
form { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: 1.25rem; }
label { display: block; font-size: .9rem; margin: 0 0 1rem; }
input { display: block; width: 100%; margin-top: .25rem; padding: .55rem .7rem; font: inherit; color: inherit;
  background: var(--ground); border: 1px solid var(--quiet); border-radius: .4rem; }
button { width: 100%; padding: .6rem; font: inherit; font-weight: 600; color: var(--on-act); background: var(--act);
  border: 0; border-radius: .4rem; cursor: pointer; }
:focus-visible { outline: 2px solid var(--act); outline-offset: 2px; }
.bad { color: var(--bad); margin: 0 0 1rem; } .quiet { color: var(--quiet); font-size: .85rem; }
code, pre { font-family: "Source Code Pro", ui-monospace, monospace; font-size: .85rem; overflow-wrap: anywhere; }
pre { background: var(--card); padding: .75rem; border-radius: .4rem; overflow-x: auto; white-space: pre-wrap; }
details { border: 1px solid var(--line); border-radius: .5rem; margin: .5rem 0; background: var(--card); }
summary { padding: .6rem .8rem; cursor: pointer; overflow-wrap: anywhere; }
summary b { display: inline-block; min-width: 4.2rem; color: var(--link); }
.inside { padding: 0 .8rem .8rem; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-top: 1px solid var(--line); }
th { color: var(--quiet); font-weight: 400; }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"


def html_page(title: str, language: str, body: str, status: int = 200, wide: bool = False) -> HTMLResponse:
    """Return a whole page; `body` is HTML, `title` text."""
    words = (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f'<body><main class="{"wide" if wide else "small"}">{body}</main></body></html>'
    )
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
    return HTMLResponse(words, status_code=status, headers=headers)


def language_of(asked: str | None, headers: Headers) -> str:
    """Return the language in the address, else the first language of the browser."""
    if asked in ("zh", "en"):
        return asked
    return "zh" if headers.get("accept-language", "").lower().startswith("zh") else "en"


LOGIN, LOGOUT = "/login", "/logout"
LONGEST_FORM = 8192  # bytes

_WORDS = {
    "en": {
        "title": "Log in · Z Darkroom",
        "heading": "Z Darkroom · 造相暗房",
        "name": "Name",
        "password": "Password",
        "token": "Token",
        "enter": "Log in",
        "wrong": "That is not right. Try again.",
        "wait": "Too many wrong tries from your address. Try again in {seconds} s.",
        "forgotten": "Forgotten? On the studio's own machine: {how}",
        "leave_title": "Log out · Z Darkroom",
        "leave": "Log out",
        "back": "Back to the studio",
    },
    "zh": {
        "title": "登录 · 造相暗房",
        "heading": "Z Darkroom · 造相暗房",
        "name": "用户名",
        "password": "密码",
        "token": "令牌",
        "enter": "登录",
        "wrong": "不正确，请重试。",
        "wait": "您所在地址的错误尝试过多。请在 {seconds} 秒后重试。",
        "forgotten": "忘记了？在运行工作室的电脑上：{how}",
        "leave_title": "退出登录 · 造相暗房",
        "leave": "退出登录",
        "back": "返回工作室",
    },
}
_HOW = {True: "python3 start.py users add NAME", False: "configs/local.yaml, access.token"}


def login_page(
    language: str, with_names: bool, following: str, problem: str = "", seconds: int = 0, status: int = 200
) -> HTMLResponse:
    """Return the form. `problem` is "", "wrong" or "wait" (with `seconds`); `following` is the page to open after it."""
    words = _WORDS[language]
    name = (
        f'<label>{words["name"]}<input name="name" autocomplete="username" maxlength="32" autofocus required></label>'
        if with_names
        else ""
    )
    kind, complete = ("password", "current-password")
    label = words["password" if with_names else "token"]
    problem_text = words[problem].format(seconds=seconds) if problem else ""
    other, other_name = ("en", "English") if language == "zh" else ("zh", "中文")
    turn = escape(f"{LOGIN}?{urlencode({'lang': other, 'next': following})}")
    body = (
        f"<h1>{words['heading']}</h1>"
        f'<form method="post" action="{LOGIN}?lang={language}">'
        + (f'<p class="bad" role="alert">{escape(problem_text)}</p>' if problem_text else "")
        + name
        + f'<label>{label}<input name="password" type="{kind}" autocomplete="{complete}" maxlength="200" '
        + f"{'' if with_names else 'autofocus '}required></label>"
        + f'<input type="hidden" name="next" value="{escape(following)}">'
        + f"<button>{words['enter']}</button></form>"
        + f'<p class="quiet">{words["forgotten"].format(how=f"<code>{_HOW[with_names]}</code>")}</p>'
        + f'<p class="quiet"><a href="{turn}" hreflang="{other}">{other_name}</a></p>'
    )
    return html_page(words["title"], language, body, status)


def logout_page(language: str, name: str) -> HTMLResponse:
    """Return a confirmation: a link of another site must not log anyone out."""
    words = _WORDS[language]
    body = (
        f"<h1>{words['heading']}</h1>"
        f'<form method="post" action="{LOGOUT}?lang={language}"><p>{escape(name)}</p><button>{words["leave"]}</button></form>'
        f'<p class="quiet"><a href="/?lang={language}">{words["back"]}</a></p>'
    )
    return html_page(words["leave_title"], language, body)


def local_path(text: str) -> str:
    """Return a path of this studio to open after logging in; other targets become "/"."""
    plain = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable()
    return text if plain and "\\" not in text else "/"


def login_address(path: str, query: bytes) -> str:
    """Return the address of the login page that leads back to this path."""
    wanted = path + (f"?{query.decode('latin-1')}" if query else "")
    return f"{LOGIN}?next={quote(wanted, safe='/')}" if wanted != "/" else LOGIN


def language_in(address: str) -> str | None:
    """Return the language in an address of the studio, or None."""
    found = parse_qs(address.partition("?")[2]).get("lang")
    return found[0] if found else None


async def read_form(headers: Headers, receive: Receive) -> dict[str, str]:
    """Return the fields of a posted form; {} if it is too long or not a form."""
    body = bytearray()
    more = headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False) and message["type"] == "http.request"
        if len(body) > LONGEST_FORM:
            return {}
    try:
        fields = parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=10)
    except ValueError:
        return {}
    return {name: values[0] for name, values in fields.items()}


_FOLDERS = (  # first parts of paths that are served
    "_stcore", "static", "media", "component", "app", "samples", "api", "v1", "sdapi", "controlnet", "pulse",
    "login", "logout", "metrics",
)  # fmt: skip
_FILES = ("favicon.png", "favicon.ico", "manifest.json", "index.html", "robots.txt")
_OF_PROGRAMS = (  # first parts of paths that other servers of this kind have: never a page, whatever is accepted
    "internal", "sdcpp", "config", "system_stats", "object_info", "sdapi", "v1", "api", "openai", "openapi.json",
    "agent-scheduler", "adetailer", "rembg", "reactor", "tagger", "segment-anything", "deforum_api", "run", "gradio_api", "upload",
)  # fmt: skip


class UnknownPaths:
    """ASGI middleware around the pages. `pages` are the paths of pages, without slashes."""

    def __init__(self, app: ASGIApp, pages: Collection[str]) -> None:
        self.app = app
        self._pages = frozenset(pages)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._is_unknown(scope):
            error = nothing_here()
            body = {"detail": "Not Found", "error": described(error)}
            await Answer(body, status_code=404)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _is_unknown(self, scope: Scope) -> bool:
        first, _, rest = scope["path"].strip("/").partition("/")
        if first in _FOLDERS or first in _FILES:
            return first == "sdapi" and not rest.startswith("v1/")
        if first in _OF_PROGRAMS:
            return True
        if not first or first in self._pages:
            return False
        return "text/html" not in Headers(scope=scope).get("accept", "")
