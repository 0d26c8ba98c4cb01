"""Clients that are packages: installed at test time into the outputs folder, which git ignores, and run as scripts.

python -m tests.clients.packages   runs all of them and writes docs/clients.md and docs/clients.zh.md
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.config.loader import PROJECT_ROOT

CACHE = Path(os.environ.get("ZDARKROOM_CLIENTS_CACHE") or PROJECT_ROOT / "outputs" / ".clients")
SCRIPTS = Path(__file__).parent / "scripts"
INSTALL_SECONDS, RUN_SECONDS = 900, 240


class AwayError(Exception):
    """A registry or a program is not there."""


@dataclass(frozen=True)
class Package:
    """A client: what is installed, and what its script calls."""

    name: str
    kind: Literal["npm", "pip"]
    packages: tuple[str, ...]
    script: str
    calls: str


PACKAGES = (
    Package("openai (Python)", "pip", ("openai",), "openai_python.py", "models, generate, stream, edit, variation"),
    Package("webuiapi", "pip", ("webuiapi",), "webuiapi_client.py", "txt2img, img2img, extras, png-info, lists"),
    Package(
        "sd-backend-client", "pip", ("sd-backend-client",), "sd_backend.py",
        "detection, lists, capabilities, txt2img, img2img, inpaint, upscale",
    ),
    Package("litellm", "pip", ("litellm",), "litellm_client.py", "image_generation"),
    Package("langchain-community", "pip", ("langchain-community", "openai"), "langchain_dalle.py", "DallEAPIWrapper.run"),
    Package("openai (Node)", "npm", ("openai",), "openai_node.mjs", "models, generate, url, stream, edit, errors"),
    Package(
        "ai + @ai-sdk", "npm", ("ai", "@ai-sdk/openai", "@ai-sdk/openai-compatible", "zod"), "ai_sdk.mjs",
        "generateImage with openai and openai-compatible",
    ),
)  # fmt: skip


def run(package: Package, base_url: str) -> str:
    """Run a client's script against a service and return the versions. Raises AwayError, AssertionError."""
    python = _folder(package) / "bin" / "python"
    if package.kind == "npm":
        command = ["node", str(shutil.copy(SCRIPTS / package.script, _folder(package)))]
    else:
        command = [str(python), str(SCRIPTS / package.script)]
    environment = {**os.environ, "BASE_URL": base_url, "PYTHONPATH": "", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=RUN_SECONDS, env=environment, cwd=_folder(package), check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return ", ".join(f"{name} {version}" for name, version in versions(package).items())


def install(package: Package) -> None:
    """Have the packages in the cache. Raises AwayError when node or the registry is not there."""
    folder = _folder(package)
    if package.kind == "npm":
        if shutil.which("npm") is None or shutil.which("node") is None:
            raise AwayError("node and npm are not installed")
        missing = [name for name in package.packages if not (folder / "node_modules" / name).is_dir()]
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), *missing]
    else:
        if not (folder / "bin" / "python").exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=INSTALL_SECONDS)
        missing = [name for name in package.packages if name not in versions(package)]
        command = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", *missing]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if done.returncode:
        raise AwayError(f"{' '.join(missing)} cannot be installed: {done.stderr.strip()[-200:]}")


def versions(package: Package) -> Mapping[str, str]:
    """Return the installed version of each package that is there."""
    folder = _folder(package)
    if package.kind == "npm":
        manifests = {name: folder / "node_modules" / name / "package.json" for name in package.packages}
        return {name: json.loads(file.read_text())["version"] for name, file in manifests.items() if file.is_file()}
    code = "import importlib.metadata as m; print({d.metadata['Name'].lower(): d.version for d in m.distributions()})"
    done = subprocess.run([str(folder / "bin" / "python"), "-c", code], capture_output=True, text=True, check=False)
    found = json.loads(done.stdout.replace("'", '"')) if done.returncode == 0 else {}
    return {name: found[name] for name in package.packages if name in found}


def _folder(package: Package) -> Path:
    return CACHE / package.kind


def main() -> int:
    """Run every client, and write the table."""
    from tests.clients.sequences import SEQUENCES, play
    from tests.integration.server.live import serving

    rows = []
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as served:
        for package in PACKAGES:
            try:
                install(package)
                rows.append((package.name, run(package, served.url), package.calls, "works"))
            except AwayError as error:
                rows.append((package.name, "-", package.calls, f"not run: {error}"))
            except AssertionError as error:
                last = (str(error).strip().splitlines() or ["?"])[-1]
                rows.append((package.name, "-", package.calls, f"does not work: {last[:120]}"))
        for sequence in SEQUENCES:
            try:
                play(sequence, served.url)
                rows.append((sequence.name, sequence.source, sequence.calls, "works"))
            except AssertionError as error:
                rows.append((sequence.name, sequence.source, sequence.calls, f"does not work: {str(error)[:120]}"))
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    for name, page in pages(table).items():
        (PROJECT_ROOT / "docs" / name).write_text(page, encoding="utf-8")
    print(table)
    return 0 if all(row[-1] == "works" for row in rows) else 1


def pages(table: str) -> dict[str, str]:
    """Return the page of each language by its file's name."""
    chinese = table.replace("| works |", "| 可用 |").replace("| not run: ", "| 未运行：").replace("| does not work: ", "| 不可用：")
    return {"clients.md": f"{_HEAD}{table}\n", "clients.zh.md": f"{_HEAD_ZH}{chinese}\n"}


_HEAD = """# Clients

[中文](clients.zh.md)

Made by `python -m tests.clients.packages`: packages are installed in their newest versions and run against the service; of the
others, the requests that their sources send are played, and the answers are read as they read them.

| client | version | calls | result |
| --- | --- | --- | --- |
"""
_HEAD_ZH = """# 客户端

[English](clients.md)

本页由 `python -m tests.clients.packages` 生成：各软件包都装最新版，对着本服务实际运行；
其余客户端则按其源码发出的请求逐条重放，并按其读取方式读取结果。

| 客户端 | 版本 | 调用 | 结果 |
| --- | --- | --- | --- |
"""

if __name__ == "__main__":
    sys.exit(main())
