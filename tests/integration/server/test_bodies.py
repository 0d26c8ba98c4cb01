"""Bodies that cannot be read are told what is wrong with them."""

from __future__ import annotations

import gzip
import json

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.server.body_limit import MAX_DEPTH, BodyError, parse_json
from tests.examples import examples
from tests.integration.server.live import Served

JSON = {"Content-Type": "application/json"}
UNREADABLE = ("latin-1", "comma", "digits", "deep", "80 deep", "NaN", "surrogate", "values")
ROUTES = ("/api/v1/jobs", "/v1/images/generations", "/sdapi/v1/txt2img")


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b'{"prompt":"caf\xe9"}', 400, "not UTF-8: byte 0xe9 at position 14"),
        (b'{"prompt": "a",}', 400, "not valid JSON"),
        (b'{"prompt":"a","seed":' + b"9" * 5000 + b"}", 400, "too many digits"),
        (b'{"prompt":"a","inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "nested too deeply"),
        (b'{"prompt":"a","x":' + b"[" * 80 + b"]" * 80 + b"}", 400, "nested too deeply"),
        (b'{"prompt":"a","cfg_scale":NaN}', 400, "NaN is no number"),
        (b'{"prompt":"a \\ud800 house"}', 422, "half of a surrogate pair"),
        (b'{"prompt":"a","prompts":[' + b"1," * 600_000 + b"1]}", 413, "more than"),
    ],
    ids=UNREADABLE,
)
@pytest.mark.by_default(
    *(f"{kind}-/api/v1/jobs" for kind in UNREADABLE), "comma-/v1/images/generations", "comma-/sdapi/v1/txt2img"
)
@pytest.mark.by_default(
    *(f"{case}-/api/v1/jobs" for case in ("latin-1", "deep", "NaN", "surrogate")),
    *(f"comma-{path}" for path in ("/v1/images/generations", "/sdapi/v1/txt2img")),
)
def test_unreadable_body_is_told_the_reason(served: Served, route: str, body: bytes, status: int, words: str) -> None:
    answer = httpx.post(f"{served.url}{route}", content=body, headers=JSON, timeout=60)
    expected = 400 if status == 422 and route.startswith("/v1") else status
    assert answer.status_code == expected and words in answer.text


def test_compressed_body_is_told_so(served: Served) -> None:
    body = gzip.compress(b'{"prompt": "a"}')
    answer = httpx.post(f"{served.url}{ROUTES[0]}", content=body, headers={**JSON, "Content-Encoding": "gzip"})
    assert answer.status_code == 415 and "compressed (gzip)" in answer.text


@pytest.mark.parametrize("kind", [None, "text/plain;charset=UTF-8", "application/x-www-form-urlencoded"])
def test_json_without_its_content_type_is_read(served: Served, kind: str | None) -> None:
    body = json.dumps({"prompt": "a", "steps": 1, "width": 64, "height": 64})
    request = httpx.Request("POST", f"{served.url}/sdapi/v1/txt2img", content=body)
    if kind is not None:
        request.headers["Content-Type"] = kind
    with httpx.Client(timeout=60) as client:
        assert client.send(request).status_code == 200


def test_body_may_have_64_mb(served: Served) -> None:
    image = "A" * 9_400_000
    answer = httpx.post(f"{served.url}/sdapi/v1/img2img", json={"prompt": "a", "init_images": [image]}, timeout=60)
    assert answer.status_code == 422 and "init_images" in answer.text
    with httpx.Client(timeout=60) as client:
        sent = httpx.Request("POST", f"{served.url}/sdapi/v1/img2img", content=b"{" + b" " * (65 << 20), headers=JSON)
        try:
            refused = client.send(sent).status_code
        except httpx.WriteError:  # it closed while the client was still sending
            refused = 413
    assert refused == 413


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(), st.lists, max_leaves=30))
@settings(max_examples=examples(60), deadline=None)
def test_parse_json_reads_what_json_writes(value: object) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@given(st.binary(max_size=200))
@settings(max_examples=examples(200), deadline=None)
def test_parse_json_fails_with_a_sentence_only(body: bytes) -> None:
    try:
        parse_json(body)
    except BodyError as error:
        assert error.status in (400, 413, 422) and error.message("zh")


def test_depth_is_counted_exactly() -> None:
    parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    with pytest.raises(BodyError):
        parse_json(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))
