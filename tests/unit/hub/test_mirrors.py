"""Tokens go to the hub and to addresses of the configuration, never to a mirror that was typed."""

from __future__ import annotations

import pytest
import requests

from core.models.hub import hub_api
from core.models.hub.hub_api import HubError, demand_public, guard_session, may_have_token, typed_mirror


@pytest.mark.parametrize(
    "text",
    [
        "http://hub.example", "https://hub.example/api/v1/", "https://hub.example?x=1", "https://a:b@hub.example",
        "https://hub.example:22", "https://hub.example:x", "ftp://hub.example", "https://", "file:///etc/passwd",
        "https://hub.example#x",
    ],
)  # fmt: skip
def test_typed_mirror_is_a_plain_https_address(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_api, "demand_public", lambda host: None)
    with pytest.raises(HubError) as caught:
        typed_mirror(text)
    assert caught.value.kind == "mirror"
    assert typed_mirror("hub.example") == "https://hub.example"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "10.0.0.1", "192.168.1.1", "169.254.169.254", "::1", "fe80::1", "0.0.0.0", "::ffff:10.0.0.1",
             "100.64.0.1", "224.0.0.1", "2130706433", "0x7f000001", "127.1", "64:ff9b::c0a8:101", "2002:7f00:1::", "fec0::1",
             "\uff11\uff12\uff17.0.0.1"],
)  # fmt: skip
def test_address_in_this_network_is_refused(host: str) -> None:
    with pytest.raises(HubError) as caught:
        demand_public(host)
    assert caught.value.kind in ("private", "network")


def test_allowed_mirror_is_taken_as_it_is_named() -> None:
    assert typed_mirror("http://10.0.0.1/hub/", ["http://10.0.0.1/hub"]) == "http://10.0.0.1/hub"
    with pytest.raises(HubError):
        typed_mirror("http://10.0.0.1/other", ["http://10.0.0.1/hub"])


@pytest.mark.parametrize(
    ("endpoint", "typed", "may"),
    [
        ("https://huggingface.co", False, True),
        ("https://huggingface.co", True, False),
        ("https://mirror.example", False, True),
        ("http://mirror.example", False, False),
        ("http://127.0.0.1:9", False, True),
        ("http://127.0.0.1:9", True, False),
    ],
)
def test_who_may_see_a_token(endpoint: str, typed: bool, may: bool) -> None:
    assert may_have_token(endpoint, typed) is may


def test_guarded_session_follows_no_redirect_into_this_network() -> None:
    with pytest.raises(HubError) as caught:
        guard_session(requests.Session()).get("https://127.0.0.1:9/", timeout=5)
    assert caught.value.kind == "private"


def test_guarded_session_follows_no_redirect_to_plain_http() -> None:
    """A name that has another address once it is connected to shows no certificate of that name, but only over https."""
    with pytest.raises(HubError) as caught:
        guard_session(requests.Session()).get("http://8.8.8.8:9/", timeout=5)
    assert caught.value.kind == "mirror"
