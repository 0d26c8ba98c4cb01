"""Build and serve the documentation (`start.py docs`), and pack a release without tests (`start.py package`).

Screenshots are recorded with what they show, so that an outdated one is detected.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

SITE = Path("outputs", "site")
ADDRESS = "127.0.0.1:8502"
RELEASED = ("core", "ui", "configs", "docs", ".streamlit")  # folders of a release
LEFT_OUT = ("__pycache__", "local.yaml", "measured.json.lock")  # names of files and folders
FILES = ("*.md", "LICENSE", "start.py", "pyproject.toml", "mkdocs.yml", "requirements*.txt", "Dockerfile", "compose.yaml")

SCREENSHOTS = Path("docs", "screenshots")
RECORDS = SCREENSHOTS / "sources.json"  # what each screenshot was made from: file name -> digest
SHOWN = {  # screenshot -> the view that it shows, and the parts of the locale files with its texts
    "benchmark.webp": ("benchmark", ("benchmark",)),
    "generate.webp": ("generate", ("generate", "stage", "job")),
    "generate.zh.webp": ("generate", ("generate", "stage", "job")),
    "generate-light.webp": ("generate", ("generate", "stage", "job")),
    "generate-light.zh.webp": ("generate", ("generate", "stage", "job")),
    "hidden.webp": ("history", ("hidden",)),
    "hidden.zh.webp": ("history", ("hidden",)),
    "history.webp": ("history", ("history", "detail")),
    "live-draft.webp": ("generate", ("live",)),
    "models.webp": ("models", ("models",)),
    "paused.webp": ("generate", ("later",)),
    "paused.zh.webp": ("generate", ("later",)),
    "phone-queue.webp": ("queue", ("queue",)),
    "phone.webp": ("generate", ("generate", "stage", "job")),
    "queue.webp": ("queue", ("queue",)),
    "setup-check.webp": ("setup_check", ("guide",)),
    "system.webp": ("system", ("system", "charts")),
    "welcome.webp": ("generate", ("welcome",)),
    "why.webp": ("image_compare", ("why",)),
    "xy-plot.webp": ("sweep_grid", ("vary",)),
}


def docs(python: str, root: Path, home: Path, build: bool) -> int:
    """Build the site into outputs/site of `home`, or serve it on this machine until Ctrl+C; return mkdocs' exit code."""
    command = ["build", "--strict"] if build else ["serve", "--dev-addr", ADDRESS]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "ZDARKROOM_HOME": str(home)}
    if old := outdated(root):
        print(f"Screenshots older than their page: {', '.join(old)}. New ones: start.py docs --screenshots", file=sys.stderr)
    code = subprocess.call([python, "-m", "mkdocs", *command], cwd=root, env=environment)
    if build and code == 0:
        print(home / SITE / "index.html")
    return code


def sources_digest(root: Path, name: str) -> str:
    """Return the digest of the view and the texts that the screenshot `name` shows."""
    view, sections = SHOWN[name]
    sources = [(root / "ui" / "views" / f"{view}.py").read_text(encoding="utf-8")]
    for language in ("en", "zh"):
        texts = (root / "ui" / "locales" / f"{language}.yaml").read_text(encoding="utf-8")
        sources += [one for one in re.split(r"^(?=\w)", texts, flags=re.MULTILINE) if one.partition(":")[0] in sections]
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()[:16]


def outdated(root: Path) -> list[str]:
    """Return the screenshots whose view or texts have changed since they were made."""
    records = json.loads((root / RECORDS).read_text(encoding="utf-8"))
    return [name for name in SHOWN if records.get(name) != sources_digest(root, name)]


def record(root: Path, name: str) -> None:
    """Record that the screenshot `name` was made from the present view and texts."""
    records = json.loads((root / RECORDS).read_text(encoding="utf-8")) if (root / RECORDS).exists() else {}
    records[name] = sources_digest(root, name)
    (root / RECORDS).write_text(json.dumps(records, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def version_of(root: Path) -> str:
    """Return the version of the project in `root`, from its pyproject.toml."""
    with (root / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def package(root: Path, home: Path) -> Path:
    """Write outputs/z-darkroom-VERSION.zip of `home` with all that a user needs, and return its path.

    The same files give the same bytes: entries are sorted and have a fixed date.
    """
    version = version_of(root)
    target = home / "outputs" / f"z-darkroom-{version}.zip"
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(_released(root)):
            entry = zipfile.ZipInfo(f"z-darkroom-{version}/{path.relative_to(root).as_posix()}", (2026, 1, 1, 0, 0, 0))
            entry.external_attr = (0o755 if path.name == "start.py" else 0o644) << 16
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
        archive.writestr(zipfile.ZipInfo(f"z-darkroom-{version}/outputs/.gitkeep", (2026, 1, 1, 0, 0, 0)), b"")
    return target


def _released(root: Path) -> Iterator[Path]:
    for pattern in FILES:
        yield from root.glob(pattern)
    for folder in RELEASED:
        for path in (root / folder).rglob("*"):
            if path.is_file() and not path.name.endswith(".local.yaml") and not set(path.parts) & set(LEFT_OUT):
                yield path
