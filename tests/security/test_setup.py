"""`doctor --security`, and who can read what the studio writes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from core.cli import doctor
from core.server.auth.authenticator import Keys
from core.server.auth.bind_address import keep_private
from core.storage import passwords
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


@pytest.mark.parametrize(
    ("packages", "told"),
    [
        ([{"name": "a", "version": "1", "vulns": []}], {"no_advisories": "ok"}),
        ([{"name": "a", "version": "1", "vulns": [{"id": "CVE-1"}]}], {"advisory": "bad"}),
        ([{"name": "a", "skip_reason": "not found"}], {"not_audited": "note"}),
        (
            [{"name": "a", "skip_reason": "not found"}, {"name": "b", "version": "1", "vulns": []}],
            {"not_audited": "note", "no_advisories": "ok"},
        ),
        (None, {"audit_failed": "note"}),
    ],
)
def test_packages_are_audited_where_pip_audit_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packages: list[dict[str, object]] | None, told: dict[str, str]
) -> None:
    """A module of that name that prints what pip-audit prints; it ends with 1 when it knows an advisory."""
    (tmp_path / "pip_audit.py").write_text(
        "print('not JSON')" if packages is None else f"import json\nprint(json.dumps({{'dependencies': {packages!r}}}))"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    findings = {one.key: one for one in doctor.check_packages()}
    assert {key: one.level for key, one in findings.items()} == told
    assert all(one.text("en") and one.text("zh") for one in findings.values())


def test_without_pip_audit_it_is_said_how_to_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    assert [(one.key, one.level) for one in doctor.check_packages()] == [("no_audit", "note")]
