"""With users, each sees the own images and jobs alone: every way in is tried by a second user, and by an admin."""

from __future__ import annotations

import base64
import csv
import io
import json
import zipfile
from collections.abc import Iterator
from datetime import UTC
from typing import Any

import httpx
import pytest

from core.errors import NotFoundError
from core.history.hidden_collections import CollectionLockedError
from core.jobs import viewed_queue
from core.jobs.viewed_queue import MEGABYTE, Quota, QuotaError, use_of
from core.server.auth.users import Users
from core.server.listing import write_query
from core.storage import passwords
from core.types import AnnotationChange, Axis, HistoryQuery, SubmitOptions, Viewer
from tests.integration.jobs.harness import wait_for
from tests.integration.server.live import Served, serving

PASSWORD = "correct horse battery"
SMALL = {"prompt": "a secret lighthouse", "width": 64, "height": 64, "num_inference_steps": 4, "seed": 7, "model": "demo"}
ANNA, BERT, CARL = Viewer("user:anna", True, True), Viewer("user:bert", False, True), Viewer("user:carl", False, True)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("outputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "LOG_N", 5)
        patch.setattr(passwords, "P", 1)
        patch.setattr(passwords, "NOBODY", f"scrypt$5$8$1${'A' * 22}==${'A' * 43}=")
        users = Users(folder)
        for name in ("anna", "bert", "carl"):
            users.add(name, PASSWORD)
        with serving(folder, **{"quota.images_per_hour": 40}) as running:
            yield running


def client(served: Served, name: str) -> httpx.Client:
    return httpx.Client(base_url=served.url, auth=(name, PASSWORD), timeout=60)


@pytest.fixture(scope="module")
def anna(served: Served) -> Iterator[httpx.Client]:
    with client(served, "anna") as http:
        yield http


@pytest.fixture(scope="module")
def bert(served: Served) -> Iterator[httpx.Client]:
    with client(served, "bert") as http:
        yield http


@pytest.fixture(scope="module")
def carl(served: Served) -> Iterator[httpx.Client]:
    with client(served, "carl") as http:
        yield http


@pytest.fixture(scope="module")
def made(served: Served, bert: httpx.Client) -> Any:
    """A finished job of bert with two images, tagged and in a collection."""
    job_id = bert.post("/api/v1/jobs", json={**SMALL, "num_images": 2}).json()["id"]
    job = wait_for(lambda: (one := bert.get(f"/api/v1/jobs/{job_id}").json())["finished_at"] and one)
    assert job["state"] == "done"
    own = served.studio.seen_by(BERT)
    ids = tuple(one["id"] for one in job["images"])
    own.history.change(ids, AnnotationChange(add_tags=("sea",), add_collections=("Coast",)))
    return job


@pytest.fixture
def paused(anna: httpx.Client) -> Iterator[None]:
    """Nothing begins during the test."""
    anna.patch("/api/v1/queue", json={"paused": True}).raise_for_status()
    yield
    anna.delete("/api/v1/queue", params={"mine": False}).raise_for_status()
    anna.patch("/api/v1/queue", json={"paused": False}).raise_for_status()


OTHERS = ("anna", "carl")  # an admin, and a user like bert


@pytest.mark.parametrize("other", OTHERS)
def test_images_thumbnails_and_records_of_others_are_not_found(
    request: pytest.FixtureRequest, bert: httpx.Client, made: Any, other: str
) -> None:
    stranger, one, two = request.getfixturevalue(other), *(image["id"] for image in made["images"])
    paths = [
        f"/api/v1/images/{one}", f"/api/images/{one}", f"/api/v1/images/{one}/record", f"/api/v1/thumbnails/{one}",
        f"/api/thumbnails/{one}", f"/api/differences/{one}/{two}",
    ]  # fmt: skip
    for path in paths:
        assert bert.get(path).status_code == 200, path
        assert stranger.get(path).status_code == 404, path


@pytest.mark.parametrize("other", OTHERS)
def test_search_and_exports_show_the_own_images(
    request: pytest.FixtureRequest, bert: httpx.Client, made: Any, other: str
) -> None:
    stranger = request.getfixturevalue(other)
    ids = {image["id"] for image in made["images"]}
    queries = ({}, {"text": "secret"}, {"tag": "sea"}, {"collection": "Coast"}, {"ids": tuple(ids)}, {"model": "demo"})
    for query in (write_query(HistoryQuery(**values)) for values in queries):
        found = bert.get("/api/history", params={"query": query}).json()
        assert ids <= {item["id"] for item in found["items"]}
        seen = stranger.get("/api/history", params={"query": query}).json()
        assert not ids & {item["id"] for item in seen["items"]}
        assert seen["total"] == len(seen["items"]), "nor are they counted"
        rows = csv.DictReader(io.StringIO(stranger.get("/api/exports/csv", params={"query": query}).text))
        assert not ids & {row["id"] for row in rows}
        bundle = zipfile.ZipFile(io.BytesIO(stranger.get("/api/exports/zip", params={"query": query}).content))
        assert "secret" not in " ".join(bundle.namelist()) + bundle.read("history.csv").decode()


@pytest.mark.parametrize("viewer", [ANNA, CARL], ids=OTHERS)
def test_the_history_of_others_is_neither_counted_nor_changed(served: Served, made: Any, viewer: Viewer) -> None:
    own, other = served.studio.seen_by(BERT).history, served.studio.seen_by(viewer).history
    ids = tuple(image["id"] for image in made["images"])
    everything = HistoryQuery()
    counts = other.counts()
    assert (counts.tags, counts.collections, own.counts().tags) == ({}, {}, {"sea": 2})
    assert not set(ids) & set(other.ids(everything)) and set(ids) <= set(own.ids(everything))
    assert own.statistics(everything, UTC).total - other.statistics(everything, UTC).total >= 2
    assert other.labels("tag") == () and own.labels("collection") == ("Coast",)
    for act in (
        lambda: other.get(ids[0]), lambda: other.file(ids[0]), lambda: other.thumbnail(ids[0]),
        lambda: other.trash(ids), lambda: other.delete(ids[0]), lambda: other.neighbours(everything, ids[0]),
        lambda: other.change(ids, AnnotationChange(rating=1)),
    ):  # fmt: skip
        with pytest.raises(NotFoundError):
            act()
    own.trash(ids)
    assert other.empty_trash() == 0 and other.counts().trash == 0
    own.restore(ids)
    record = own.get(ids[0])
    assert record.marks.rating == 0 and served.studio.seen_by(viewer).images is not served.studio.images


def test_jobs_previews_and_events_of_others_are_not_found(carl: httpx.Client, anna: httpx.Client, made: Any) -> None:
    job = made["id"]
    for path in (f"/api/v1/jobs/{job}", f"/api/v1/jobs/{job}/preview", f"/api/v1/jobs/{job}/events"):
        assert carl.get(path).status_code == 404, path
    told = [
        json.dumps(other.get(path).json())
        for other in (carl, anna)
        for path in ("/api/v1/jobs", "/api/v1/queue", f"/api/v1/jobs/{job}", "/sdapi/v1/progress")
    ]
    assert not any("secret" in one or made["images"][0]["id"] in one for one in told)
    assert anna.get(f"/api/v1/jobs/{job}/preview").status_code == 404


def test_streams_of_one_job_show_each_viewer_what_he_may_see(anna: httpx.Client, bert: httpx.Client, paused: None) -> None:
    job = bert.post("/api/v1/jobs", json=SMALL).json()["id"]
    path = f"/api/v1/jobs/{job}/events"
    with bert.stream("GET", path) as own, anna.stream("GET", path) as others:
        told = [next(line for line in stream.iter_lines() if line.startswith("data: ")) for stream in (own, others)]
    assert ["secret" in line for line in told] == [True, False]


def test_queue_rights(
    served: Served, anna: httpx.Client, bert: httpx.Client, carl: httpx.Client, paused: None
) -> None:
    mine, other, last = (
        who.post("/api/v1/jobs", json={**SMALL, "seed": seed}).json()["id"]
        for seed, who in ((1, bert), (2, carl), (3, bert))
    )
    assert [job["id"] for job in carl.get("/api/v1/queue").json()["jobs"]] == [other]
    assert carl.get(f"/api/v1/jobs/{other}").json()["position"] == 2, "the place among all jobs"
    for change in ({"held": True}, {"priority": -1}, {"position": 3}, {"not_before": "2100-01-01T00:00:00Z"}):
        assert carl.patch(f"/api/v1/jobs/{mine}", json=change).status_code == 404
    assert carl.delete(f"/api/v1/jobs/{mine}").status_code == 404
    assert carl.post(f"/api/v1/jobs/{mine}/retry").status_code == 404
    assert carl.patch("/api/v1/queue", json={"paused": False}).status_code == 403
    assert carl.delete("/api/v1/queue", params={"mine": False}).status_code == 403
    passing = bert.patch(f"/api/v1/jobs/{last}", json={"position": 1})
    assert passing.status_code == 422 and "3 or later" in passing.json()["error"]["en"]
    assert bert.patch(f"/api/v1/jobs/{mine}", json={"position": 3}).status_code == 200, "backwards is free"
    assert bert.patch(f"/api/v1/jobs/{mine}", json={"priority": 5}).status_code == 422
    assert bert.post("/api/v1/jobs", json={**SMALL, "priority": 1}).status_code == 422
    seen = anna.get("/api/v1/queue").json()["jobs"]
    assert {job["id"] for job in seen} == {mine, other, last}
    assert {job["request"]["prompt"] for job in seen} == {""}, "admins see that there are jobs, not what they show"
    assert anna.patch(f"/api/v1/jobs/{mine}", json={"position": 1, "held": True}).json()["held"]
    assert anna.delete(f"/api/v1/jobs/{mine}").json()["request"]["prompt"] == ""
    assert bert.get(f"/api/v1/jobs/{mine}").json()["state"] == "cancelled"
    assert served.studio.seen_by(CARL).queue.snapshot().total == 1
    assert [job.client for job in served.studio.seen_by(CARL).queue.snapshot().jobs] == ["user:carl"]


def test_a1111_and_openai_give_each_user_the_own_images(bert: httpx.Client, carl: httpx.Client, anna: httpx.Client) -> None:
    body = {"prompt": "a secret tent", "width": 64, "height": 64, "steps": 2, "seed": 31, "cfg_scale": 1}
    assert len(bert.post("/sdapi/v1/txt2img", json=body).json()["images"]) == 1
    order = {"prompt": "a secret tent", "size": "64x64", "response_format": "b64_json"}
    image = bert.post("/v1/images/generations", json=order).json()["data"][0]["b64_json"]
    assert base64.b64decode(image)
    query = write_query(HistoryQuery(text="tent"))
    found = [who.get("/api/history", params={"query": query}).json()["total"] for who in (bert, carl, anna)]
    assert found == [2, 0, 0]
    assert carl.post("/sdapi/v1/interrupt").status_code == 200, "ends the own job, of which there is none"


def test_sweeps_and_benchmarks_of_others_are_not_found(served: Served, bert: httpx.Client, carl: httpx.Client, made: Any) -> None:
    own = served.studio.seen_by(BERT)
    sweep = own.reruns.sweep(made["images"][0]["id"], [Axis("generation.seed", (1, 2))], SubmitOptions())
    wait_for(lambda: bert.get(f"/api/sheets/{sweep.id}").status_code == 200)
    assert carl.get(f"/api/sheets/{sweep.id}").status_code == 404
    one, two = (image["id"] for image in made["images"])
    study = bert.post("/api/v1/why", json={"one": one, "other": two, "size": 64}).headers["location"]
    report = wait_for(lambda: not (told := bert.get(study).json())["active"] and told)
    assert report["done"] == 2 and report["steps"][0]["rank"] == 1 and report["steps"][0]["distance"] > 0
    assert carl.get(study).status_code == carl.delete(study).status_code == 404
    assert carl.post("/api/v1/why", json={"one": one, "other": two, "plan_only": True}).status_code == 404
    small = {"width": 64, "height": 64, "steps": 2}
    order = {"columns": [{"model": "demo", "options": small}, {"model": "demo", "profile": "draft", "options": small}],
             "prompts": ["a secret house"], "seeds": [7]}  # fmt: skip
    place = bert.post("/api/v1/comparisons", json=order).headers["location"]
    wait_for(lambda: not bert.get(place).json()["active"])
    for path in (place, f"{place}/table", f"{place}/sheet"):
        assert (bert.get(path).status_code, carl.get(path).status_code) == (200, 404), path
    assert carl.delete(place).status_code == 404
    assert "secret" not in carl.get("/api/v1/comparisons").text


def test_an_imported_image_belongs_to_who_imported_it(served: Served, made: Any) -> None:
    bert, carl = served.studio.seen_by(BERT), served.studio.seen_by(CARL)
    data = bert.history.file(made["images"][0]["id"]).read_bytes()
    assert bert.history.import_image(data, "x.png")[1] is False
    copy, new = carl.history.import_image(data, "x.png")
    assert new and copy.id != made["images"][0]["id"] and carl.history.get(copy.id).id == copy.id
    with pytest.raises(NotFoundError):
        bert.history.get(copy.id)
    carl.history.delete(copy.id)


def test_images_of_no_user_are_those_of_admins(served: Served, anna: httpx.Client, carl: httpx.Client) -> None:
    job = served.studio.queue.submit(served.studio.requests.new({**SMALL, "prompt": "before there were users"}))
    done = wait_for(lambda: (one := served.studio.queue.get(job.id)).image_ids and not one.state.active and one)
    assert anna.get(f"/api/v1/images/{done.image_ids[0]}").status_code == 200
    assert carl.get(f"/api/v1/images/{done.image_ids[0]}").status_code == 404


def test_admins_see_counts(anna: httpx.Client, bert: httpx.Client, carl: httpx.Client, made: Any) -> None:
    users = anna.get("/api/v1/users").json()["users"]
    assert users["bert"]["images"] >= 2 and users["bert"]["disk_bytes"] > 0 and users["bert"]["images_last_hour"] >= 2
    assert carl.get("/api/v1/users").status_code == 403
    own = bert.get("/api/v1/usage").json()
    assert own["usage"]["images"] == users["bert"]["images"] and own["quota"]["images_per_hour"] == 40


@pytest.mark.option("quota.images_per_hour")
def test_quota_of_images(carl: httpx.Client, anna: httpx.Client, paused: None) -> None:
    assert carl.post("/api/v1/jobs", json={**SMALL, "prompts": ["a"] * 30}).status_code == 202
    more = carl.post("/api/v1/jobs", json={**SMALL, "prompts": ["a"] * 20})
    assert more.status_code == 429 and "quota.images_per_hour is 40" in more.json()["error"]["en"]
    assert anna.post("/api/v1/jobs", json={**SMALL, "prompts": ["a"] * 45}).status_code == 202, "admins have no quota"


@pytest.mark.option("quota.megapixels_per_hour")
@pytest.mark.option("quota.disk_mb")
def test_quotas_of_pixels_and_of_the_disk(served: Served, made: Any) -> None:
    request = served.studio.requests.new({**SMALL, "width": 1024, "height": 1024, "num_images": 2})
    with served.studio._database.reading() as connection:
        Quota(megapixels_per_hour=3).check(connection, "user:new", [request])
        with pytest.raises(QuotaError, match="megapixels_per_hour is 2"):
            Quota(megapixels_per_hour=2).check(connection, "user:new", [request])
        Quota(disk_mb=1).check(connection, "user:new", [request])
        small = Quota(disk_mb=1)
        owned = use_of(connection, "user:bert").disk_bytes
        assert owned > 0 and small.disk_mb * MEGABYTE > owned
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(viewed_queue, "MEGABYTE", owned)
            with pytest.raises(QuotaError, match="disk_mb is 1"):
                small.check(connection, "user:bert", [request])


def test_presets_are_each_users_own(served: Served, bert: httpx.Client, carl: httpx.Client) -> None:
    served.studio.seen_by(BERT).presets.save("portrait", {"generation.width": 512})
    served.studio.seen_by(ANNA).presets.save("for all", {"generation.width": 320})
    names = [{one["name"] for one in who.get("/api/v1/presets").json()["presets"]} for who in (bert, carl)]
    assert {"portrait", "for all"} <= names[0] and "for all" in names[1] and "portrait" not in names[1]
    bert_presets = served.studio.seen_by(BERT).presets
    assert bert_presets.is_own("portrait") and not bert_presets.is_own("for all")
    assert served.studio.seen_by(BERT).presets.get("portrait").values["generation.width"] == 512


@pytest.mark.option("access.unlock_minutes")
def test_a_hidden_collection_is_seen_only_while_unlocked(
    served: Served, bert: httpx.Client, anna: httpx.Client, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(served.studio._hidden, "_clock", lambda: now[0])
    one = made["images"][0]["id"]
    secret = {"name": "Coast", "password": "open sea"}
    paths = (f"/api/v1/images/{one}", f"/api/v1/images/{one}/record", f"/api/v1/thumbnails/{one}", f"/api/v1/jobs/{made['id']}")

    def seen() -> list[int]:
        return [bert.get(path).status_code for path in paths]

    before = bert.get("/api/history").json()["total"]
    assert bert.post("/api/v1/collections/hide", json=secret).status_code == 200
    assert seen() == [404] * 4 and bert.get("/api/history").json()["total"] == before - 2
    assert one not in bert.get("/api/exports/csv").text and "Coast" not in bert.get("/api/v1/collections").text
    assert made["id"] not in bert.get("/api/v1/jobs").text
    with pytest.raises(CollectionLockedError):
        served.studio.seen_by(BERT).history.change((), AnnotationChange(add_collections=("Coast",)))
    wrong = bert.post("/api/v1/collections/unlock", json={**secret, "password": "open sky"})
    unknown = bert.post("/api/v1/collections/unlock", json={**secret, "name": "Other"})
    assert wrong.status_code == unknown.status_code == 422 and wrong.json()["error"]["code"] == unknown.json()["error"]["code"]
    assert anna.post("/api/v1/collections/unlock", json=secret).status_code == 422, "nor does an admin open it"
    assert bert.post("/api/v1/collections/unlock", json=secret).json()["unlocked"]["Coast"] == 600
    assert seen() == [200] * 4
    assert bert.get(paths[0]).headers["cache-control"] == bert.get(paths[2]).headers["cache-control"] == "no-store"
    now[0] += 601
    assert seen() == [404] * 4, "locked again by itself"
    bert.post("/api/v1/collections/unlock", json=secret).raise_for_status()
    assert seen() == [200] * 4
    assert bert.post("/api/v1/collections/lock").json()["any_locked"] and seen() == [404] * 4
    assert bert.post("/api/v1/collections/show", json=secret).status_code == 200 and seen() == [200] * 4


def test_wrong_passwords_of_a_collection_are_limited(carl: httpx.Client) -> None:
    secret = {"name": "none", "password": "guess"}
    answers = [carl.post("/api/v1/collections/unlock", json=secret).status_code for _ in range(6)]
    assert answers == [422] * 5 + [429]


def test_without_users_a_hidden_collection_is_hidden_from_everyone(served: Served) -> None:
    browser, other = Viewer("page:1"), Viewer("page:2")
    studio = served.studio
    job = studio.queue.submit(studio.requests.new({**SMALL, "prompt": "of nobody"}))
    done = wait_for(lambda: (one := studio.queue.get(job.id)).image_ids and not one.state.active and one)
    studio.seen_by(browser).history.change(done.image_ids, AnnotationChange(add_collections=("Attic",)))
    studio.seen_by(browser).collections.hide("Attic", "under the roof")
    for viewer in (browser, other):
        assert done.image_ids[0] not in studio.seen_by(viewer).history.ids(HistoryQuery())
        assert job.id not in {one.id for one in studio.seen_by(viewer).queue.ended(50)}
    studio.seen_by(browser).collections.unlock("Attic", "under the roof")
    assert done.image_ids[0] in studio.seen_by(browser).history.ids(HistoryQuery())
    assert done.image_ids[0] not in studio.seen_by(other).history.ids(HistoryQuery()), "unlocked for one browser"
