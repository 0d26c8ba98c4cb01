"""Prompts enhanced and translated over HTTP, and by a studio that generates at another one."""

from __future__ import annotations

import httpx
import pytest

from core.errors import ServerRefusedError, UnknownModelError
from core.jobs.worker_commands import PromptAnswer, PromptCommands
from core.remote.catalog import RemoteCatalog
from core.remote.client import Remote
from core.server.v1 import schemas
from core.studio.prompt_help import PromptHelp
from tests.integration.server.live import Served

WISH = {"task": "enhance", "prompt": "a red house", "seed": 7}


@pytest.fixture
def able(served: Served, monkeypatch: pytest.MonkeyPatch) -> PromptCommands:
    """A model that can write, and the worker's side of its commands."""
    monkeypatch.setattr(served.studio.prompt_help, "problem", lambda model: None)
    monkeypatch.setattr(schemas, "_minute", lambda: -1)  # what the API says of this model meanwhile is not kept
    directory = served.studio.settings.output_directory / "prompts"
    directory.mkdir(exist_ok=True)
    commands = PromptCommands(directory)  # apart from the running worker's
    monkeypatch.setattr(served.studio.prompt_help, "_commands", commands)
    return commands


def test_a_prompt_is_asked_for_read_and_cancelled(served: Served, able: PromptCommands) -> None:
    asked = httpx.post(f"{served.url}/api/v1/prompts", json=WISH, timeout=60)
    assert asked.status_code == 202, asked.text
    address = served.url + asked.headers["Location"]
    command = able.take()
    assert command and (command.task, command.text, command.model, command.seed) == ("enhance", "a red house", "demo", 7)
    assert "transformer.max_sequence_length" in command.options
    able.answer(command.id, PromptAnswer("a red"))
    assert httpx.get(address).json() == {"id": command.id, "text": "a red", "done": False, "error": None}
    assert httpx.delete(address).status_code == 200 and able.is_cancelled(command.id)
    able.answer(command.id, PromptAnswer("a red", True, UnknownModelError(value="x", known="demo")))
    assert httpx.get(address).json()["error"]["code"] == "UnknownModelError"


REFUSED = [
    ({}, "too small to write prompts"), ({"task": "draw"}, "task"), ({"prompt": ""}, "prompt"), ({"model": "none"}, "none"),
    ({"more": 1}, "more"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "said"), REFUSED)
def test_what_cannot_be_written_is_refused_with_the_reason(served: Served, changed: dict[str, object], said: str) -> None:
    refused = httpx.post(f"{served.url}/api/v1/prompts", json={**WISH, **changed}, timeout=60)
    assert refused.status_code in (404, 422) and said in refused.text


def test_a_studio_that_generates_elsewhere_asks_there(
    served: Served, able: PromptCommands, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = PromptHelp(served.studio.settings, RemoteCatalog(Remote(served.url), served.studio.catalog))
    assert own.problem("demo") is None
    answer_id = own.ask("translate", "一座房子", {"model.id": "demo", **served.studio.settings.request_options()}, 3)
    command = able.take()
    assert command and (command.id, command.task, command.text, command.seed) == (answer_id, "translate", "一座房子", 3)
    able.answer(answer_id, PromptAnswer("a house", True))
    assert own.answer(answer_id) == PromptAnswer("a house", True)
    own.cancel(answer_id)
    assert able.is_cancelled(answer_id)


def test_it_is_greyed_there_with_the_reason_of_the_other_studio(served: Served) -> None:
    own = PromptHelp(served.studio.settings, RemoteCatalog(Remote(served.url), served.studio.catalog))
    reason = own.problem("demo")
    assert reason is not None and "too small to write prompts" in reason["en"]
    with pytest.raises(ServerRefusedError):
        Remote(served.url).ask_prompt({**WISH, "model": "demo"})
    gone = PromptHelp(served.studio.settings, RemoteCatalog(Remote("http://127.0.0.1:9"), served.studio.catalog))
    assert "does not answer" in gone.problem("demo")["en"]  # type: ignore[index]
