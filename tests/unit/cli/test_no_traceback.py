"""No command ends in a traceback: not when its output is not read, nor on an ASCII terminal, at Ctrl+C, or without its files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from argparse import _SubParsersAction
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from sqlite3 import connect

import pytest

from core.cli import launcher
from core.cli.console import obstacle
from core.cli.main import build_parser
from core.config.loader import PROJECT_ROOT
from core.errors import DatabaseLockedError, NoRoomError, WorkerStartError
from core.storage.database import Database
from core.storage.dialects import sqlite
from core.types import JobState, WorkerStatus

PRINTING = (
    ["--help"], ["options"], ["samplers"], ["samplers", "--json"], ["models"], ["models", "check", "core/demo/weights"],
    ["inspect", "docs/screenshots/generate.webp"], ["doctor"], ["history", "check"], ["history", "rebuild"],
    ["generate", "--help"], ["users", "list"], ["queue"],
)  # fmt: skip
OTHERS = (
    ["generate", "红", "--steps", "x"], ["compare"], ["compare", "--help"], ["inspect", "nowhere.png"], ["upscale", "nowhere.png"],
    ["users", "remove", "红"], ["demo-eval", "--help"], ["verify", "--help"], ["bench", "--help"], ["models", "get", "红"],
    ["history", "move", "--to", "红://"], ["queue", "cancel", "红"],
)  # fmt: skip
BEGINNING = (["generate", "a house"], ["bench"], ["history", "check"])
NOWHERE = "postgresql://me@127.0.0.1:1/studio"


def test_every_command_is_among_them() -> None:
    assert {arguments[0] for arguments in (*PRINTING, *OTHERS)} == {"--help", *launcher.COMMANDS}


def every_action() -> tuple[list[str], ...]:
    """Return each command with each of its actions, as the parser has them; without the benchmarks, which open no history."""
    (commands,) = [action.choices for action in build_parser("en")._actions if isinstance(action, _SubParsersAction)]
    found: list[list[str]] = []
    for name, parser in commands.items():
        actions = [action.choices for action in parser._positionals._group_actions if action.choices]
        found += [[name, choice] for choices in actions for choice in choices] or [[name]]
    return tuple(arguments for arguments in found if arguments[0] not in ("bench", "demo-eval", "verify"))


Ended = tuple[list[str], int, str]


class Commands:
    """Runs commands one after the other, each in a fork of one process."""

    def __init__(self, **environment: str) -> None:
        command = [sys.executable, "-m", "tests.unit.cli.each_command"]
        self._process = subprocess.Popen(
            command, cwd=PROJECT_ROOT, env={**os.environ, **environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def run(self, commands: tuple[list[str], ...], folder: Path, stdout: str = "", **environment: str) -> Iterator[Ended]:
        """Yield arguments, exit code and stderr of each command."""
        assert self._process.stdin and self._process.stdout
        for arguments in commands:
            asked = {"arguments": arguments, "stdout": stdout, "environment": variables(folder, environment)}
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
            assert b"UnicodeEncodeError" not in answer
            yield arguments, (said := json.loads(answer))["code"], said["errors"]

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    """Yield a process for all tests whose environment need not be that of its start."""
    running = Commands()
    yield running
    running.close()


def variables(folder: Path, more: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, "ZDARKROOM_OUTPUT__DIRECTORY": str(folder), "LC_ALL": "C.UTF-8", **more}


def assert_no_traceback(arguments: list[str], code: int, errors: str) -> None:
    assert code in (0, 1, 2) and "Traceback" not in errors and "Exception ignored" not in errors, (arguments, code, errors)
    assert "bug of Z Darkroom" not in errors, (arguments, errors)


def some_or_all(some: tuple[list[str], ...], every: tuple[list[str], ...]) -> pytest.MarkDecorator:
    """By default some of the commands."""
    return pytest.mark.parametrize("asked", [some, pytest.param(every, marks=pytest.mark.slow)], ids=["some", "all"])


@some_or_all(PRINTING[1:4], PRINTING)
def test_output_that_nobody_reads(commands: Commands, tmp_path: Path, asked: tuple[list[str], ...]) -> None:
    for arguments, code, errors in commands.run(asked, tmp_path / "outputs", "closed"):
        assert_no_traceback(arguments, code, errors)
        assert "BrokenPipe" not in errors and "Broken pipe" not in errors, (arguments, errors)


@some_or_all((PRINTING[0], PRINTING[2], PRINTING[-1], OTHERS[0], OTHERS[-3]), (*PRINTING, *OTHERS))
def test_a_terminal_of_ascii(tmp_path: Path, asked: tuple[list[str], ...]) -> None:
    ascii_only = {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii:strict", "LC_ALL": "zh_CN.UTF-8"}
    commands = Commands(**ascii_only)
    for ended in commands.run(asked, tmp_path / "outputs", **ascii_only):
        assert_no_traceback(*ended)
    commands.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@some_or_all(PRINTING[1:4], PRINTING)
def test_a_full_disk_behind_the_output(commands: Commands, tmp_path: Path, asked: tuple[list[str], ...]) -> None:
    for arguments, code, errors in commands.run(asked, tmp_path / "outputs", "/dev/full"):
        assert_no_traceback(arguments, code, errors)
        if "--help" not in arguments and arguments not in (["users", "list"], ["queue"]):  # argparse ignores it; nothing is listed
            assert code == 2 and errors.count("\n") == 1, (arguments, code, errors)


def _hear_ctrl_c() -> None:
    """Undo what a shell does to commands in its background: they, and what they start, ignore Ctrl+C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("arguments", BEGINNING, ids=" ".join)
@pytest.mark.by_default("generate a house", "history check")
def test_ctrl_c(tmp_path: Path, arguments: list[str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "core.cli", *arguments], cwd=PROJECT_ROOT, env=variables(tmp_path / "outputs", {}),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=_hear_ctrl_c,
    )  # fmt: skip
    while not (tmp_path / "outputs" / "logs").exists():  # the command has begun
        assert process.poll() is None
        time.sleep(0.01)
    errors = b""
    while process.returncode is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):  # libraries that are being imported swallow one now and then: press again
            _, errors = process.communicate(timeout=5)
    assert process.returncode in (0, 130) and b"Traceback" not in errors, errors.decode()


@pytest.mark.by_default("garbage")
@pytest.mark.parametrize("kind", ["garbage", "folder", "file instead of the outputs folder", "server that is away"])
def test_a_database_that_cannot_be_used(commands: Commands, tmp_path: Path, kind: str) -> None:
    outputs, more = tmp_path / "outputs", {}
    if kind == "file instead of the outputs folder":
        outputs.write_text("not a folder")
    elif kind == "server that is away":
        more = {"ZDARKROOM_STORAGE__DATABASE": NOWHERE}
    else:
        outputs.mkdir()
        database = outputs / "studio.db"
        database.write_bytes(b"no database" * 1000) if kind == "garbage" else database.mkdir()
    for ended in commands.run((["history", "check"], ["generate", "x"]), outputs, **more):
        assert_no_traceback(*ended)
        assert ended[1] in (1, 2) and ended[2].count("\n") == 1, ended


@pytest.mark.slow
def test_every_action_without_a_database_and_without_input(commands: Commands, tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "studio.db").write_bytes(b"no database" * 1000)
    for ended in commands.run(every_action(), tmp_path / "outputs"):
        assert_no_traceback(*ended)
        assert ended[2].count("\n") <= 1, ended


@some_or_all((["--help"], ["queue", "--help"]), (["--help"], *([command, "--help"] for command in launcher.COMMANDS)))
def test_help_on_the_narrowest_terminal_without_a_home(
    commands: Commands, tmp_path: Path, asked: tuple[list[str], ...]
) -> None:
    for ended in commands.run(asked, tmp_path / "outputs", COLUMNS="1", HOME="", TERM=""):
        assert_no_traceback(*ended)
        assert ended[1] == 0, ended


@pytest.mark.by_default("(1,)", "(0, 1, 2)")
@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
@pytest.mark.by_default("(0, 1, 2)")
def test_closed_streams(tmp_path: Path, closed: tuple[int, ...]) -> None:
    run = "os.execv(sys.executable, [sys.executable, '-m', 'core.cli', 'queue'])"
    code = f"import os, sys; [os.close(fd) for fd in {closed}]; {run}"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, env=variables(tmp_path / "outputs", {}), capture_output=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    with closing(connect(tmp_path / "outputs" / "studio.db")) as database:  # what was printed did not go into it
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize(
    ("fault", "said"), [("cannot import name 'x'", "missing or damaged"), ("failed to map segment from shared object", "noexec")]
)
@pytest.mark.parametrize("command", [["-m", "core.cli", "queue"], ["-c", launcher.RUN_APP]], ids=["command", "app"])
@pytest.mark.by_default("command-cannot import name 'x'-missing or damaged", "app-failed to map segment from shared object-noexec")
def test_a_package_that_cannot_be_imported(tmp_path: Path, fault: str, said: str, command: list[str]) -> None:
    (tmp_path / "yaml.py").write_text(f"raise ImportError({fault!r})")
    ended = subprocess.run(
        [sys.executable, *command], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False,
        env=variables(tmp_path / "outputs", {"PYTHONPATH": str(tmp_path)}),
    )  # fmt: skip
    assert ended.returncode == 1 and said in ended.stderr and ended.stderr.count("\n") == 1


def test_a_locked_database_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Database(tmp_path / "studio.db").close()
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)
    with closing(connect(tmp_path / "studio.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseLockedError):
            Database(tmp_path / "studio.db")


@pytest.mark.parametrize(
    ("trouble", "states", "told"),
    [
        (None, [JobState.QUEUED], False),
        (NoRoomError(path="x"), [JobState.RUNNING], True),
        (WorkerStartError(times=3, detail="x", log="y"), [JobState.QUEUED, JobState.QUEUED], True),
        (WorkerStartError(times=3, detail="x", log="y"), [JobState.QUEUED, JobState.RUNNING], False),
    ],
)
def test_what_keeps_jobs_from_ending_is_told(trouble: Exception | None, states: list[JobState], told: bool) -> None:
    status = WorkerStatus(state="off", trouble=trouble)
    assert obstacle(status, states) is (trouble if told else None)
