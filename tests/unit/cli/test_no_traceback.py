"""No command ends in a traceback: not when its output is not read, nor on an ASCII terminal, at Ctrl+C, or without its files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from core.cli import launcher
from core.config.loader import PROJECT_ROOT

PRINTING = (["--help"], ["options"], ["doctor"], ["history", "check"])
OTHERS = (
    ["models"], ["samplers"], ["generate", "红", "--steps", "x"], ["compare"], ["inspect", "nowhere.png"],
    ["upscale", "nowhere.png"], ["users", "remove", "红"], ["demo-eval", "--help"], ["verify", "--help"], ["bench", "--help"],
)  # fmt: skip
BEGINNING = (["generate", "a house"], ["bench"], ["history", "check"])


def test_every_command_is_among_them() -> None:
    assert {arguments[0] for arguments in (*PRINTING, *OTHERS)} == {"--help", *launcher.COMMANDS}


def each(commands: Sequence[list[str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("arguments", commands, ids=[" ".join(one) for one in commands])


def start(arguments: list[str], folder: Path, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "core.cli", *arguments], cwd=PROJECT_ROOT, env=variables(folder, environment),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def variables(folder: Path, more: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, "ZDARKROOM_OUTPUT__DIRECTORY": str(folder), "LC_ALL": "C.UTF-8", **more}


@each(PRINTING)
def test_output_that_nobody_reads(tmp_path: Path, arguments: list[str]) -> None:
    process = start(arguments, tmp_path / "outputs")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read().decode()
    assert process.wait() in (0, 1, 2) and "Traceback" not in errors and "BrokenPipe" not in errors, errors


@each((*PRINTING, *OTHERS))
def test_a_terminal_of_ascii(tmp_path: Path, arguments: list[str]) -> None:
    ascii_only = {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii:strict"}
    process = start([*arguments, "--lang", "zh"], tmp_path / "outputs", **ascii_only)
    output, errors = process.communicate()
    assert process.returncode in (0, 1, 2) and b"Traceback" not in errors and b"UnicodeEncodeError" not in output, errors.decode()


@each(BEGINNING)
def test_ctrl_c(tmp_path: Path, arguments: list[str]) -> None:
    process = start(arguments, tmp_path / "outputs")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    if process.returncode == -signal.SIGINT:
        pytest.skip("Python itself had not begun")
    assert process.returncode in (0, 130) and b"Traceback" not in errors, errors.decode()


@pytest.mark.parametrize("kind", ["garbage", "folder", "file instead of the outputs folder"])
def test_a_database_that_cannot_be_used(tmp_path: Path, kind: str) -> None:
    outputs = tmp_path / "outputs"
    if kind == "file instead of the outputs folder":
        outputs.write_text("not a folder")
    else:
        outputs.mkdir()
        database = outputs / "studio.db"
        database.write_bytes(b"no database" * 1000) if kind == "garbage" else database.mkdir()
    process = start(["history", "check"], outputs)
    output, errors = process.communicate()
    assert process.returncode in (1, 2) and output == b"", errors.decode()
    assert b"Traceback" not in errors and errors.count(b"\n") == 1, errors.decode()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_behind_the_output(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        run = subprocess.run(
            [sys.executable, "-m", "core.cli", "options"], cwd=PROJECT_ROOT, env=variables(tmp_path, {}), stdout=full,
            stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    assert run.returncode == 2 and b"Traceback" not in run.stderr and run.stderr.count(b"\n") == 1, run.stderr.decode()
