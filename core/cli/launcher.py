"""Run a command of start.py in the project's virtual environment. Imports nothing but the standard library.

start.py calls `main` in a Python whose version fits; `environment` makes the virtual environment.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from core.cli import environment, site, streams
from core.cli.environment import HOME_VARIABLE, Stop, say

COMMANDS = (
    "generate",
    "compare",
    "models",
    "history",
    "inspect",
    "users",
    "doctor",
    "demo-eval",
    "verify",
    "bench",
    "options",
    "samplers",
    "queue",
    "upscale",
)  # answered by core.cli.main
LINTERS = (
    ("ruff", ["-m", "ruff", "check", "."]),
    ("import-linter", ["-c", "from importlinter.cli import lint_imports_command as run; run(['--no-logo'])"]),
)
MYPY = ["-m", "mypy"]  # half a minute of one core: runs beside pytest

# Four at a time, each file by one of them, and all browser tests by one (tests/conftest.py): on two cores there are always some
# that wait for a server, a worker or a page. More would each load the model again. Each computes in one thread, or eight would
# wait for two cores. Arguments of one's own: one at a time, in as many threads as there are cores.
WHOLE_SUITE = ("-n", "4", "--dist", "loadfile", "--no-loadscope-reorder")  # the longest are among the first
ONE_THREAD = {"OMP_NUM_THREADS": "1"}

OPEN_BROWSER = """
import os, socket, time, webbrowser
from core.config.loader import load_settings
settings = load_settings(environment=os.environ)
port, address = settings["server.port"], settings["server.host"]
host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
for _ in range(120):
    try:
        socket.create_connection((host, port), 1).close()
        webbrowser.open(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
        break
    except OSError:
        time.sleep(0.5)
"""
RUN_APP = """
import sys
from core.cli import environment, streams
streams.open_closed()
try:
    from ui.serve import main
except ImportError as error:
    print(f"start.py: {environment.broken_packages(error)}", file=sys.stderr)
    sys.exit(1)
except KeyboardInterrupt:
    sys.exit(130)
sys.exit(main())
"""


def main(arguments: list[str], usage: str) -> int:
    """Run a command; return 0, 2 for bad input, 130 for Ctrl+C, else the exit code of what was run."""
    streams.open_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may not know every character
    command, rest = (arguments[0], arguments[1:]) if arguments and arguments[0][0:1] != "-" else ("app", arguments)
    if command in ("app", "test") and rest[:1] in (["-h"], ["--help"]):
        print(usage)
        return 0
    try:
        if command == "app":
            return start_app(rest)
        if command == "test":
            return run_tests(rest)
        if command == "docs":
            return serve_docs(rest)
        if command == "package":
            return pack(rest)
        if command in COMMANDS:
            python = environment.prepare("requirements.txt")
            return hand_over([python, "-P", "-m", "core.cli", command, *rest])
        raise Stop(
            f"there is no command {command}; known: test, docs, package, {', '.join(COMMANDS)}, or none for the app",
            f"没有命令 {command}；可用：test、docs、package、{'、'.join(COMMANDS)}，不带命令则启动应用",
            code=2,
        )
    except Stop as stop:
        print(f"start.py: {stop}", file=sys.stderr)
        return stop.code
    except BrokenPipeError:  # whoever read the output has gone
        streams.drop_output()
        return 1
    except OSError as error:
        print(f"start.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("Stopped.", "已停止。")
        return 130


# -- the commands ----------------------------------------------------------------------------------------------------


def start_app(arguments: list[str]) -> int:
    """Run the pages until Ctrl+C; on this machine only unless server.host is set."""
    unknown = [argument for argument in arguments if argument != "--open"]
    if unknown:
        raise Stop(f"the app knows only --open, not {unknown[0]}", f"应用只接受 --open，不接受 {unknown[0]}", code=2)
    python = environment.prepare("requirements.txt")
    if arguments:
        subprocess.Popen([python, "-c", OPEN_BROWSER], cwd=environment.ROOT)
    return hand_over([python, "-c", RUN_APP], folder=environment.ROOT)


def run_tests(arguments: list[str]) -> int:
    """Run the linters and pytest; pytest's exit code counts first."""
    python = environment.prepare("requirements.txt", "requirements-test.txt")
    failed = []
    with tempfile.TemporaryFile() as log, subprocess.Popen([python, *MYPY], cwd=environment.ROOT, stdout=log, stderr=log) as mypy:
        for name, command in LINTERS:
            say(f"-- {name}", f"-- {name}")
            if subprocess.call([python, *command], cwd=environment.ROOT):
                failed.append(name)
        say("-- pytest", "-- pytest")
        variables = os.environ | ({} if arguments else ONE_THREAD)
        variables.pop("PYTHONDONTWRITEBYTECODE", None)  # else each of some hundred processes compiles the project anew
        code = subprocess.call([python, "-m", "pytest", *(arguments or WHOLE_SUITE)], cwd=environment.ROOT, env=variables)
        if mypy.wait():
            failed.append("mypy")
        say("-- mypy", "-- mypy")
        log.seek(0)
        print(log.read().decode(errors="replace"), end="", flush=True)
    if failed:
        say(f"Failed, see above: {', '.join(failed)}.", f"以上检查未通过：{'、'.join(failed)}。")
    return code or (1 if failed else 0)


def serve_docs(arguments: list[str]) -> int:
    """Serve the documentation, or build it with --build, or make its screenshots anew with --screenshots."""
    if arguments == ["--screenshots"]:
        python = environment.prepare("requirements.txt", "requirements-test.txt")
        return subprocess.call([python, "-m", "tests.browser.screenshots"], cwd=environment.ROOT)
    if arguments not in ([], ["--build"]):
        raise Stop(
            f"docs knows --build and --screenshots, not {' '.join(arguments)}",
            f"docs 只接受 --build 或 --screenshots，不接受 {' '.join(arguments)}",
            code=2,
        )
    python = environment.prepare("requirements.txt", "requirements-docs.txt")
    return site.docs(python, environment.ROOT, environment.home(), build=bool(arguments))


def pack(arguments: list[str]) -> int:
    """Write a release archive and print its path."""
    if arguments:
        raise Stop(f"package takes no {arguments[0]}", f"package 不接受 {arguments[0]}", code=2)
    print(site.package(environment.ROOT, environment.home()))
    return 0


def hand_over(command: list[str], folder: Path | None = None) -> int:
    """Replace this process by `command`, run from any folder. On Windows, run it and wait."""
    variables = dict(os.environ, PYTHONUTF8="1", HF_HUB_DISABLE_TELEMETRY="1")
    if environment.home() != environment.ROOT:
        variables[HOME_VARIABLE] = str(environment.home())
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(environment.ROOT), os.environ.get("PYTHONPATH")]))
    sys.stdout.flush()
    if os.name == "posix":
        os.chdir(folder or Path.cwd())
        os.execve(command[0], command, variables)
    process = subprocess.Popen(command, cwd=folder, env=variables)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # it went to the child as well, which ends by itself
            continue
