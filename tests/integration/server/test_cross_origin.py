"""Other origins, containers, slashes, HEAD, proxies and signed addresses at the gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from core.errors import OptionError
from core.server.auth.authenticator import Keys
from core.server.auth.bind_address import UnguardedError, behind_proxy, read_binding, read_proxies
from core.server.html_pages import UnknownPaths
from tests.integration.jobs.harness import make_settings
from tests.integration.server.live import Served
from tests.integration.server.test_gate import TOKEN, GatedApp
from tests.options import measured

KOBOLD = "http://localhost:5001"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,authorization"}


@pytest.mark.option("server.cors_origins")
@pytest.mark.parametrize("origin", [KOBOLD, "null", "tauri://localhost"])
def test_named_origin_may_call_the_service(tmp_path: Path, origin: str) -> None:
    client = GatedApp(tmp_path, server__cors_origins=(origin.upper() if origin != "null" else origin,)).client()
    asked = client.options("/sdapi/v1/txt2img", headers={"Origin": origin, **PREFLIGHT})
    assert asked.status_code == 204 and asked.headers["access-control-allow-origin"] == origin
    assert asked.headers["access-control-allow-headers"] == PREFLIGHT["Access-Control-Request-Headers"]
    answer = client.post("/sdapi/v1/options", headers={"Origin": origin, "Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 405, "let in; this route has no POST"
    assert answer.headers["access-control-allow-origin"] == origin
    assert "access-control-allow-credentials" not in answer.headers and "Origin" in answer.headers["vary"]
    measured("server.cors_origins", "http://localhost:5001: its pages may call the service, and no other site's")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:5002", "http://localhost:50011"])
def test_another_origin_may_not(tmp_path: Path, origin: str) -> None:
    client = GatedApp(tmp_path, server__cors_origins=(KOBOLD,)).client()
    for answer in (
        client.options("/sdapi/v1/txt2img", headers={"Origin": origin, **PREFLIGHT}),
        client.get("/sdapi/v1/options", headers={"Origin": origin}),
    ):
        assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers
        assert "server.cors_origins" in answer.text


def test_named_origin_may_not_call_pages_nor_skip_the_key(tmp_path: Path) -> None:
    client = GatedApp(tmp_path, access__token=TOKEN, server__cors_origins=(KOBOLD,)).client()
    assert client.get("/", headers={"Origin": KOBOLD}).status_code == 403
    assert client.get("/v1/models", headers={"Origin": KOBOLD}).status_code == 401
    assert client.options("/v1/models", headers={"Origin": KOBOLD, **PREFLIGHT}).status_code == 204
    showing = {"Origin": KOBOLD, "Authorization": f"Bearer {TOKEN}"}
    assert client.get("/v1/models", headers=showing).status_code == 200


def test_any_origin_needs_a_key(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, **{"server.cors_origins": ("*",)})
    with pytest.raises(UnguardedError):
        read_binding(settings, Keys(settings))
    client = GatedApp(tmp_path, access__token=TOKEN, server__cors_origins=("*",)).client()
    showing = {"Origin": "http://any.example", "Authorization": f"Bearer {TOKEN}"}
    assert client.get("/v1/models", headers=showing).headers["access-control-allow-origin"] == "http://any.example"


@pytest.mark.parametrize("text", ["localhost:5001", "http://a.example/path", "http://", "javascript:alert(1)"])
def test_an_origin_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    settings = make_settings(tmp_path, **{"server.cors_origins": (text,)})
    with pytest.raises(OptionError, match=r"server\.cors_origins"):
        read_binding(settings, Keys(settings))


def test_a_container_is_told_what_to_set(tmp_path: Path) -> None:
    answer = GatedApp(tmp_path).client().get("/sdapi/v1/options", headers={"Host": "host.docker.internal:8501"})
    assert answer.status_code == 403
    assert all(word in answer.text for word in ("host.docker.internal", "token", "configs/local.yaml"))


@pytest.mark.parametrize("path", ["//sdapi/v1/options", "/v1//models", "///api//v1/queue"])
def test_doubled_slashes_reach_the_service_and_its_key(tmp_path: Path, path: str) -> None:
    client = GatedApp(tmp_path, access__token=TOKEN).client()
    assert client.get(f"http://127.0.0.1:8501{path}").status_code == 401
    assert client.get(f"http://127.0.0.1:8501{path}", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_head_is_get_without_a_body(served: Served) -> None:
    import httpx

    for path in ("/sdapi/v1/options", "/v1/models", "/api/v1/capabilities"):
        answer = httpx.head(served.url + path, timeout=60)
        assert answer.status_code == 200 and not answer.content and answer.headers["content-type"] == "application/json"
    assert httpx.head(f"{served.url}/v1/images/generations", timeout=60).status_code == 405


@pytest.mark.option("server.trusted_proxies")
def test_forwarding_headers_are_believed_of_trusted_proxies_alone(tmp_path: Path) -> None:
    gated = GatedApp(tmp_path, access__token=TOKEN)
    for number in range(8):  # whoever may write the header chooses the address that is counted
        headers = {"X-Forwarded-For": f"10.9.9.{number}", "Authorization": f"Bearer wrong {number}"}
        last = gated.client("10.0.0.1").get("/v1/models", headers=headers).status_code
    assert last == 429
    gated = GatedApp(tmp_path, access__token=TOKEN, server__trusted_proxies=("10.0.0.1",))
    for number in range(8):
        headers = {"X-Forwarded-For": "10.9.9.9", "Authorization": f"Bearer wrong {number}"}
        last = gated.client("10.0.0.1").get("/v1/models", headers=headers).status_code
    assert last == 429
    other = {"X-Forwarded-For": "10.9.9.9, 10.9.9.8", "Authorization": "Bearer wrong"}
    assert gated.client("10.0.0.1").get("/v1/models", headers=other).status_code == 401
    measured("server.trusted_proxies", "10.0.0.1: its X-Forwarded-For is the caller; nobody else's is read")


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.7", "1.2.3.4"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "[2001:db8::1]:80", "2001:db8::1"),
        ("10.0.0.1", "1.2.3.4:5678", "1.2.3.4"),
        ("192.168.0.1", "1.2.3.4", "192.168.0.1"),
    ],
)
def test_the_caller_behind_a_proxy(peer: str, forwarded: str, client: str) -> None:
    from starlette.datastructures import Headers

    scope: dict[str, Any] = {"type": "http", "client": (peer, 1), "scheme": "http"}
    headers = Headers({"x-forwarded-for": forwarded, "x-forwarded-proto": "https"})
    seen = behind_proxy(scope, headers, read_proxies(["10.0.0.0/8"]))
    assert seen["client"][0] == client and seen["scheme"] == ("https" if peer.startswith("10.") else "http")


def test_a_proxy_that_is_none_is_refused() -> None:
    with pytest.raises(OptionError, match=r"server\.trusted_proxies"):
        read_proxies(["nginx"])


def test_a_signed_address_needs_no_key_for_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gated = GatedApp(tmp_path, access__token=TOKEN)
    client = gated.client()
    address = gated.keys.sign("/api/v1/images/" + "a" * 32)
    assert client.get(address).status_code == 200 and client.head(address).status_code == 200
    assert client.post(address).status_code == 401
    assert client.get(address.replace("a" * 32, "b" * 32)).status_code == 401
    assert client.get(address.replace("/images/", "/jobs/")).status_code == 401
    assert client.get(address.replace("expires=", "expires=9")).status_code == 401
    assert client.get(gated.keys.sign("/api/v1/queue")).status_code == 401, "images alone"
    monkeypatch.setattr("core.server.auth.authenticator.time.time", lambda: 4e9)
    assert client.get(address).status_code == 401


@pytest.mark.parametrize(
    ("path", "accept", "found"),
    [
        ("/adetailer/v1/version", "*/*", False),
        ("/config", "text/html,*/*", False),
        ("/internal/ping", "application/json", False),
        ("/sdapi/auto-photoshop-sd/heartbeat", "*/*", False),
        ("/sdapi/v1/options", "*/*", True),
        ("/anything", "*/*", False),
        ("/anything", "text/html", True),
        ("/history", "*/*", True),
        ("/", "*/*", True),
        ("/static/js/x.js", "*/*", True),
        ("/_stcore/host-config", "*/*", True),
    ],
)
def test_an_unknown_path_is_404_json_for_programs(path: str, accept: str, found: bool) -> None:
    from starlette.testclient import TestClient

    client = TestClient(UnknownPaths(PlainTextResponse("page"), ["history"]))
    answer = client.get(path, headers={"Accept": accept})
    assert (answer.status_code == 200) is found
    assert found or answer.json()["detail"] == "Not Found"
