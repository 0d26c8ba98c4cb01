"""Loading and unloading without a job: between two jobs, by the worker that there is."""

from __future__ import annotations

import pytest

from core.errors import ModelFileError
from core.jobs.worker_commands import ModelCommand, ModelCommands
from tests.integration.jobs.harness import JobHarness, wait_for
from tests.options import measured


def test_a_wish_is_heard_once_and_a_later_one_replaces_it(tmp_path):
    commands = ModelCommands(tmp_path)
    assert commands.take() is None
    commands.ask(ModelCommand("one", {}))
    commands.ask(ModelCommand("two", {"model.dtype": "float32"}))
    assert ModelCommands(tmp_path).take() == ModelCommand("two", {"model.dtype": "float32"})
    assert commands.take() is None


def test_a_refusal_lasts_until_the_next_wish(tmp_path):
    commands = ModelCommands(tmp_path)
    commands.refuse(ModelFileError(model="one", file="a", problem={"en": "why", "zh": "为何"}))
    assert "why" in ModelCommands(tmp_path).refusal().message("en")
    commands.ask(ModelCommand("two", {}))
    assert commands.refusal() is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_broken_file_is_no_wish(tmp_path, content):
    (tmp_path / "model.command").write_bytes(content)
    assert ModelCommands(tmp_path).take() is None
    assert not (tmp_path / "model.command").exists()


@pytest.mark.option("model.last_at_start")
def test_load_switch_unload_and_the_last_one_at_the_next_start(harness, tmp_path):
    harness.supervisor.start()
    harness.worker_pid()
    for model in ("one", "two"):
        harness.supervisor.load(model, {})
        wait_for(lambda model=model: harness.supervisor.status().model == model)
    before = harness.supervisor.status()
    harness.supervisor.unload()
    after = wait_for(lambda: (now := harness.supervisor.status()).pid not in (None, before.pid) and now)
    assert after.model is None
    harness.supervisor.stop()
    again = JobHarness(tmp_path, **{"model.preload": True, "model.last_at_start": True})
    again.supervisor.start()
    try:
        wait_for(lambda: again.supervisor.status().model == "two")
        measured("model.last_at_start", "true: after a restart the model that was loaded last was there again")
    finally:
        again.close()
