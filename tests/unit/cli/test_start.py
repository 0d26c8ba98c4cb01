"""start.py prepares once, again when the requirements change, and says plainly what went wrong."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from core.config.loader import PROJECT_ROOT

COLLECTING = "Collecting torch==2.13.0 (from -r requirements.txt (line 5))\n"
NONE_FOUND = (
    "ERROR: Could not find a version that satisfies the requirement psutil==99 (from versions: 7.2.1, 7.2.2)\n"
    "ERROR: No matching distribution found for psutil==99\n"
)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The file as a module, in a project folder of the test's own, in English."""
    spec = importlib.util.spec_from_file_location("start", PROJECT_ROOT / "start.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")
    return module


@pytest.fixture
def installed(start: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was installed, in order; nothing really is."""
    done: list[str] = []
    (tmp_path / "requirements.txt").write_text("a==1")
    (tmp_path / "requirements-test.txt").write_text("b==1")
    monkeypatch.setattr(start, "make_venv", lambda: (done.append("venv"), (tmp_path / ".venv").mkdir()))
    monkeypatch.setattr(start, "works", lambda python: (tmp_path / ".venv").exists())
    monkeypatch.setattr(start, "install", lambda python, name: done.append(name))
    return done


def test_installs_once_and_again_when_the_file_changes(start: ModuleType, installed: list[str], tmp_path: Path) -> None:
    start.prepare("requirements.txt")
    start.prepare("requirements.txt")
    assert installed == ["venv", "requirements.txt"]
    start.prepare("requirements.txt", "requirements-test.txt")
    (tmp_path / "requirements.txt").write_text("a==2")
    start.prepare("requirements.txt", "requirements-test.txt")
    assert installed == ["venv", "requirements.txt", "requirements-test.txt", "requirements.txt"]


def test_an_install_that_failed_is_tried_again(
    start: ModuleType, installed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(python: str, name: str) -> None:
        raise start.Stop("no", "不")

    with monkeypatch.context() as patch, pytest.raises(start.Stop):
        patch.setattr(start, "install", fail)
        start.prepare("requirements.txt")
    start.prepare("requirements.txt")
    assert installed == ["venv", "requirements.txt"]


@pytest.mark.parametrize(
    ("said", "package", "cure"),
    [
        (COLLECTING + NONE_FOUND, "psutil==99", "Python 3.11 to 3.14"),
        (
            COLLECTING + "WARNING: Retrying after connection broken by 'NewConnectionError'\n",
            "torch==2.13.0",
            "network",
        ),
        (COLLECTING + "ERROR: Could not install packages: [Errno 28] No space left on device", "torch==2.13.0", "disk"),
        (COLLECTING + "  ERROR: Failed building wheel for regex\n", "regex", "Python 3.11 to 3.14"),
        (COLLECTING + "ERROR: Cannot install numpy==1 and pandas==3 because\n", "numpy==1", "start again"),
        ("", "pip", "start again"),
    ],
)
def test_a_failed_install_names_package_and_cure(start: ModuleType, said: str, package: str, cure: str) -> None:
    stop = start.explain_failure([said], Path("install.log"))
    assert str(stop).startswith(f"{package} could not be installed: ")
    assert cure in str(stop)
    assert "install.log" in str(stop)
    assert "\n" not in str(stop)


def test_a_python_that_does_not_fit_says_which_does(start: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "OLDEST", (3, 98))
    monkeypatch.setattr(start, "NEWEST", (3, 99))
    with pytest.raises(start.Stop, match=r"need Python 3\.98 - 3\.99"):
        start.find_python()


def test_a_broken_environment_is_seen(start: ModuleType, tmp_path: Path) -> None:
    assert start.works(sys.executable)
    dangling = tmp_path / "python"
    dangling.symlink_to(tmp_path / "gone")
    assert not start.works(str(dangling))


@pytest.mark.parametrize(("failing", "code"), [(None, 0), ("ruff", 1), ("mypy", 1), ("importlinter", 1), ("pytest", 5)])
def test_the_test_command_runs_everything_and_fails_when_anything_does(
    start: ModuleType, monkeypatch: pytest.MonkeyPatch, failing: str | None, code: int
) -> None:
    ran: list[str] = []

    def call(command: list[str], cwd: Path, env: dict[str, str] | None = None) -> int:
        words = " ".join(command[1:])
        ran.append(next(name for name in ("ruff", "mypy", "importlinter", "pytest") if name in words))
        return 5 if ran[-1] == failing else 0

    monkeypatch.setattr(start, "prepare", lambda *names: "python")
    monkeypatch.setattr(start.subprocess, "call", call)
    assert start.run_tests(["-k", "x"]) == code
    assert ran == ["ruff", "mypy", "importlinter", "pytest"]


@pytest.mark.parametrize("arguments", [["paint"], ["--port", "1"], ["app", "x"]])
@pytest.mark.parametrize("language", ["zh_CN.UTF-8", "C.UTF-8"])
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], language: str) -> None:
    run = subprocess.run(
        [sys.executable, str(PROJECT_ROOT / "start.py"), *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={"LC_ALL": language, "PATH": "", "PYTHONUTF8": "1"},
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("start.py: ") and run.stderr.count("\n") == 1
    assert ("没有" in run.stderr or "不接受" in run.stderr) == language.startswith("zh")
