"""Whatever the OpenAPI document allows, and much that it does not: never a 5xx, never an undocumented answer."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.server.live import Served, serving

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def described(served: Served) -> schemathesis.BaseSchema:
    served.studio.queue.pause(True)  # nothing need be drawn to see what is answered
    return schemathesis.openapi.from_url(f"{served.url}/api/openapi.json")


@pytest.mark.parametrize("examples", [2, pytest.param(40, marks=pytest.mark.slow)])
@pytest.mark.timeout(1500)
def test_every_answer_is_documented(described: schemathesis.BaseSchema, examples: int) -> None:
    operations = [found.ok() for found in described.get_all_operations()]
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
        def answers(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=CHECKS, timeout=60)

        answers()
    assert len(operations) >= 14


TOKEN = "a-token-of-24-characters"


@pytest.mark.parametrize("examples", [1, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.timeout(1500)
@pytest.mark.slow
def test_what_the_gate_answers_is_documented(tmp_path: Path, examples: int) -> None:
    """Without a key, with the right one, and with a wrong one until the address has to wait."""
    statuses: set[int] = set()
    with serving(tmp_path, **{"access.token": TOKEN}) as served:
        served.studio.queue.pause(True)
        right = {"Authorization": f"Bearer {TOKEN}"}
        described = schemathesis.openapi.from_url(f"{served.url}/api/openapi.json", headers=right)
        operations = [found.ok() for found in described.get_all_operations()]
        wrong = [{"Authorization": f"Bearer wrong {number}"} for number in range(12)]
        for headers in ({}, right, *wrong, {"Authorization": "Basic eDp5"}):
            for operation in operations if headers in ({}, right) else operations[:3]:
                found = _statuses(operation, headers, examples)
                assert headers == right or found <= {401, 429}, operation.label
                statuses |= found
    assert {401, 429} <= statuses


def _statuses(operation: Any, headers: dict[str, str], examples: int) -> set[int]:
    """What it answers to whoever shows these headers and no others."""
    found = set()

    @given(case=operation.as_strategy())
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    def answers(case: schemathesis.Case) -> None:
        for name in ("Authorization", "Cookie"):
            case.headers.pop(name, None)
        found.add(case.call_and_validate(headers=headers, checks=CHECKS, timeout=60).status_code)

    answers()
    return found


def test_the_document_names_every_option_and_every_route(served: Served) -> None:
    document = httpx.get(f"{served.url}/api/openapi.json", timeout=60).json()
    order = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert order["properties"]["num_inference_steps"]["anyOf"][0]["maximum"] == 200
    assert order["properties"]["vae.enable_tiling"]["type"] == "boolean" and "required" not in order
    assert order["anyOf"] == [{"required": ["prompt"]}, {"required": ["prompts"]}]
    assert {"/v1/capabilities", "/v1/jobs/{job_id}/events", "/v1/images/{image_id}"} <= set(document["paths"])
    for operations in document["paths"].values():
        for operation in operations.values():
            assert {"400", "401", "403", "413", "415", "429"} <= set(operation["responses"])
    assert set(document["components"]["securitySchemes"]) == {"bearer", "basic"}


@pytest.mark.parametrize(
    ("language", "words"), [("en", "What programs can ask"), ("zh", "程序可以向本工作室请求的内容")]
)
def test_the_documentation_is_a_page_of_our_own(served: Served, language: str, words: str) -> None:
    page = httpx.get(f"{served.url}/api/docs", params={"lang": language}, timeout=60)
    assert words in page.text and page.headers["content-security-policy"].startswith("default-src 'none'")
    for path in (
        "/api/v1/jobs/{job_id}/events",
        "/v1/images/generations",
        "/sdapi/v1/txt2img",
        "/api/v1/images/{image_id}",
    ):
        assert f"<code>{path}</code>" in page.text
    assert "num_inference_steps" in page.text and "auto" in page.text
    assert not re.search(r"<script|<img|<link|src=|https?://", page.text), "nothing is fetched from anywhere"
