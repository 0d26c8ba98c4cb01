"""Two whole earlier versions' stored data, opened by the present one: every row, file, mark and waiting job compared.

README.md says how the folders were made. With `-m slow` the jobs that waited are run and an image is generated again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core.config.loader import PROJECT_ROOT, load_settings
from core.config.options import SCHEMA
from core.studio import Studio, bootstrap
from core.types import JobState
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

FOLDER = Path(__file__).parent
VERSIONS = ("2026-11-25", "2026-11-30")
RUN_SECONDS = 600


@dataclass(frozen=True)
class Stored:
    """What a version left behind: its own account of it, and a studio of the present version over a copy."""

    version: str
    expected: dict[str, Any]
    settings: dict[str, Any]
    studio: Studio


def opened(version: str, folder: Path) -> Stored:
    with tarfile.open(FOLDER / version / "stored.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    overrides = {"output.directory": str(folder / "outputs"), "model.preload": False, "model.device": "cpu"}
    expected, settings = (
        json.loads((folder / name).read_text(encoding="utf-8")) for name in ("outputs.json", "settings.json")
    )
    return Stored(version, expected, settings, bootstrap.build_studio(load_settings(overrides=overrides)))


@pytest.fixture(scope="module", params=VERSIONS)
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    """A studio without a worker."""
    found = opened(request.param, tmp_path_factory.mktemp("stored"))
    yield found
    found.studio.stop()


def test_local_settings_are_read(stored: Stored, tmp_path: Path) -> None:
    shutil.copytree(PROJECT_ROOT / "configs", tmp_path / "configs", ignore=shutil.ignore_patterns("*local.yaml"))
    shutil.copy(FOLDER / stored.version / "local.yaml", tmp_path / "configs")
    settings = load_settings(tmp_path / "configs")
    assert settings.problems == ()
    values = renamed(stored.settings["local"])
    assert {key: plain(settings.values[key]) for key in values} == values
    assert {settings.origins[key] for key in values} == {"configs/local.yaml"}


def test_images_keep_their_records(stored: Stored) -> None:
    for expected in stored.expected["images"]:
        facts = image_facts(stored.studio.history.get(expected["id"]))
        options = expected["request"]["options"]
        assert known_options(facts.pop("request"), options) == expected_request(expected["request"])
        assert renamed(facts.pop("effective")) == renamed(expected["effective"])
        assert with_present_keys(facts.pop("decisions")) == with_present_keys(expected["decisions"])
        compared = ("request", "effective", "decisions")
        assert facts == {name: value for name, value in expected.items() if name not in compared}


def with_present_keys(decisions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**one, "option": SCHEMA.canonical(one["option"])} for one in decisions]


def test_files_are_untouched_and_say_their_parameters(stored: Stored) -> None:
    expected = stored.expected
    for image_id, digest in expected["sha256"].items():
        data = stored.studio.history.file(image_id).read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest
        if (said := expected["parameters"].get(image_id)) is not None:
            found = stored.studio.images.read_parameters(data)
            assert found is not None and found.program == said["program"]
            values, wanted = plain(found.values), with_cfg(said["values"])
            assert {key: values.get(key) for key in wanted} == wanted
            unused = {name: value for name, value in said["unused"].items() if name != "Sampler"}  # an option since then
            assert unused.items() <= plain(found.unused).items()


def test_searches_find_the_same_images(stored: Stored) -> None:
    for search in stored.expected["searches"]:
        found = stored.studio.history.search(query_of({**search["query"], "limit": 500})).records
        if "sort" in search["query"]:  # equal ones may stand in another order
            assert sorted(record.id for record in found) == sorted(search["ids"]), search["query"]
        else:
            assert [record.id for record in found] == search["ids"], search["query"]
    assert list(stored.studio.history.labels("tag")) == stored.expected["tags"]
    assert list(stored.studio.history.labels("collection")) == stored.expected["collections"]


def test_jobs_wait_in_their_order(stored: Stored) -> None:
    queue = stored.studio.queue
    for expected in stored.expected["jobs"]:
        facts = job_facts(queue.get(expected["id"]))
        request = known_options(facts.pop("request"), expected["request"]["options"])
        assert request == expected_request(expected["request"])
        assert facts == {name: value for name, value in expected.items() if name != "request"}
    assert [job.id for job in queue.active(500)] == stored.expected["active"]
    assert queue.is_paused() is stored.expected["queue_paused"] is True


def test_input_images_of_jobs_and_images_are_there(stored: Stored) -> None:
    requests = [one["request"] for one in (*stored.expected["jobs"], *stored.expected["images"])]
    digests = {digest for request in requests for digest in request["inputs"].values()}
    assert digests
    for digest in digests:
        assert stored.studio.input_images.read(digest).size > (0, 0)


def test_sweeps_and_comparisons_keep_their_cells_and_votes(stored: Stored) -> None:
    for expected in stored.expected["sweeps"]:
        sweep = stored.studio.sweeps.get(expected["id"])
        assert (sweep.image_id, list(sweep.jobs)) == (expected["image"], expected["jobs"])
        for axis, wanted in zip(sweep.axes, expected["axes"], strict=True):
            values = [with_cfg({wanted["option"]: value}) for value in wanted["values"]]
            assert [{axis.key: value} for value in axis.values] == values
        assert stored.studio.sweeps.file(sweep.id).is_file()
    for expected in stored.expected["comparisons"]:
        found = stored.studio.benchmarks.get(expected["id"])
        assert (list(found.prompts), list(found.seeds)) == (expected["prompts"], expected["seeds"])
        for column, wanted in zip(found.columns, expected["columns"], strict=True):
            assert (column.name, column.model, column.job) == (wanted["name"], wanted["model"], wanted["job"])
            assert (column.disk_bytes, column.embedded) == (wanted["disk_bytes"], wanted["embedded"])
            assert plain(column.values) == with_cfg(wanted["options"])
        votes = [[vote.place, vote.one, vote.other, vote.winner, vote.voter] for vote in stored.studio.benchmarks.votes(found.id)]
        assert sorted(votes, key=str) == expected["votes"]


def test_the_copy_of_the_database_before_the_upgrade_lies_beside_it(stored: Stored) -> None:
    copies = list(stored.studio.settings.output_directory.glob("studio.db.*.backup"))
    assert len(copies) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("version", "reasons"), [("2026-11-25", ["model.fingerprint"]), ("2026-11-30", [])])
def test_waiting_jobs_are_run_and_an_image_is_generated_again(version: str, reasons: list[str], tmp_path: Path) -> None:
    """The job that its worker died of keeps its image; a rerun is identical, or names the embedded model as retrained."""
    found = opened(version, tmp_path)
    studio = found.studio
    waiting = [job for job in found.expected["jobs"] if job["position"] is not None]
    first = min(found.expected["images"], key=lambda image: str(image["created_at"]))
    again = studio.queue.submit(studio.history.get(first["id"]).request)
    studio.queue.pause(False)
    studio.start()
    try:
        until = time.monotonic() + RUN_SECONDS
        while any(studio.queue.get(job["id"]).state.active for job in waiting) or studio.queue.get(again.id).state.active:
            assert time.monotonic() < until
            time.sleep(0.5)
        for job in waiting:
            ended = studio.queue.get(job["id"])
            assert (ended.state, ended.error) == (JobState.DONE, None)
            assert list(ended.image_ids)[: len(job["images"])] == job["images"]
            assert len(ended.image_ids) == job["request"]["images"]
        result = studio.reruns.result(first["id"], studio.queue.get(again.id).image_ids[0])
        assert result.difference.identical is not bool(reasons)
        assert [change.name for change in result.reasons] == reasons
    finally:
        studio.stop()
