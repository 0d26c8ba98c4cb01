"""Who is let in: nobody without a key where there is one, and nobody at all where others could call an unguarded studio."""

from __future__ import annotations

import logging
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import webuiapi
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from core.config.loader import PROJECT_ROOT, load_settings
from core.errors import ConfigFileError, OptionError, SecretShownError, StudioError
from core.server import BROWSER_COOKIE, gate
from core.server.auth import authenticator
from core.server.auth.authenticator import Failures, Keys, read_authorization
from core.server.auth.bind_address import UnguardedError, WeakTokenError, names_this_studio, read_binding
from core.server.auth.users import Users, UsersFileError
from core.storage import passwords
from tests.integration.jobs.harness import make_settings, wait_for
from tests.integration.server.live import Served, serving
from tests.options import measured

TOKEN = "a-token-of-24-characters"
PASSWORD = "correct horse 马"
HERE = "http://127.0.0.1:8501"
LINE = "ws://127.0.0.1:8501/_stcore/stream"
PATHS = ("/api/v1/jobs", "/api/v1/images/x", "/api/openapi.json", "/api/docs", "/v1/models", "/sdapi/v1/options")


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash is to take long; here a thousandth of it."""
    monkeypatch.setattr(passwords, "LOG_N", 5)
    monkeypatch.setattr(passwords, "P", 1)
    monkeypatch.setattr(passwords, "NOBODY", f"scrypt$5$8$1${'A' * 22}==${'A' * 43}=")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("outputs"), **{"access.token": TOKEN}) as running:
        yield running


class GatedApp:
    """A few routes behind the authentication, over settings of a test's own."""

    def __init__(self, folder: Path, **values: Any) -> None:
        self.settings = make_settings(folder, **{key.replace("__", "."): value for key, value in values.items()})
        self.keys = Keys(self.settings)
        self.heard: list[str] = []  # over the websocket
        routes = [Route("/{path:path}", self.answer), WebSocketRoute("/_stcore/stream", self.line)]
        self.app = Starlette(routes=routes, middleware=[gate(self.keys, read_binding(self.settings, self.keys))])

    async def answer(self, request: Any) -> PlainTextResponse:
        return PlainTextResponse(f"for {request.headers.get('X-Zdarkroom-User')}")

    async def line(self, socket: WebSocket) -> None:
        await socket.accept()
        try:
            while True:
                self.heard.append(await socket.receive_text())
                await socket.send_text(self.heard[-1].upper())
        except WebSocketDisconnect as end:
            self.heard.append(str(end.code))

    def client(self, address: str = "127.0.0.1") -> TestClient:
        return TestClient(self.app, base_url=HERE, client=(address, 1), follow_redirects=False)


def log_in(client: TestClient, name: str = "", password: str = TOKEN, following: str = "/") -> Any:
    return client.post("/login", data={"name": name, "password": password, "next": following})


# -- every way in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_the_service_answers_nobody_without_a_key(guarded: Served, path: str) -> None:
    answer = httpx.get(guarded.url + path, timeout=60)
    assert answer.status_code == 401 and "Bearer" in answer.text
    assert answer.headers["www-authenticate"].startswith("Basic" if "sdapi" in path else "Bearer")
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("wrong", ["Bearer x", f"Basic {TOKEN}", f"Token {TOKEN}", "Bearer", "Basic eDp5"])
def test_a_wrong_key_is_none(tmp_path: Path, wrong: str) -> None:
    client = GatedApp(tmp_path, access__token=TOKEN).client()
    assert client.get("/v1/models", headers={"Authorization": wrong}).status_code == 401


@pytest.mark.option("access.token")
def test_the_clients_of_others_get_in_with_the_token(guarded: Served) -> None:
    with openai.OpenAI(base_url=f"{guarded.url}/v1", api_key=TOKEN, timeout=60) as client:
        assert [model.id for model in client.models.list()]
    generated = webuiapi.WebUIApi(port=guarded.port, username="any", password=TOKEN)
    assert generated.txt2img(prompt="a house", width=64, height=64, steps=2, cfg_scale=1, seed=5).image.size == (64, 64)
    with openai.OpenAI(base_url=f"{guarded.url}/v1", api_key="wrong", timeout=60, max_retries=0) as client:
        with pytest.raises((openai.AuthenticationError, openai.RateLimitError)):
            client.models.list()
    measured("access.token", "the OpenAI and A1111 clients get in with it, and not with another")


def test_a_browser_is_known_from_its_first_page_on(tmp_path: Path) -> None:
    client = GatedApp(tmp_path).client()
    page = {"Accept": "text/html"}
    first = client.get("/", headers=page).headers["set-cookie"]
    assert all(word in first for word in (BROWSER_COOKIE, "HttpOnly", "SameSite=Strict", "Path=/"))
    assert "set-cookie" not in client.get("/", headers=page).headers, "it has one"
    assert "set-cookie" not in GatedApp(tmp_path / "other").client().get("/v1/models").headers, "a program needs none"


@pytest.mark.parametrize(
    "path", ["/", "/history", "/static/x.js", "/samples/a.webp", "/_stcore/host-config", "//login"]
)
def test_every_page_leads_to_the_login_and_back(tmp_path: Path, path: str) -> None:
    client = GatedApp(tmp_path, access__token=TOKEN).client()
    assert client.get(path).status_code == 401
    asked = client.get(f"{path}?job=1", headers={"Accept": "text/html,*/*"})
    assert asked.status_code == 303 and asked.headers["location"].startswith("/login?next=")
    form = client.get(asked.headers["location"], headers={"Accept-Language": "zh-CN"})
    assert "令牌" in form.text and "script-src" not in form.headers["content-security-policy"]
    assert log_in(client, following=f"{path}?job=1").status_code == 303
    assert client.get("/history").text == "for "


def test_the_word_that_the_server_lives_is_free_and_nothing_beside_it(tmp_path: Path) -> None:
    client = GatedApp(tmp_path, access__token=TOKEN).client()
    assert client.get("/_stcore/health").status_code == 200
    assert client.get("/_stcore/health/").status_code == 401 and client.get("/_stcore/stream").status_code == 401


def test_a_websocket_needs_a_session_and_ends_with_it(tmp_path: Path) -> None:
    gated = GatedApp(tmp_path, access__token=TOKEN)
    client = gated.client()
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(LINE):
        pass
    log_in(client)
    cookie = {"Cookie": "; ".join(f"{name}={value}" for name, value in client.cookies.items())}
    with client.websocket_connect(LINE, headers=cookie) as line:
        line.send_text("a")
        assert line.receive_text() == "A"
        assert client.post("/logout").status_code == 303
        line.send_text("b")
        wait_for(lambda: len(gated.heard) == 2)
    assert gated.heard == ["a", "1008"], "what is said after the session is not heard"
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(LINE, headers=cookie):
        pass


# -- sessions ----------------------------------------------------------------------------------------------------------


@pytest.mark.option("access.session_hours")
def test_a_session_is_a_strict_cookie_that_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gated = GatedApp(tmp_path, access__token=TOKEN, access__session_hours=1.0)
    client = gated.client()
    answer = log_in(client)
    kept = answer.headers["set-cookie"]
    assert (
        all(word in kept for word in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=3600")) and "Secure" not in kept
    )
    assert TOKEN not in kept and answer.headers["location"] == "/"
    assert client.get("/").status_code == 200
    session = client.cookies["zdarkroom_session_8501"]
    for forged in (session[:-9] + session[-8:], "x." + session, session.partition(".")[0], ""):
        showing = {"Cookie": f"zdarkroom_session_8501={forged}"}
        assert gated.client().get("/", headers=showing).status_code == 401
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: __import__("time").monotonic() + 4e9)
    assert gated.keys.visitor_of(session) is None, "too old"
    measured("access.session_hours", "1: the cookie ends after 3600 s, and is refused when it is too old")


def test_another_token_or_password_ends_sessions_and_a_restart_does_not(tmp_path: Path) -> None:
    gated = GatedApp(tmp_path, access__token=TOKEN)
    session = gated.keys.open_session(authenticator.Visitor())
    assert GatedApp(tmp_path, access__token=TOKEN).keys.visitor_of(session) is not None
    assert GatedApp(tmp_path, access__token=TOKEN + "x").keys.visitor_of(session) is None
    users = gated.keys.users
    users.add("anna", PASSWORD)
    of_anna = gated.keys.open_session(authenticator.Visitor("anna"))
    assert gated.keys.visitor_of(of_anna) == authenticator.Visitor("anna")
    users.add("anna", PASSWORD + "!")
    assert gated.keys.visitor_of(of_anna) is None
    again = gated.keys.open_session(authenticator.Visitor("anna"))
    users.remove("anna")
    assert gated.keys.visitor_of(again) is None


@pytest.mark.parametrize(
    "following", ["https://evil.example/", "//evil.example", "/\\evil.example", "x", "/\r\nSet-Cookie: a=b"]
)
def test_a_login_leads_nowhere_else(tmp_path: Path, following: str) -> None:
    assert log_in(GatedApp(tmp_path, access__token=TOKEN).client(), following=following).headers["location"] == "/"


# -- users -------------------------------------------------------------------------------------------------------------


def test_users_are_known_by_name_everywhere(tmp_path: Path) -> None:
    gated = GatedApp(tmp_path)
    client = gated.client()
    assert client.get("/").text == "for None", "open to this machine while there is no key"
    gated.keys.users.add("安娜", PASSWORD)
    assert client.get("/", headers={"X-Zdarkroom-User": "bob"}).status_code == 401, "guarded from the first user on"
    assert log_in(client, "安娜", PASSWORD + "x").status_code == 401
    assert log_in(client, "安娜", PASSWORD).status_code == 303
    assert client.get("/", headers={"X-Zdarkroom-User": "bob"}).text == "for %E5%AE%89%E5%A8%9C"
    script = gated.client()
    assert script.get("/", auth=("安娜", PASSWORD)).status_code == 200
    bearer = f"Bearer 安娜:{PASSWORD}".encode()
    assert script.get("/", headers={"Authorization": bearer}).status_code == 200


def test_what_is_kept_of_a_password(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    gated = GatedApp(tmp_path, access__token=TOKEN)
    gated.keys.users.add("anna", PASSWORD)
    gated.keys.users.add("bert", PASSWORD)
    client = gated.client()
    log_in(client, "anna", PASSWORD)
    log_in(client, "anna", "a wrong password")
    hashes = gated.keys.users.hashes()
    assert hashes["anna"] != hashes["bert"] and hashes["anna"].startswith("scrypt$")
    for file in (tmp_path / "access").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600 and PASSWORD not in file.read_text("utf-8")
    assert stat.S_IMODE((tmp_path / "access").stat().st_mode) == 0o700
    for secret in (PASSWORD, TOKEN, "a wrong password"):
        assert secret not in caplog.text
    assert "a wrong key from 127.0.0.1" in caplog.text


def test_a_users_file_that_cannot_be_read_lets_nobody_in(tmp_path: Path) -> None:
    gated = GatedApp(tmp_path)
    gated.keys.users.add("anna", PASSWORD)
    client = gated.client()
    (tmp_path / "access" / "users.json").write_text("{")
    assert client.get("/").status_code == 503
    with pytest.raises(UsersFileError):
        assert gated.keys.guarded


def test_secrets_are_compared_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the function that is used: timing itself can't be measured here."""
    seen: list[object] = []
    real = authenticator.hmac.compare_digest
    monkeypatch.setattr(
        authenticator.hmac, "compare_digest", lambda one, other: (seen.append(other), real(one, other))[1]
    )
    gated = GatedApp(tmp_path, access__token=TOKEN)
    gated.keys.users.add("anna", PASSWORD)
    assert gated.keys.check("nobody", "wrong") is None
    assert len(seen) == 2, "the token, and a hash although there is no such user"
    assert gated.keys.check("anna", PASSWORD) == authenticator.Visitor("anna")


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("Bearer abc", ("", "abc")),
        ("bearer  a:b:c", ("a", "b:c")),
        ("Basic YTpi", ("a", "b")),
        ("Basic YWI=", None),
        ("Basic ???", None),
        ("Digest x", None),
        ("", None),
    ],
)
def test_what_a_header_shows(header: str, key: tuple[str, str] | None) -> None:
    assert read_authorization(header) == key


# -- how often ---------------------------------------------------------------------------------------------------------


def test_after_five_wrong_tries_an_address_has_to_wait(tmp_path: Path) -> None:
    gated = GatedApp(tmp_path, access__token=TOKEN)
    client, other = gated.client("10.0.0.1"), gated.client("10.0.0.2")
    assert [log_in(client, password=f"wrong {n}").status_code for n in range(7)] == [401] * 5 + [429] * 2
    refused = client.get("/v1/models", headers={"Authorization": "Bearer another"})
    assert refused.status_code == 429 and 0 < int(refused.headers["retry-after"]) <= 60
    page = log_in(client, password="one more")
    assert page.status_code == 429 and "Try again in" in page.text and int(page.headers["retry-after"]) > 0
    assert client.get("/v1/models", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200, "a right key"
    assert log_in(other).status_code == 303
    assert other.get("/").status_code == 200


def test_waiting_ends_and_an_ipv6_network_is_one_address() -> None:
    now = [0.0]
    tries = Failures(lambda: now[0])
    for number in range(authenticator.MOST):
        assert tries.wait("2001:db8::1") == 0
        tries.add(f"2001:db8::{number}")
    assert tries.wait("2001:db8::ffff") == authenticator.SECONDS and tries.wait("2001:db8:0:1::1") == 0
    now[0] = authenticator.SECONDS + 1
    assert tries.wait("2001:db8::1") == 0
    tries.add("::ffff:10.0.0.1", "anna", b"key")
    assert {network for network, _ in tries._tries} == {"2001:db8::/64", "10.0.0.1"}
    assert tries.is_known("10.0.0.1", b"key") and not tries.is_known("10.0.0.2", b"key")


def test_rate_limit_counts_names_apart_and_an_address_in_all() -> None:
    tries = Failures(lambda: 0.0)
    for _ in range(authenticator.MOST):
        tries.add("10.0.0.1", "anna")
    assert tries.wait("10.0.0.1", "anna") > 0 and tries.wait("10.0.0.1", "bert") == 0
    for number in range(authenticator.MOST_OF_ADDRESS):
        tries.add("10.0.0.1", f"name {number}")
    assert tries.wait("10.0.0.1", "bert") > 0


def test_stale_key_does_not_lock_out_its_neighbours(tmp_path: Path) -> None:
    gated = GatedApp(tmp_path, access__token=TOKEN)
    gated.keys.users.add("anna", PASSWORD)
    client = gated.client()
    stale = {"Authorization": "Bearer an-old-token"}
    assert [client.get("/v1/models", headers=stale).status_code for _ in range(9)] == [401] * 9
    assert client.get("/v1/models", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert client.get("/v1/models", auth=("anna", PASSWORD)).status_code == 200, "never shown before"


# -- where it listens --------------------------------------------------------------------------------------------------


@pytest.mark.option("server.host")
@pytest.mark.parametrize(
    "values", [{"server.host": "0.0.0.0"}, {"server.host": "::"}, {"server.allowed_hosts": ("a.example",)}]
)
def test_nobody_else_is_let_in_without_a_key(tmp_path: Path, values: dict[str, Any]) -> None:
    settings = make_settings(tmp_path, **values)
    with pytest.raises(UnguardedError) as caught:
        read_binding(settings, Keys(settings))
    assert 'access: {token: "' in str(caught.value) and "users add" in caught.value.message("zh")
    Users(tmp_path).add("anna", PASSWORD)
    assert read_binding(settings, Keys(settings)).for_others
    gated = GatedApp(tmp_path, **{key.replace(".", "__"): value for key, value in values.items()})
    gated.keys.users.remove("anna")
    assert gated.client().get("/").status_code == 503, "the last user was removed while it runs"
    measured("server.host", "0.0.0.0 without token or user: does not start; once the last user is gone: status 503")


@pytest.mark.parametrize(
    "token", ["short", "<at least 16 characters>", "sixteen letters and spaces", "with:a:colon:in:it", "密" * 20]
)
def test_a_weak_token_is_refused_and_not_said(tmp_path: Path, token: str) -> None:
    settings = make_settings(tmp_path, **{"access.token": token})
    with pytest.raises(WeakTokenError) as caught:
        read_binding(settings, Keys(settings))
    assert token not in str(caught.value)


@pytest.mark.parametrize("address", ["", "everywhere", "unix:///tmp/x", "127.0.0.1:80"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, address: str) -> None:
    settings = make_settings(tmp_path, **{"server.host": address})
    with pytest.raises(OptionError, match=r"server\.host"):
        read_binding(settings, Keys(settings))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("access: {token: [1]}", OptionError),
        ("access: {tokn: abcdefghijklmnop}", StudioError),
        ("access: {token: 'abc", ConfigFileError),
        ("access: {token: *abcdefghijklmnop}", ConfigFileError),
    ],
)
def test_a_setting_that_guards_never_falls_back_to_nothing(
    configs: Path, tmp_path: Path, text: str, kind: type
) -> None:
    (configs / "local.yaml").write_text(text)
    settings = load_settings(configs, overrides={"output.directory": str(tmp_path)})
    with pytest.raises(kind) as caught:
        read_binding(settings, Keys(settings))
    assert "abcdefghijklmnop" not in str(caught.value) and "[1]" not in str(caught.value)


def test_other_broken_settings_still_start(configs: Path, tmp_path: Path) -> None:
    (configs / "local.yaml").write_text("vae: {")
    settings = load_settings(configs, overrides={"output.directory": str(tmp_path)})
    assert not read_binding(settings, Keys(settings)).for_others


def test_a_token_on_the_command_line_is_refused(configs: Path) -> None:
    problems = load_settings(configs, overrides={"access.token": TOKEN}).problems
    assert isinstance(problems[0], SecretShownError) and TOKEN not in str(problems[0])
    assert load_settings(configs, {"ZDARKROOM_ACCESS__TOKEN": TOKEN})["access.token"] == TOKEN
    assert load_settings(configs, {"ZDARKROOM_TOKEN": TOKEN})["access.token"] == "", "that is another studio's"


@pytest.mark.option("server.host", "server.allowed_hosts")
@pytest.mark.parametrize(
    ("values", "host", "known"),
    [
        ({}, "127.0.0.1:8501", True),
        ({}, "192.168.1.20:8501", False),
        ({}, "[::1]:8501", True),
        ({}, "localhost:8501@evil.example", False),
        ({}, "localhost:", True),
        ({"server.host": "0.0.0.0"}, "192.168.1.20:8501", True),
        ({"server.host": "0.0.0.0"}, "[fd00::1]:8501", True),
        ({"server.host": "0.0.0.0"}, "evil.example", False),
        ({"server.host": "0.0.0.0"}, "192.168.1.20.evil.example", False),
        ({"server.host": "0.0.0.0"}, "", False),
        ({"server.allowed_hosts": ("Studio.Example",)}, "studio.example:443", True),
        ({"server.allowed_hosts": ("studio.example",)}, "other.example", False),
    ],
)
def test_names_of_the_studio(tmp_path: Path, values: dict[str, Any], host: str, known: bool) -> None:
    settings = make_settings(tmp_path, **{"access.token": TOKEN, **values})
    assert names_this_studio(host, read_binding(settings, Keys(settings))) is known
    measured("server.allowed_hosts", "studio.example: known by this name, refused by another")


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_no_other_site_can_log_anyone_in_or_out(tmp_path: Path, headers: dict[str, str]) -> None:
    client = GatedApp(tmp_path, access__token=TOKEN).client()
    data = {"password": TOKEN}
    assert client.post("/login", data=data, headers=headers).status_code == 403
    log_in(client)
    assert client.post("/logout", headers=headers).status_code == 403
    assert client.get("/").status_code == 200


def test_the_app_itself_refuses_to_be_open(tmp_path: Path) -> None:
    """As `start.py` starts it: one process, no port taken, exit code 2."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {"ZDARKROOM_OUTPUT__DIRECTORY": str(tmp_path), "ZDARKROOM_SERVER__HOST": "0.0.0.0"}
    environment = {**variables, "ZDARKROOM_SERVER__PORT": str(port), "PYTHONPATH": str(PROJECT_ROOT), "PYTHONUTF8": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "ui.serve"],
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert 'access: {token: "<at least 16 characters of your own>"}' in done.stderr and "自己选的" in done.stderr
