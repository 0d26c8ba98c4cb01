"""start.py and the launcher: parsed by old Pythons, prepares once, again when the requirements change, one-line errors."""

from __future__ import annotations

import ast
import os
import runpy
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

from core.cli import environment, launcher
from core.config.loader import PROJECT_ROOT, load_settings

COLLECTING = "Collecting torch==2.13.0 (from -r requirements.txt (line 5))\n"
NONE_FOUND = (
    "ERROR: Could not find a version that satisfies the requirement psutil==99 (from versions: 7.2.1, 7.2.2)\n"
    "ERROR: No matching distribution found for psutil==99\n"
)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The environment of a project folder of the test's own, in English."""
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.delenv(environment.HOME_VARIABLE, raising=False)
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")
    return environment


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


def test_an_install_that_was_killed_begins_with_a_new_environment(
    start: ModuleType, installed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(python: str, name: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(start, "install", die)
        start.prepare("requirements.txt")
    assert not start.is_ready("requirements.txt")
    shutil.rmtree(tmp_path / ".venv") if (tmp_path / ".venv" / "installing").exists() else None
    start.prepare("requirements.txt")
    assert installed == ["venv", "venv", "requirements.txt"] and start.is_ready("requirements.txt")


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


@pytest.mark.parametrize("reachable", [True, False])
def test_no_versions_found_is_a_network_fault_if_the_index_is_out_of_reach(
    start: ModuleType, reachable: bool
) -> None:
    """Without retries pip says only that it found no version."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if reachable:
            server.listen()
            threading.Thread(target=answer, args=(server,), daemon=True).start()
        index = f"http://127.0.0.1:{server.getsockname()[1]}/simple"
        found = NONE_FOUND.replace("7.2.1, 7.2.2", "none")
        assert ("network" in str(start.explain_failure([found], Path("install.log"), index))) is not reachable


def answer(server: socket.socket) -> None:
    connection, _ = server.accept()
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    connection.close()


# -- old Pythons -----------------------------------------------------------------------------------------------------


def test_start_py_has_no_syntax_that_old_pythons_do_not_know() -> None:
    tree = ast.parse((PROJECT_ROOT / "start.py").read_text(encoding="utf-8"), feature_version=(3, 4))
    new = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.Starred)
    stars = {id(node) for call in ast.walk(tree) if isinstance(call, ast.Call) for node in call.args}
    assert not [node for node in ast.walk(tree) if isinstance(node, new) and id(node) not in stars]
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert not [one for one in functions if one.returns or any(each.annotation for each in one.args.args)]
    futures = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    assert [name.name for node in futures for name in node.names] == ["print_function"]


def old_pythons() -> list[str]:
    """Return the Pythons of this machine that are too old."""
    probe = "import sys; sys.exit(sys.version_info[:2] >= (3, 11))"
    versions = ("2.7", "3.6", "3.7", "3.8", "3.9", "3.10")
    named = [shutil.which(f"python{version}") for version in versions]
    for version in versions:
        named += map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    return [path for path in named if path and subprocess.call([path, "-c", probe], stderr=subprocess.DEVNULL) == 0]


def test_an_old_python_says_which_is_needed(tmp_path: Path) -> None:
    pythons = old_pythons()
    if not pythons:
        pytest.skip("no Python before 3.11 on this machine")
    text = (PROJECT_ROOT / "start.py").read_text(encoding="utf-8")
    assert "(3, 11), (3, 14)" in text
    (tmp_path / "start.py").write_text(text.replace("(3, 11), (3, 14)", "(3, 97), (3, 98)"), encoding="utf-8")  # none is there
    for python in pythons:
        run = subprocess.run([python, "start.py"], cwd=tmp_path, capture_output=True, text=True, env={"LC_ALL": "C"})
        assert run.returncode == 1 and "need Python 3.97 - 3.98" in run.stderr and run.stderr.count("\n") == 1


def test_an_old_python_runs_one_that_fits(tmp_path: Path) -> None:
    pythons = old_pythons()
    if not pythons:
        pytest.skip("no Python before 3.11 on this machine")
    newer = tmp_path / "bin" / "python3.13"
    newer.parent.mkdir()
    newer.symlink_to(sys.executable)
    for python in pythons:
        command = [python, str(PROJECT_ROOT / "start.py"), "paint"]
        run = subprocess.run(command, capture_output=True, text=True, env={"LC_ALL": "C", "PATH": str(newer.parent)})
        assert run.returncode == 2 and "no command paint" in run.stderr and run.stderr.count("\n") == 1


@pytest.mark.parametrize("name", [".pyenv/versions/3.12.4/bin/python", ".local/share/uv/python/cpython-3.12.9-x/bin/python3"])
def test_a_python_that_an_installer_put_in_the_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    script = runpy.run_path(str(PROJECT_ROOT / "start.py"))
    script["USUAL_FOLDERS"].clear()  # what the machine itself has
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).symlink_to(sys.executable)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    assert script["find_python"]() == str(tmp_path / name)


# -- folders ---------------------------------------------------------------------------------------------------------


def test_home_is_the_project_unless_it_is_read_only(
    start: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert start.home() == tmp_path
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(start.os, "access", lambda path, mode: False)  # root may write anywhere
    assert start.home() != tmp_path
    monkeypatch.setenv(start.HOME_VARIABLE, str(tmp_path / "named"))
    assert start.home() == tmp_path / "named" and start.venv() == tmp_path / "named" / ".venv"


def test_outputs_and_local_settings_lie_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(environment.HOME_VARIABLE, str(tmp_path))
    (tmp_path / "local.yaml").write_text("generation: {seed: 7}")
    settings = load_settings(environment=os.environ)
    assert settings.problems == () and settings["generation.seed"] == 7
    assert settings.output_directory == tmp_path / "outputs"


def test_start_works_through_a_link_from_another_folder(tmp_path: Path) -> None:
    (tmp_path / "zd").symlink_to(PROJECT_ROOT / "start.py")
    run = subprocess.run([sys.executable, str(tmp_path / "zd"), "paint"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 2 and "paint" in run.stderr


def test_a_second_first_start_waits(start: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entered = threading.Event()

    def second() -> None:
        with start.alone(tmp_path / ".setup.lock"):
            entered.set()

    with start.alone(tmp_path / ".setup.lock"):
        thread = threading.Thread(target=second)
        thread.start()
        while "waiting" not in capsys.readouterr().err:
            assert thread.is_alive() and not entered.is_set()
    thread.join()
    assert entered.is_set()


# -- uv --------------------------------------------------------------------------------------------------------------


@pytest.mark.by_default("0")
@pytest.mark.parametrize("code", [0, 1])
def test_uv_installs_where_it_is_and_pip_where_it_fails(
    start: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int
) -> None:
    (tmp_path / "requirements.txt").write_text("# nothing to install\n")
    (tmp_path / ".venv").mkdir()
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(f'#!/bin/sh\necho "$@" "$UV_DEFAULT_INDEX" > {tmp_path}/called\nexit {code}\n')
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", str(uv.parent), prepend=os.pathsep)
    monkeypatch.setenv("PIP_INDEX_URL", "http://mirror.example/simple")
    start.install(sys.executable, "requirements.txt")
    called = (tmp_path / "called").read_text()
    assert f"pip install --python {sys.executable}" in called and "http://mirror.example/simple" in called
    assert ("trying pip" in capsys.readouterr().err) is bool(code)


def test_uv_gets_what_pip_is_told_by_its_variables_and_its_file(
    start: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = http://file.example/simple\nfind-links = /a\n  /b\n")
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    told = start.uv_environment(start.pip_settings(sys.executable))
    assert (told["UV_DEFAULT_INDEX"], told["UV_FIND_LINKS"]) == ("http://file.example/simple", "/a,/b")
    monkeypatch.setenv("PIP_INDEX_URL", "http://variable.example/simple")
    assert start.uv_environment(start.pip_settings(sys.executable))["UV_DEFAULT_INDEX"] == "http://variable.example/simple"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://own.example/simple")
    assert start.uv_environment(start.pip_settings(sys.executable))["UV_DEFAULT_INDEX"] == "http://own.example/simple"


def test_a_broken_environment_is_seen(start: ModuleType, tmp_path: Path) -> None:
    assert start.works(sys.executable)
    dangling = tmp_path / "python"
    dangling.symlink_to(tmp_path / "gone")
    assert not start.works(str(dangling))


@pytest.mark.parametrize(("failing", "code"), [(None, 0), ("ruff", 1), ("mypy", 1), ("importlinter", 1), ("pytest", 5)])
def test_the_test_command_runs_everything_and_fails_when_anything_does(
    start: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], failing: str | None, code: int
) -> None:
    ran: list[str] = []

    def call(command: list[str], cwd: Path, env: dict[str, str] | None = None) -> int:
        words = " ".join(command[1:])
        ran.append(next(name for name in ("ruff", "importlinter", "pytest") if name in words))
        return 5 if ran[-1] == failing else 0

    monkeypatch.setattr(start, "prepare", lambda *names: sys.executable)
    monkeypatch.setattr(start.subprocess, "call", call)
    monkeypatch.setattr(launcher, "MYPY", ["-c", f"print('types'); raise SystemExit({int(failing == 'mypy')})"])
    assert launcher.run_tests(["-k", "x"]) == code
    assert ran == ["ruff", "importlinter", "pytest"]
    said = capfd.readouterr()
    assert said.out == "types\n" and ("Failed, see above: mypy." in said.err) is (failing == "mypy")


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
