"""What whoever watches the server is told: starting, ready, or degraded with the reasons."""

from __future__ import annotations

from dataclasses import replace

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from core.errors import DatabaseUnavailableError, NoRoomError
from core.server.health import PATH, Health
from core.studio import Studio
from tests.integration.server.live import Served


def told(studio: Studio | None, in_detail: bool = True) -> tuple[int, dict[str, object]]:
    answer = TestClient(Health(Starlette(), lambda: studio, lambda: in_detail)).get(PATH)
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.status_code, answer.json()


def test_starting_until_there_is_a_studio_then_ready(served: Served) -> None:
    assert told(None) == (503, {"status": "starting"})
    assert told(served.studio) == (200, {"status": "ready"})


def test_a_full_disk_degrades(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    trouble = NoRoomError(path="/outputs")
    status = replace(served.studio.worker.status(), trouble=trouble)
    monkeypatch.setattr(served.studio.worker, "status", lambda: status)
    code, said = told(served.studio)
    reason = {"code": "NoRoomError", "en": trouble.message("en"), "zh": trouble.message("zh")}
    assert (code, said) == (200, {"status": "degraded", "reasons": [reason]})
    assert told(served.studio, in_detail=False)[1]["reasons"] == [{"code": "NoRoomError"}], "strangers learn no path"


def test_a_database_that_is_away_degrades(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> bool:
        raise DatabaseUnavailableError(path="postgresql://db/studio", detail="it is starting up")

    monkeypatch.setattr(served.studio.queue, "is_paused", away)
    code, said = told(served.studio, in_detail=False)
    assert (code, said) == (200, {"status": "degraded", "reasons": [{"code": "DatabaseUnavailableError"}]})
