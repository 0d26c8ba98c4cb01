"""The quota of input images, and the log of jobs, over one service."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from core.jobs.job_trace import JOB_LOG_FILE
from tests.integration.jobs.harness import wait_for
from tests.integration.server.live import Served, serving
from tests.options import measured


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("outputs"), **{"service.inputs_mb": 1, "worker.job_log": True}) as running:
        yield running


def noise(side: int) -> bytes:
    """A PNG of about 3 * side * side bytes: noise does not compress."""
    buffer = io.BytesIO()
    Image.frombytes("RGB", (side, side), os.urandom(3 * side * side)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.option("service.inputs_mb")
def test_input_images_of_a_day_are_bounded(served: Served) -> None:
    image = noise(400)
    assert httpx.post(f"{served.url}/api/v1/inputs", content=image, timeout=60).status_code == 201
    assert httpx.post(f"{served.url}/api/v1/inputs", content=noise(400), timeout=60).status_code == 201
    refused = httpx.post(f"{served.url}/api/v1/inputs", content=noise(400), timeout=60)
    assert refused.status_code == 507 and refused.json()["error"]["code"] == "InputQuotaError"
    assert "service.inputs_mb" in refused.json()["error"]["en"]
    assert httpx.post(f"{served.url}/api/v1/inputs", content=image, timeout=60).status_code == 201, "it is stored already"
    measured("service.inputs_mb", "1: two images of 0.48 MB are stored within a day, the third is refused with status 507")


@pytest.mark.option("worker.job_log")
def test_each_job_is_one_line_without_its_prompt(served: Served) -> None:
    body = {"prompt": "a secret house", "width": 64, "height": 64, "steps": 2}
    for fake in ({}, {"fake.fails": "value"}):
        served.fakes.update(fake)
        httpx.post(f"{served.url}/sdapi/v1/txt2img", json=body, headers={"X-Client-Id": "logged"}, timeout=60)
    path: Path = served.studio.settings.output_directory / JOB_LOG_FILE
    wait_for(lambda: path.exists() and len(path.read_text().splitlines()) == 2)
    done, failed = (json.loads(line) for line in path.read_text().splitlines())
    assert (done["state"], done["error"], done["width"], done["steps"]) == ("done", None, 64, 2)
    assert failed["state"] == "failed" and failed["error"]
    assert done["run_seconds"] > 0 and done["wait_seconds"] >= 0 and done["client"] == failed["client"]
    assert "secret" not in path.read_text()
    measured("worker.job_log", "true: a job that is done and one that failed are a line each, without the prompt")
