"""Collect the pages of the site: docs/ and the ones outside it, in one folder, with links that fit."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OUTPUTS = Path(os.environ.get("ZDARKROOM_HOME", ROOT)) / "outputs"
SOURCE = OUTPUTS / "site-source"
OUTSIDE = {  # path from the project's folder -> page of the site
    "configs/README.md": "configuration.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}


_OTHER_LANGUAGE = re.compile(r"^\[(?:中文|English)\]\([\w.-]+\)\n+", re.MULTILINE)


def on_config(config: Any) -> Any:
    """Copy all pages into `SOURCE` and build from there."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(ROOT / "docs", SOURCE, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for path, page in OUTSIDE.items():
        shutil.copy(ROOT / path, SOURCE / page)
    for page in SOURCE.rglob("*.md"):
        page.write_text(_with_links_of_the_site(page.read_text(encoding="utf-8")), encoding="utf-8")
    config["docs_dir"] = str(SOURCE)
    config["site_dir"] = str(OUTPUTS / "site")
    return config


def _with_links_of_the_site(text: str) -> str:
    text = _OTHER_LANGUAGE.sub("", text).replace(".zh.md", ".md")  # the site has a switch, and finds the page's language itself
    for path, page in OUTSIDE.items():
        text = text.replace(f"](../{path}", f"]({page}").replace(f"]({path}", f"]({page}")
    return text.replace("](../README.md", "](index.md").replace("](docs/", "](")
