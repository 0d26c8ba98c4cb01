"""Whatever the OpenAPI document allows, and much that it does not: never a 5xx, never an undocumented answer."""

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

from tests.unit.service.live import Served

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def described(served: Served) -> schemathesis.BaseSchema:
    served.studio.pause_queue(True)  # nothing need be drawn to see what is answered
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


def test_the_document_names_every_option_and_every_route(served: Served) -> None:
    document = httpx.get(f"{served.url}/api/openapi.json", timeout=60).json()
    order = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert order["properties"]["num_inference_steps"]["anyOf"][0]["maximum"] == 200
    assert order["properties"]["vae.enable_tiling"]["type"] == "boolean" and "required" not in order
    assert order["anyOf"] == [{"required": ["prompt"]}, {"required": ["prompts"]}]
    assert {"/v1/capabilities", "/v1/jobs/{job_id}/events", "/v1/images/{image_id}"} <= set(document["paths"])
