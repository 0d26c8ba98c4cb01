"""Serve the login page, a form without scripts, and the page that logs out."""

from __future__ import annotations

from html import escape
from urllib.parse import parse_qs, quote, urlencode

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse
from starlette.types import Receive

from core.server.page import html_page

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
