"""A database or a store that does not answer ends the start with one sentence, and nothing is left listening."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from core.config.loader import PROJECT_ROOT

NOBODY = "127.0.0.1:1"  # nothing listens on port 1
AWAY = {
    "database": {"ZDARKROOM_STORAGE__DATABASE": f"postgresql://anna@{NOBODY}/studio", "PGPASSWORD": "hunter2"},
    "store": {
        "ZDARKROOM_STORAGE__IMAGES": "s3://pictures/anna",
        "AWS_ENDPOINT_URL": f"http://{NOBODY}",
        "AWS_ACCESS_KEY_ID": "anna",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
    },
}


@pytest.mark.by_default("database")
@pytest.mark.parametrize("what", AWAY)
def test_the_start_ends_with_a_sentence(what: str, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {"ZDARKROOM_OUTPUT__DIRECTORY": str(tmp_path), "ZDARKROOM_SERVER__PORT": str(port)}
    environment = {**os.environ, **own, **AWAY[what]}
    ended = subprocess.run(
        [sys.executable, "-m", "ui.serve"], cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 2 and not ended.stdout
    assert NOBODY in ended.stderr and "Traceback" not in ended.stderr and "hunter2" not in ended.stderr
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)) != 0
