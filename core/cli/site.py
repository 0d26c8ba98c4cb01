"""Build and serve the documentation (`start.py docs`), and pack a release without tests (`start.py package`)."""

from __future__ import annotations

import os
import subprocess
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

SITE = Path("outputs", "site")
ADDRESS = "127.0.0.1:8502"
RELEASED = ("core", "ui", "configs", "docs", ".streamlit")  # folders of a release
LEFT_OUT = ("__pycache__", "local.yaml", "measured.json.lock")  # names of files and folders
FILES = ("*.md", "LICENSE", "start.py", "pyproject.toml", "mkdocs.yml", "requirements*.txt", "Dockerfile", "compose.yaml")


def docs(python: str, root: Path, build: bool) -> int:
    """Build the site into outputs/site, or serve it on this machine until Ctrl+C; return mkdocs' exit code."""
    command = ["build", "--strict"] if build else ["serve", "--dev-addr", ADDRESS]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    code = subprocess.call([python, "-m", "mkdocs", *command], cwd=root, env=environment)
    if build and code == 0:
        print(root / SITE / "index.html")
    return code


def version_of(root: Path) -> str:
    """Return the version of the project in `root`, from its pyproject.toml."""
    with (root / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def package(root: Path) -> Path:
    """Write outputs/z-darkroom-VERSION.zip with all that a user needs, and return its path.

    The same files give the same bytes: entries are sorted and have a fixed date.
    """
    version = version_of(root)
    target = root / "outputs" / f"z-darkroom-{version}.zip"
    target.parent.mkdir(exist_ok=True)
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
