"""The release archive has what a user needs and nothing else; the report for a bug has no secrets."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

from core.cli import doctor, site
from core.config.loader import PROJECT_ROOT, load_settings


def test_an_archive_has_no_tests_caches_and_own_settings(tmp_path: Path) -> None:
    for name in ("core/a.py", "core/__pycache__/a.pyc", "configs/local.yaml", "configs/models/mine.local.yaml", "tests/t.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    first = site.package(tmp_path, tmp_path / "home")
    assert first.parent == tmp_path / "home" / "outputs", "the project itself may be read-only"
    data = first.read_bytes()
    with zipfile.ZipFile(first) as archive:
        names = {name.removeprefix("z-darkroom-1.2.3/") for name in archive.namelist()}
    assert names == {"core/a.py", "pyproject.toml", "outputs/.gitkeep"}
    assert site.package(tmp_path, tmp_path / "home").read_bytes() == data, "the same files give the same bytes"


def test_every_screenshot_says_what_it_was_made_from() -> None:
    records = json.loads((PROJECT_ROOT / site.RECORDS).read_text(encoding="utf-8"))
    assert records.keys() == site.SHOWN.keys()
    for name in site.SHOWN:
        assert (PROJECT_ROOT / site.SCREENSHOTS / name).is_file() and len(site.sources_digest(PROJECT_ROOT, name)) == 16


def test_a_screenshot_is_older_once_its_view_or_texts_change(tmp_path: Path) -> None:
    for folder in ("ui/views", "ui/locales", "docs/screenshots"):
        shutil.copytree(PROJECT_ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.webp", "__pycache__"))
    for name in site.SHOWN:
        site.record(tmp_path, name)
    assert site.outdated(tmp_path) == []
    (tmp_path / "ui" / "views" / "queue.py").write_text("")
    assert site.outdated(tmp_path) == ["phone-queue.webp", "queue.webp"]
    texts = tmp_path / "ui" / "locales" / "zh.yaml"
    texts.write_text(texts.read_text(encoding="utf-8").replace("\nsystem:", "\nsystem:\n  more: x"), encoding="utf-8")
    assert site.outdated(tmp_path) == ["phone-queue.webp", "queue.webp", "system.webp"]


def test_a_report_has_no_secrets(tmp_path: Path) -> None:
    environment = {
        "ZDARKROOM_ACCESS__TOKEN": "sixteen-characters-and-more",
        "ZDARKROOM_OUTPUT__DIRECTORY": str(tmp_path),
        "ZDARKROOM_STORAGE__DATABASE": "postgresql://studio:hidden-word@db/name",
    }
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "worker.log").write_text(f"Bearer abc123 of hf_abcdefghijk in {Path.home()}/x\n")
    text = "\n".join(doctor.report_lines(load_settings(environment=environment)))
    assert "access.token" in text and "of " in text
    for secret in ("sixteen", "hidden-word", "abc123", "hf_abc", str(Path.home())):
        assert secret not in text, secret
