"""Everything that version 0.1.0 stored is read by the present version: nothing lost, nothing changed."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.config.loader import load_settings
from core.config.options import SCHEMA
from core.studio import Studio, bootstrap
from tests.integration.server.live import Served, serving
from tests.unit.stored.reading import (
    expected_request,
    image_facts,
    job_facts,
    known_options,
    plain,
    query_of,
    renamed,
    with_cfg,
)

STORED = Path(__file__).parent / "v0_1"
SETTINGS = json.loads((STORED / "settings.json").read_text(encoding="utf-8"))
OUTPUTS = json.loads((STORED / "outputs.json").read_text(encoding="utf-8"))
CALLS = json.loads((STORED / "api.json").read_text(encoding="utf-8"))


# -- settings --------------------------------------------------------------------------------------------------------


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    shutil.copytree(STORED / "configs", tmp_path / "configs")
    return tmp_path / "configs"


def test_every_option_of_a_local_yaml_is_read(configs: Path) -> None:
    settings = load_settings(configs)
    assert settings.problems == ()
    for key, value in SETTINGS["local"].items():
        present = SCHEMA.canonical(key)
        assert plain(settings.values[present]) == value, key
        assert settings.origins[present] == "configs/local.yaml", key


def test_a_profile_with_short_names_is_read(configs: Path) -> None:
    (configs / "local.yaml").unlink()
    settings = load_settings(configs, profile="studio")
    assert settings.problems == ()
    set_by_profile = {key: plain(value) for key, value in settings.values.items() if settings.origins[key] != "default"}
    assert set_by_profile == renamed(SETTINGS["profile"])


def test_every_environment_variable_is_read(configs: Path) -> None:
    (configs / "local.yaml").unlink()
    settings = load_settings(configs, environment=SETTINGS["variables"])
    assert settings.problems == ()
    for key, value in SETTINGS["local"].items():
        assert plain(settings.values[SCHEMA.canonical(key)]) == value, key


@pytest.mark.parametrize("key", SETTINGS["local"])
def test_every_key_is_taken_on_the_command_line(configs: Path, key: str) -> None:
    (configs / "local.yaml").unlink()
    if SCHEMA.find(key, "test").secret:
        pytest.skip("a secret is not taken from the command line")
    settings = load_settings(configs, overrides={key: SETTINGS["local"][key]})
    assert settings.problems == () and plain(settings.values[SCHEMA.canonical(key)]) == SETTINGS["local"][key]


@pytest.mark.parametrize(("name", "key"), SETTINGS["names"].items())
def test_every_short_name_still_names_its_option(name: str, key: str) -> None:
    assert SCHEMA.find(name, "test").key == SCHEMA.canonical(key)


# -- outputs ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A studio over a copy of the outputs folder, without a worker."""
    folder = tmp_path_factory.mktemp("stored")
    with tarfile.open(STORED / "outputs.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    overrides = {"output.directory": str(folder / "outputs"), "model.preload": False}
    opened = bootstrap.build_studio(load_settings(overrides=overrides))
    yield opened
    opened.stop()


@pytest.mark.parametrize("expected", OUTPUTS["images"], ids=lambda image: image["file"].rsplit("_", 1)[-1])
def test_every_image_keeps_its_record(studio: Studio, expected: dict[str, Any]) -> None:
    facts = image_facts(studio.history.get(expected["id"]))
    options = expected["request"]["options"]
    decisions = [{**decision, "option": SCHEMA.canonical(decision["option"])} for decision in facts.pop("decisions")]
    assert decisions == [
        {**decision, "option": SCHEMA.canonical(decision["option"])} for decision in expected["decisions"]
    ]
    wanted = {name: value for name, value in expected.items() if name not in ("decisions", "effective", "request")}
    assert renamed(facts.pop("effective")) == renamed(expected["effective"])
    assert known_options(facts.pop("request"), options) == expected_request(expected["request"])
    assert facts == wanted


@pytest.mark.parametrize("image_id", OUTPUTS["sha256"])
def test_every_image_file_is_untouched(studio: Studio, image_id: str) -> None:
    data = studio.history.file(image_id).read_bytes()
    assert hashlib.sha256(data).hexdigest() == OUTPUTS["sha256"][image_id]


@pytest.mark.parametrize("image_id", OUTPUTS["parameters"])
def test_every_image_file_gives_its_parameters(studio: Studio, image_id: str) -> None:
    expected = OUTPUTS["parameters"][image_id]
    found = studio.images.read_parameters(studio.history.file(image_id).read_bytes())
    assert found is not None and found.program == expected["program"]
    values = plain(found.values)
    assert {key: values.get(key) for key in with_cfg(expected["values"])} == with_cfg(expected["values"])
    taken = {"Sampler"} if "generation.sampler" in values else set()  # an option since then
    assert plain(found.unused) == {name: value for name, value in expected["unused"].items() if name not in taken}


@pytest.mark.parametrize("search", OUTPUTS["searches"], ids=lambda search: json.dumps(search["query"]))
def test_every_search_finds_the_same_images(studio: Studio, search: dict[str, Any]) -> None:
    found = studio.history.search(query_of({**search["query"], "limit": 500})).records
    assert [record.id for record in found] == search["ids"]


@pytest.mark.parametrize("expected", OUTPUTS["jobs"], ids=lambda job: f"{job['state']}-{job['id'][-6:]}")
def test_every_job_is_there(studio: Studio, expected: dict[str, Any]) -> None:
    facts = job_facts(studio.queue.get(expected["id"]))
    request = known_options(facts.pop("request"), expected["request"]["options"])
    assert request == expected_request(expected["request"])
    assert facts == {name: value for name, value in expected.items() if name != "request"}


def test_the_queue_keeps_its_order_and_its_pause(studio: Studio) -> None:
    assert [job.id for job in studio.queue.active(500)] == OUTPUTS["active"]
    assert studio.queue.is_paused() is OUTPUTS["queue_paused"]


def test_tags_and_collections_are_there(studio: Studio) -> None:
    assert list(studio.history.labels("tag")) == OUTPUTS["tags"]
    assert list(studio.history.labels("collection")) == OUTPUTS["collections"]


@pytest.mark.parametrize("expected", OUTPUTS["sweeps"], ids=lambda sweep: sweep["axes"][0]["option"])
def test_every_sweep_is_there(studio: Studio, expected: dict[str, Any]) -> None:
    sweep = studio.sweeps.get(expected["id"])
    assert (sweep.image_id, list(sweep.jobs)) == (expected["image"], expected["jobs"])
    assert sweep.created_at.isoformat() == expected["created_at"]
    for axis, wanted in zip(sweep.axes, expected["axes"], strict=True):
        assert [{axis.key: value} for value in axis.values] == [
            with_cfg({wanted["option"]: value}) for value in wanted["values"]
        ]
    assert studio.sweeps.file(sweep.id).is_file()


@pytest.mark.parametrize("expected", OUTPUTS["comparisons"], ids=lambda one: one["id"][-6:])
def test_every_comparison_keeps_columns_and_votes(studio: Studio, expected: dict[str, Any]) -> None:
    found = studio.benchmarks.get(expected["id"])
    assert [one.id for one in studio.benchmarks.recent()] == [one["id"] for one in OUTPUTS["comparisons"]]
    assert found.created_at.isoformat() == expected["created_at"]
    assert (list(found.prompts), list(found.seeds)) == (expected["prompts"], expected["seeds"])
    for column, wanted in zip(found.columns, expected["columns"], strict=True):
        assert (column.name, column.model, column.job) == (wanted["name"], wanted["model"], wanted["job"])
        assert (column.disk_bytes, column.embedded) == (wanted["disk_bytes"], wanted["embedded"])
        assert plain(column.values) == with_cfg(wanted["options"])
    votes = [[vote.place, vote.one, vote.other, vote.winner, vote.voter] for vote in studio.benchmarks.votes(found.id)]
    assert sorted(votes, key=str) == expected["votes"]


# -- calls -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("outputs")) as running:
        yield running


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call["name"])
@pytest.mark.by_default(
    *(f"native {case}" for case in ("short names", "guidance_scale", "options", "batch", "lora")),
    *("openai", "a1111 hires", "a1111 img2img"),
)
def test_every_call_leads_to_the_same_request(served: Served, call: dict[str, Any]) -> None:
    body = dict(call["body"])
    if "inputs" in body:
        body["inputs"] = {role: keep_input(served, data) for role, data in body["inputs"].items()}
    answer = httpx.post(served.url + call["path"], json=body, timeout=100)
    assert answer.is_success, answer.text
    job = job_facts(max(served.studio.queue.recent(200), key=lambda one: one.created_at))
    expected = call["expected"]
    request = known_options(job["request"], expected["request"]["options"])
    assert {key: request[key] for key in expected["request"]} == expected_request(expected["request"])
    assert {key: job[key] for key in expected if key != "request"} == {
        key: value for key, value in expected.items() if key != "request"
    }


def keep_input(served: Served, data: str) -> str:
    """Upload an input image and return its digest."""
    answer = httpx.post(f"{served.url}/api/v1/inputs", content=base64.b64decode(data), timeout=100)
    return str(answer.json()["digest"])
