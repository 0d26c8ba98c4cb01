"""The release archive has what a user needs and nothing else; the report for a bug has no secrets."""

from __future__ import annotations

import zipfile
from pathlib import Path

from core.cli import bug_report, site
from core.config.loader import load_settings


def test_an_archive_has_no_tests_caches_and_own_settings(tmp_path: Path) -> None:
    for name in ("core/a.py", "core/__pycache__/a.pyc", "configs/local.yaml", "configs/models/mine.local.yaml", "tests/t.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    first = site.package(tmp_path)
    data = first.read_bytes()
    with zipfile.ZipFile(first) as archive:
        names = {name.removeprefix("z-darkroom-1.2.3/") for name in archive.namelist()}
    assert names == {"core/a.py", "pyproject.toml", "outputs/.gitkeep"}
    assert site.package(tmp_path).read_bytes() == data, "the same files give the same bytes"


def test_a_report_has_no_secrets(tmp_path: Path) -> None:
    environment = {
        "ZDARKROOM_ACCESS__TOKEN": "sixteen-characters-and-more",
        "ZDARKROOM_OUTPUT__DIRECTORY": str(tmp_path),
        "ZDARKROOM_STORAGE__DATABASE": "postgresql://studio:hidden-word@db/name",
    }
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "worker.log").write_text(f"Bearer abc123 of hf_abcdefghijk in {Path.home()}/x\n")
    text = "\n".join(bug_report.lines(load_settings(environment=environment)))
    assert "access.token" in text and "of " in text
    for secret in ("sixteen", "hidden-word", "abc123", "hf_abc", str(Path.home())):
        assert secret not in text, secret
