"""`queue`: jobs listed, paused, resumed and cancelled from the command line, in the database that the app uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.cli import main
from core.config.loader import load_settings
from core.studio import Studio, bootstrap
from core.types import Job, JobState
from tests.unit.cli.conftest import Said


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    """The app's studio over the same output folder, without a worker."""
    monkeypatch.setenv("ZDARKROOM_OUTPUT__DIRECTORY", str(tmp_path))
    made = bootstrap.build_studio(load_settings(overrides={"output.directory": str(tmp_path)}))
    yield made
    made.stop()


@pytest.fixture
def job(studio: Studio) -> Job:
    return studio.queue.submit(studio.requests.new({"prompt": "红色的房子", "seed": 1, "num_images": 2}))


@pytest.fixture
def queue(studio: Studio, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def run(*arguments: str) -> Said:
        capsys.readouterr()
        return Said(main.main(["queue", *arguments, "--lang", "en"]), *capsys.readouterr())

    return run


def test_the_list_has_id_images_state_and_prompt(queue: Callable[..., Said], job: Job) -> None:
    said = queue()
    assert said.code == 0 and said.out.split()[:2] == [job.id[-8:], "0/2"] and "红色的房子" in said.out


def test_a_job_is_paused_and_resumed(queue: Callable[..., Said], studio: Studio, job: Job) -> None:
    assert "paused" in queue("pause", job.id[-8:]).out and studio.queue.get(job.id).held
    assert "paused" not in queue("resume", job.id[-8:]).out and not studio.queue.get(job.id).held


def test_the_queue_is_paused_and_resumed(queue: Callable[..., Said], studio: Studio, job: Job) -> None:
    assert "queue resume" in queue("pause").out and studio.queue.is_paused()
    assert not studio.queue.get(job.id).held
    assert queue("resume").out == "The queue continues.\n" and not studio.queue.is_paused()


def test_a_job_is_cancelled(queue: Callable[..., Said], studio: Studio, job: Job) -> None:
    queue("cancel", job.id)
    assert studio.queue.get(job.id).state is JobState.CANCELLED


@pytest.mark.parametrize("named", [[], ["12345"], ["nothing-like-it"]])
def test_a_job_that_is_not_there_is_told_with_those_that_are(
    queue: Callable[..., Said], studio: Studio, job: Job, named: list[str]
) -> None:
    said = queue("cancel", *named)
    assert said.code == 2 and job.id[-8:] in said.line and studio.queue.get(job.id).state is JobState.QUEUED
