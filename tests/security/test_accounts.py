"""Roles, sessions that stay closed, and connections that end with their user."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from starlette.websockets import WebSocketDisconnect

from core.server.auth.authenticator import Keys, Visitor
from core.server.auth.users import LastAdminError, Users
from core.storage import passwords
from tests.integration.jobs.harness import make_settings, wait_for
from tests.integration.server.test_gate import LINE, PASSWORD, TOKEN, GatedApp


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "LOG_N", 5)
    monkeypatch.setattr(passwords, "P", 1)
    monkeypatch.setattr(passwords, "NOBODY", f"scrypt$5$8$1${'A' * 22}==${'A' * 43}=")


def test_first_user_is_admin_and_the_last_admin_stays(tmp_path: Path) -> None:
    users = Users(tmp_path)
    users.add("anna", PASSWORD)
    users.add("bert", PASSWORD)
    assert [account.role for account in users.accounts().values()] == ["admin", "user"]
    for change in (lambda: users.set_role("anna", "user"), lambda: users.remove("anna")):
        with pytest.raises(LastAdminError, match="anna"):
            change()
    users.set_role("bert", "admin")
    users.set_role("anna", "user")
    users.add("anna", PASSWORD + "!")
    assert users.accounts()["anna"].role == "user", "another password keeps the role"
    users.remove("anna")
    users.remove("bert")
    assert not users.accounts()


def test_users_of_a_file_without_roles_are_read(tmp_path: Path) -> None:
    (tmp_path / "access").mkdir()
    old = {"version": 1, "users": {"anna": passwords.hashed(PASSWORD), "bert": passwords.hashed(PASSWORD)}}
    (tmp_path / "access" / "users.json").write_text(json.dumps(old))
    keys = Keys(make_settings(tmp_path))
    assert keys.check("anna", PASSWORD) == Visitor("anna", "admin") and keys.check("bert", PASSWORD) == Visitor(
        "bert", "user"
    )


def test_role_is_told_to_the_pages_and_cannot_be_claimed(tmp_path: Path) -> None:
    gated = GatedApp(tmp_path, access__token=TOKEN)
    gated.keys.users.add("anna", PASSWORD)
    gated.keys.users.add("bert", PASSWORD)
    roles: list[str | None] = []

    async def room(request):  # type: ignore[no-untyped-def]
        from starlette.responses import PlainTextResponse

        roles.append(request.headers.get("X-Zdarkroom-Role"))
        return PlainTextResponse("")

    from starlette.routing import Route

    gated.app.router.routes[0] = Route("/{path:path}", room)
    claim = {"X-Zdarkroom-Role": "admin"}
    for key in (("anna", PASSWORD), ("bert", PASSWORD), ("any", TOKEN)):
        assert gated.client().get("/", auth=key, headers=claim).status_code == 200
    assert roles == ["admin", "user", "admin"]


def test_a_session_that_was_closed_stays_closed_after_a_restart(tmp_path: Path) -> None:
    keys = Keys(make_settings(tmp_path, **{"access.token": TOKEN}))
    session, other = keys.open_session(Visitor()), keys.open_session(Visitor())
    keys.close_session(session)
    again = Keys(make_settings(tmp_path, **{"access.token": TOKEN}))
    assert again.visitor_of(session) is None and again.visitor_of(other) == Visitor()


def test_ending_the_sessions_of_a_user_keeps_the_password(tmp_path: Path) -> None:
    keys = Keys(make_settings(tmp_path))
    keys.users.add("anna", PASSWORD)
    session = keys.open_session(Visitor("anna"))
    assert keys.visitor_of(session) == Visitor("anna")
    keys.users.end_sessions("anna")
    assert keys.visitor_of(session) is None and keys.check("anna", PASSWORD) == Visitor("anna")


def test_a_websocket_opened_with_a_header_ends_with_its_user(tmp_path: Path) -> None:
    gated = GatedApp(tmp_path, access__token=TOKEN)
    gated.keys.users.add("anna", "plain password")
    client = gated.client()
    header = {"Authorization": "Bearer anna:plain password"}
    with client.websocket_connect(LINE, headers=header) as line:
        line.send_text("a")
        assert line.receive_text() == "A"
        gated.keys.users.remove("anna")
        line.send_text("b")
        wait_for(lambda: len(gated.heard) == 2)
    assert gated.heard == ["a", "1008"], "what is said after the user is gone is not heard"
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(LINE, headers=header):
        pass
