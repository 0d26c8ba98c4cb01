"""/api/v1: jobs that answer at once, progress, events, limits, keys; and the guard before all three dialects."""

import io
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from core.config.options import SCHEMA
from core.jobs.queue import JobQueue
from core.server import submission
from core.types import JobState
from tests.integration.jobs.harness import wait_for
from tests.integration.server.live import Served, serving
from tests.options import measured

SMALL = {"prompt": "a red house", "width": 64, "height": 64, "num_inference_steps": 4, "seed": 7, "model": "demo"}


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{served.url}/api/v1", timeout=60) as client:
        yield client


def ended(http: httpx.Client, job_id: str) -> Any:
    return wait_for(lambda: (job := http.get(f"/jobs/{job_id}").json())["finished_at"] and job)


@pytest.mark.option("server.port")
def test_a_job_from_order_to_image(http: httpx.Client) -> None:
    answer = http.post("/jobs", json={**SMALL, "num_images": 2, "vae.enable_tiling": True})
    assert answer.status_code == 202
    job = ended(http, answer.json()["id"])
    assert answer.headers["location"] == f"/api/v1/jobs/{job['id']}"
    assert job["state"] == "done" and job["error"] is None and job["progress"]["fraction"] == 1.0
    assert job["request"]["options"]["vae.enable_tiling"] is True
    colours = [
        Image.open(io.BytesIO(http.get(f"/images/{one['id']}").content)).getpixel((0, 0)) for one in job["images"]
    ]
    assert colours == [(7, 40, 80), (8, 40, 80)]
    assert http.get(f"/thumbnails/{job['images'][0]['id']}").headers["content-type"] == "image/webp"
    measured("server.port", "a free port: pages and service answered there")


def test_an_estimate_is_given_and_nothing_is_queued(http: httpx.Client, served: Served) -> None:
    ended(http, http.post("/jobs", json=SMALL).json()["id"])
    before = served.studio.queue.totals()
    answer = http.post("/estimates", json={**SMALL, "num_images": 3, "seed": 70})
    told = answer.json()
    assert answer.status_code == 200 and told["seconds"] > 0
    assert {"vram_mb", "ram_mb", "disk_mb", "fits", "tier", "reasons", "load_seconds", "measured"} <= set(told)
    assert served.studio.queue.totals() == before
    assert http.post("/estimates", json={**SMALL, "width": "wide"}).status_code == 422


def png(colour: tuple[int, int, int], size: tuple[int, int] = (64, 64)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def test_a_image_over_another_one_from_its_bytes_to_its_children(http: httpx.Client) -> None:
    parent = ended(http, http.post("/jobs", json=SMALL).json()["id"])["images"][0]["id"]
    kept = [http.post("/inputs", content=png(colour)) for colour in ((9, 8, 7), (255, 255, 255))]
    assert [answer.status_code for answer in kept] == [201, 201]
    image, mask = (answer.json() for answer in kept)
    assert (image["width"], image["height"]) == (64, 64) and kept[0].headers["location"] == image["url"]
    there = http.get(f"/inputs/{image['digest']}")
    assert there.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(there.content)).getpixel((0, 0)) == (9, 8, 7)
    inputs = {"image": image["digest"], "mask_image": mask["digest"]}
    job = ended(http, http.post("/jobs", json={**SMALL, "inputs": inputs, "parent": parent}).json()["id"])
    assert job["state"] == "done" and job["request"]["inputs"] == inputs
    record = http.get(f"/images/{job['images'][0]['id']}/record").json()
    assert (record["request"]["inputs"], record["request"]["parent"]) == (inputs, parent)
    generated = Image.open(io.BytesIO(http.get(f"/images/{record['id']}").content))
    assert [generated.getpixel((5, y)) for y in (5, 60)] == [(9, 8, 7), (255, 255, 255)]


def test_a_mask_is_stored_by_the_opacity_of_its_strokes(http: httpx.Client) -> None:
    strokes = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    strokes.paste((0, 0, 0, 255), (0, 0, 16, 32))
    file = io.BytesIO()
    strokes.save(file, "PNG")
    address = http.post("/inputs?mask=true", content=file.getvalue()).json()["url"]
    stored = Image.open(io.BytesIO(http.get(address.removeprefix("/api/v1")).content))
    assert [stored.getpixel((x, 9)) for x in (3, 28)] == [(255, 255, 255), (0, 0, 0)]


def test_input_images_that_cannot_be_used_are_told(http: httpx.Client) -> None:
    assert http.post("/inputs", content=b"no image").status_code == 422
    assert http.post("/inputs", content=b"").status_code == 422
    assert http.get(f"/inputs/{'0' * 64}").status_code == 404
    assert http.get("/inputs/..%2Fstudio.db").status_code == 404
    large = http.post("/inputs", content=png((1, 1, 1))).json()["digest"]
    for wrong in (
        {"inputs": {"image": "0" * 64}},
        {"inputs": {"mask_image": large}},
        {"inputs": {"photo": large}},
        {"inputs": [large]},
        {"inputs": {"image": large}, "parent": "../x"},
        {"inputs": {"image": large}, "img2img.denoising_strength": 0},
        {"width": 128, "height": 128, "hires.enabled": True, "hires.steps": 101},
    ):
        answer = http.post("/jobs", json={**SMALL, **wrong})
        assert answer.status_code == 422, wrong
        assert "\n" not in answer.json()["error"]["en"]


def test_events_tell_each_step_and_end(served: Served, http: httpx.Client) -> None:
    served.fakes["fake.step_seconds"] = 0.3
    job_id = http.post("/jobs", json=SMALL).json()["id"]
    steps, names = [], []
    with http.stream("GET", f"/jobs/{job_id}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            if line.startswith("event: "):
                names.append(line.removeprefix("event: "))
            elif line.startswith("data: "):
                steps.append((json.loads(line.removeprefix("data: "))["progress"] or {}).get("step", 0))
    assert names[-1] == "end" and set(names[:-1]) == {"progress"}
    assert steps == sorted(steps) and set(steps) >= {1, 2, 3, 4}


def test_calls_that_wait_read_their_jobs_at_the_end_alone(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three callers and 60 reports: one look at the database after each commit tells all of them whether theirs has ended."""
    served.fakes["fake.step_seconds"] = 0.01
    reads, get = list[str](), JobQueue.get
    monkeypatch.setattr(JobQueue, "get", lambda queue, job_id: reads.append(job_id) or get(queue, job_id))
    monkeypatch.setattr(submission, "LOOK_SECONDS", 60.0)
    body = {"prompt": "a house", "width": 64, "height": 64, "steps": 20}
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(httpx.post, f"{served.url}/sdapi/v1/txt2img", json=body, timeout=60) for _ in range(3)]
        assert [call.result().status_code for call in calls] == [200] * 3
    assert len(reads) == 3 and len(set(reads)) == 3


def test_streams_of_waiting_jobs_tell_a_new_position_without_reading_the_job(
    served: Served, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    http.patch("/queue", json={"paused": True})
    try:
        first, second, third = (http.post("/jobs", json={**SMALL, "seed": seed}).json()["id"] for seed in (1, 2, 3))
        with http.stream("GET", f"/jobs/{third}/events") as stream:
            told = positions(stream)
            assert next(told) == 3
            reads, get = list[str](), JobQueue.get
            monkeypatch.setattr(JobQueue, "get", lambda queue, job_id: reads.append(job_id) or get(queue, job_id))
            for job_id, left in ((first, 2), (second, 1)):
                http.delete(f"/jobs/{job_id}").raise_for_status()
                assert next(told) == left
            assert third not in reads
    finally:
        http.delete("/queue", params={"mine": False})
        http.patch("/queue", json={"paused": False})


def positions(stream: httpx.Response) -> Iterator[int]:
    """The positions that an event stream tells."""
    for line in stream.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))["position"]


def test_preview_and_delete(served: Served, http: httpx.Client) -> None:
    served.fakes["fake.step_seconds"] = 0.1
    job_id = http.post("/jobs", json={**SMALL, "num_inference_steps": 100}).json()["id"]
    preview = wait_for(lambda: (found := http.get(f"/jobs/{job_id}/preview")).status_code == 200 and found)
    assert preview.content[8:12] == b"WEBP"
    assert http.delete(f"/jobs/{job_id}").json()["cancel_requested"]
    assert ended(http, job_id)["state"] == "cancelled"
    assert http.post(f"/jobs/{job_id}/retry").status_code == 202
    assert http.delete(f"/jobs/{job_id}").status_code == 200
    assert ended(http, job_id)["state"] == "cancelled"


def test_an_idempotency_key_orders_once(http: httpx.Client) -> None:
    keyed = {"Idempotency-Key": "k1"}
    ids = {http.post("/jobs", json={**SMALL, "seed": -1}, headers=keyed).json()["id"] for _ in range(3)}
    assert len(ids) == 1
    assert http.post("/jobs", json=SMALL, headers=keyed).status_code == 409
    other = http.post("/jobs", json=SMALL, headers={**keyed, "X-Client-Id": "another"})
    assert other.status_code == 202 and other.json()["id"] not in ids


def test_a_list_of_prompts_is_one_job_of_many_images(http: httpx.Client, served: Served) -> None:
    prompts = ["a {red|blue} __thing__", {"prompt": "b", "seed": 40, "width": 96, "num_images": 2}]
    order = {name: value for name, value in SMALL.items() if name != "prompt"}
    answer = http.post("/jobs", json={**order, "prompts": prompts, "held": True})
    assert answer.status_code == 202 and answer.json()["held"] and answer.json()["position"] is None
    job_id = answer.json()["id"]
    later = http.patch(f"/jobs/{job_id}", json={"held": False, "not_before": "2999-01-01T00:00:00+08:00"}).json()
    assert later["not_before"] == "2998-12-31T16:00:00+00:00" and later["position"] is None
    assert http.patch(f"/jobs/{job_id}", json={"not_before": None}).status_code == 200
    job = ended(http, job_id)
    assert job["state"] == "done" and job["request"]["num_images"] == 3 and "images" not in job["request"]
    made = [served.studio.history.get(one["id"]).request for one in job["images"]]
    assert [(one.seed, one.width) for one in made] == [(7, 64), (40, 96), (41, 96)]
    assert made[0].template == "a {red|blue} __thing__" and made[0].prompt.split()[1] in ("red", "blue")
    assert {"color", "thing"} <= set(http.get("/capabilities").json()["wildcards"])


@pytest.mark.option("service.max_batch")
@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        (["a", {"prompt": "b", "width": 63}], "row 2, width: got 63"),
        (["a", {"prompt": "b", "colour": 1}], "row 2, colour"),
        (["a", 5], "row 2: got 5"),
        (["a {b|c"], "row 1, prompt: got {b|c"),
        (["__../x__"], "__folder/name__"),
        ([], "there is no prompt"),
        ("a", "valid list"),
        ([{"prompt": "a", "num_images": 64}] * 5, "256 images in all (service.max_batch)"),
        ([{"prompt": "a", "num_inference_steps": 101}], "service.max_steps"),
    ],
)
def test_nothing_is_queued_when_an_entry_is_bad(http: httpx.Client, served: Served, prompts: Any, words: str) -> None:
    before = served.studio.queue.recent(1)
    answer = http.post("/jobs", json={"prompts": prompts, "model": "demo"})
    assert answer.status_code == 422 and words in answer.json()["error"]["en"] and answer.json()["error"]["zh"]
    assert served.studio.queue.recent(1) == before
    measured("service.max_batch", "256: a list of 320 images is refused with status 422, and nothing is queued")


def test_the_queue_is_paused_reordered_and_cleared(http: httpx.Client) -> None:
    assert http.patch("/queue", json={"paused": True}).json()["paused"]
    try:
        first, second, third = (http.post("/jobs", json={**SMALL, "priority": rank}).json()["id"] for rank in (0, 0, 3))
        line = [job["id"] for job in http.get("/queue").json()["jobs"]]
        assert line == [third, first, second]
        assert http.patch(f"/jobs/{second}", json={"position": 1}).json()["position"] == 1
        assert http.patch(f"/jobs/{third}", json={"held": True}).json()["held"]
        assert http.get(f"/jobs/{first}").json()["position"] == 2
        assert http.delete("/queue", headers={"X-Client-Id": "another"}).json() == {"cancelled": 0}
        assert http.delete("/queue").json() == {"cancelled": 3}
    finally:
        http.patch("/queue", json={"paused": False})
    assert http.patch(f"/jobs/{first}", json={"held": True}).status_code == 409


def test_ten_clients_at_once_each_get_their_own_images(served: Served) -> None:
    seen: dict[int, Any] = {}

    def ask(number: int) -> None:
        with httpx.Client(base_url=f"{served.url}/api/v1", headers={"X-Client-Id": str(number)}, timeout=60) as http:
            job = ended(http, http.post("/jobs", json={**SMALL, "seed": 10 * number}).json()["id"])
            file = http.get(f"/images/{job['images'][0]['id']}").content
            mine = http.get("/jobs", params={"mine": True}).json()["jobs"]
            seen[number] = (Image.open(io.BytesIO(file)).getpixel((0, 0)), [one["id"] for one in mine] == [job["id"]])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {number: ((10 * number, 40, 80), True) for number in range(10)}


@pytest.mark.option("service.max_pixels", "service.max_steps", "service.max_images")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompt": ""}, "0 characters"),
        ({"width": 63}, "63"),
        ({"width": 8192, "height": 8192}, "service.max_pixels"),
        ({"num_inference_steps": 101}, "service.max_steps"),
        ({"num_images": 17}, "service.max_images"),
        ({"colour": "red"}, "no option colour"),
        ({"server.port": 80}, "no option server.port"),
        ({"model": "/etc"}, "no model /etc"),
        ({"id": "/etc", "model": "/etc"}, "no model /etc"),  # another name of the same option
        ({"priority": 101}, "priority"),
        ({"priority": "high"}, "priority"),
        ({"not_before": "2026-11-22T10:00:00"}, "not_before"),
    ],
)
def test_what_cannot_be_done_is_said_in_both_languages(http: httpx.Client, change: dict, words: str) -> None:
    answer = http.post("/jobs", json={**SMALL, **change})
    assert answer.status_code == 422 and words in answer.json()["error"]["en"]
    assert answer.json()["error"]["zh"] and "\n" not in answer.text
    if words.startswith("service."):
        asked = ", ".join(f"{name} {value}" for name, value in change.items())
        measured(words, f"{asked}: refused with status 422 that names the option")


def test_half_a_surrogate_pair_is_no_character(http: httpx.Client) -> None:
    body = json.dumps({**SMALL, "prompt": "\ud83c x"})
    answer = http.post("/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422 and "prompt holds half of a surrogate pair" in answer.json()["error"]["en"]


def test_capabilities_are_the_schema(http: httpx.Client) -> None:
    found = http.get("/capabilities").json()
    options = {option["key"]: option for option in found["options"]}
    assert set(options) >= {option.key for option in SCHEMA.request_options()} | {"generation.prompt", "model.id"}
    assert (options["generation.width"]["minimum"], options["generation.width"]["maximum"]) == (64, 8192)
    assert found["limits"]["max_steps"] == 100 and found["models"][0]["id"] == "demo"
    assert "path" not in found["models"][0]


@pytest.mark.option("service.queue_per_client", "service.max_body_kb", "service.wait_seconds")
def test_limits_are_config(tmp_path: Path) -> None:
    limits = {"service.queue_per_client": 2, "service.max_body_kb": 16, "service.wait_seconds": 1.0}
    with serving(tmp_path, **limits) as served, httpx.Client(base_url=served.url, timeout=60) as http:
        served.studio.queue.pause(True)
        assert [http.post("/api/v1/jobs", json=SMALL).status_code for _ in range(3)] == [202, 202, 429]
        assert http.post("/api/v1/jobs", json=SMALL, headers={"X-Client-Id": "b"}).status_code == 202
        for path in ("/api/v1/jobs", "/v1/images/generations", "/sdapi/v1/txt2img"):
            answer = http.post(path, json={"prompt": "x" * 20_000})
            assert answer.status_code == 413 and "service.max_body_kb" in answer.text
        endless = http.post("/api/v1/jobs", content=(b"x" * 1000 for _ in range(1000)))
        assert endless.status_code == 413
        waiting = http.post("/v1/images/generations", json={"prompt": "x"}, headers={"X-Client-Id": "c"})
        assert waiting.status_code == 504 and "service.wait_seconds" in waiting.text
        assert served.studio.queue.recent(1)[0].state is JobState.CANCELLED
    measured(
        "service.queue_per_client", "2: the third job of a client is refused with status 429, another client's is not"
    )
    measured("service.max_body_kb", "16: a body of 20 KB is refused with status 413 in all three dialects")
    measured("service.wait_seconds", "1: status 504 after 1 s, and the job is cancelled")


@pytest.mark.parametrize("path", ["/api/v1/capabilities", "/v1/models", "/sdapi/v1/options"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:8501"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost:1", "Origin": "http://localhost:1"}, 200),
    ],
)
@pytest.mark.by_default(
    *(f"headers{case}-/api/v1/capabilities" for case in ("2-403", "4-403")),
    *(f"headers{case}-/v1/models" for case in ("2-403", "5-200")),
    *(f"headers{case}-/sdapi/v1/options" for case in ("1-200", "3-403")),
)
def test_pages_of_others_may_not_call(served: Served, path: str, headers: dict[str, str], status: int) -> None:
    answer = httpx.get(served.url + path, headers=headers, timeout=60)
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_slow_reader_does_not_hold_up_the_others(served: Served, http: httpx.Client) -> None:
    served.fakes["fake.step_seconds"] = 0.05
    slow = http.post("/jobs", json=SMALL).json()["id"]
    with http.stream("GET", f"/jobs/{slow}/events"):  # opened, and never read
        began = time.monotonic()
        job = ended(http, http.post("/jobs", json=SMALL).json()["id"])
        assert job["state"] == "done" and time.monotonic() - began < 30


def test_presets_are_listed_and_lie_under_the_order(http: httpx.Client) -> None:
    names = {one["name"]: one for one in http.get("/presets").json()["presets"]}
    assert names["draft"]["shipped"] and names["draft"]["values"]["generation.num_inference_steps"] == 4
    order = {key: value for key, value in SMALL.items() if key != "num_inference_steps"}
    job = http.post("/jobs", json={**order, "preset": "draft", "output.quality": 50}).json()
    assert job["request"]["num_inference_steps"] == 4
    assert (job["request"]["options"]["output.format"], job["request"]["options"]["output.quality"]) == ("webp", 50)
    assert http.post("/jobs", json={**order, "preset": "no such preset"}).status_code == 422
