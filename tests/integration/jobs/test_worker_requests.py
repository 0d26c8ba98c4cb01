"""What people ask of a cluster's workers reaches the dispatcher once, in order."""

from pathlib import Path

import pytest

from core.errors import NotWritableError
from core.jobs.worker_commands import PREFIX, WorkerRequests


def test_every_wish_is_taken_once_in_the_order_of_asking(tmp_path: Path) -> None:
    requests = WorkerRequests(tmp_path)
    asked = [("add", "node one"), ("drain", "vm:1"), ("add", "节点")]
    for verb, name in asked:
        requests.ask(verb, name)
    assert requests.take() == asked and requests.take() == []


def test_what_is_no_wish_is_left_out_and_done_with(tmp_path: Path) -> None:
    for k, text in enumerate(("{", '["fly", "away"]', "[1]", "7")):
        (tmp_path / f"{PREFIX}{k}.command").write_text(text)
    assert WorkerRequests(tmp_path).take() == [] and not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotWritableError):
        WorkerRequests(tmp_path / "not there").ask("add", "one")
