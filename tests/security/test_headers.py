"""The headers of every answer: what a page may load, who may frame it, and that nothing is guessed from its bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.server.test_gate import TOKEN, GatedApp

POLICY = {
    "frame-ancestors": "'none'",
    "base-uri": "'self'",
    "object-src": "'none'",
    "form-action": "'self'",
    "connect-src": "'self'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "frame-src": "'self' data: blob:",
}


def policy_of(header: str) -> dict[str, str]:
    return dict(part.strip().split(" ", 1) for part in header.split(";"))


@pytest.mark.parametrize("path", ["/", "/history?image=1", "/api/v1/queue", "/sdapi/v1/options", "/no/such/path"])
@pytest.mark.parametrize("token", ["", TOKEN])
def test_every_answer_says_what_may_be_loaded(tmp_path: Path, path: str, token: str) -> None:
    answer = GatedApp(tmp_path, access__token=token).client().get(path)
    assert policy_of(answer.headers["content-security-policy"]) == POLICY, answer.status_code
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_frames_of_our_own_pages_may_be_framed_by_them_alone(tmp_path: Path) -> None:
    answer = GatedApp(tmp_path).client().get("/component/mask/index.html")
    assert policy_of(answer.headers["content-security-policy"]) == {**POLICY, "frame-ancestors": "'self'"}
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"


def test_a_refusal_has_the_headers_too(tmp_path: Path) -> None:
    gated = GatedApp(tmp_path, access__token=TOKEN)
    foreign = gated.client().post("/api/v1/jobs", headers={"Origin": "http://evil.example"})
    assert foreign.status_code == 403 and foreign.headers["x-frame-options"] == "DENY"
    refused = gated.client().get("/api/v1/queue")
    assert refused.status_code == 401 and refused.headers["x-content-type-options"] == "nosniff"


def test_the_login_page_loads_nothing(tmp_path: Path) -> None:
    answer = GatedApp(tmp_path, access__token=TOKEN).client().get("/login")
    policy = policy_of(answer.headers["content-security-policy"])
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"


def test_the_cookie_of_a_browser_is_kept_from_scripts_and_other_sites(tmp_path: Path) -> None:
    cookie = GatedApp(tmp_path).client().get("/", headers={"Accept": "text/html"}).headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
