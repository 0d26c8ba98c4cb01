"""`doctor --security`, and who can read what the studio writes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from core.cli import doctor
from core.server.auth import passwords
from core.server.auth.authenticator import Keys
from core.server.auth.private_files import keep_private
from tests.integration.jobs.harness import make_settings
from tests.options import measured

TOKEN = "a-token-of-24-characters"


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "LOG_N", 5)


def found(folder: Path, **values: object) -> dict[str, str]:
    """The findings by name, each with its level."""
    return {
        one.key: one.level for one in doctor.check(make_settings(folder, **values)) if one.text("en") and one.text("zh")
    }


def test_doctor_says_how_a_set_up_stands(tmp_path: Path) -> None:
    assert found(tmp_path) == {"local": "ok", "no_key": "note", "no_origins": "ok", "secrets": "ok"}
    assert found(tmp_path, **{"server.host": "0.0.0.0"}) == {"refused": "bad"}
    tmp_path.chmod(0o755)
    Keys(make_settings(tmp_path)).users.add("anna", "correct horse")
    told = found(
        tmp_path, **{"server.host": "0.0.0.0", "server.cors_origins": ("*",), "server.trusted_proxies": ("10.0.0.1",)}
    )
    assert told["open"] == told["users"] == "ok" and told["any_origin"] == told["output"] == "bad"
    assert told["proxies"] == told["plain_http"] == "note"
    (tmp_path / "access" / "users.json").chmod(0o644)
    assert found(tmp_path)["readable"] == "bad"


@pytest.mark.option("access.share_files")
@pytest.mark.parametrize(("values", "mode"), [({}, 0o644), ({"access.token": TOKEN}, 0o600)])
def test_files_are_private_where_a_key_is_set(tmp_path: Path, values: dict[str, object], mode: int) -> None:
    before = os.umask(0o022)
    try:
        settings = make_settings(tmp_path, **values)
        assert keep_private(settings, Keys(settings)) is bool(values)
        file = tmp_path / "image.png"
        file.write_bytes(b"x")
        assert stat.S_IMODE(file.stat().st_mode) == mode
        if values:
            assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
            shared = make_settings(tmp_path, **values, **{"access.share_files": True})
            assert not keep_private(shared, Keys(shared))
    finally:
        os.umask(before)
    measured("access.share_files", "with a token, files are 0600 and the output folder 0700; true: as the umask has it")
