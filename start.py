#!/usr/bin/env python3
"""Set up and start Z Darkroom / 造相暗房. Needs nothing but Python.

    python3 start.py                   the app, on this machine only (--open also opens a browser)
    python3 start.py generate PROMPT   one picture from the command line (generate --help lists the options)
    python3 start.py compare --model A --model B --prompt TEXT --seed N    both over the same, measured
    python3 start.py test              linters, types and tests; extra arguments go to pytest
    python3 start.py models            which models there are; models get ID fetches one (models --help)
    python3 start.py inspect FILE      how an image was made, by whatever program (--json for scripts)
    python3 start.py history check     hold rows and files against each other; rebuild: rows from files
    python3 start.py users add NAME    let a person in with a password, which is asked for; list, remove NAME
    python3 start.py doctor --security  check address, users, permissions, proxies, origins and packages
    python3 start.py demo-eval         how well the embedded model obeys prompts
    python3 start.py verify            ten pictures in a row, each as it should be (--all: the guide's four steps)
    python3 start.py bench             times and memory on this machine
    python3 start.py options           what every option does and what was measured

The first run makes .venv and installs requirements.txt there; later runs skip that until the file changes.
pip's own settings (PIP_INDEX_URL, PIP_PROXY, pip.conf ...) apply as they are.
"""

from __future__ import annotations

import hashlib
import locale
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
OLDEST, NEWEST = (3, 11), (3, 14)  # of Python, for the versions that requirements.txt pins
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
)  # answered by core.cli.main
LINTERS = (
    ("ruff", ["-m", "ruff", "check", "."]),
    ("mypy", ["-m", "mypy"]),
    ("import-linter", ["-c", "from importlinter.cli import lint_imports_command as run; run(['--no-logo'])"]),
)

# Three at a time, each file by one of them: on two cores there is always one that waits for a server, a worker or a page. More
# would each load the model again. Each computes in one thread, or six would wait for two cores. Arguments of one's own: one at
# a time, in as many threads as there are cores.
WHOLE_SUITE = ("-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")  # the longest files are among the first
ONE_THREAD = {"OMP_NUM_THREADS": "1"}

OPEN_BROWSER = """
import os, socket, time, webbrowser
from core.config.loader import load_settings
settings = load_settings(environment=os.environ)
port, address = settings["server.port"], settings["server.host"]
host = "127.0.0.1" if address in ("0.0.0.0", "::", "::1", "localhost") else address
for _ in range(120):
    with socket.socket() as probe:
        if probe.connect_ex((host, port)) == 0:
            webbrowser.open(f"http://{host}:{port}")
            break
    time.sleep(0.5)
"""
CURES = (  # what pip said -> what to try; the first that fits
    (
        r"No space left|Errno 28",
        "free some disk space (10 GB with CUDA) and start again",
        "腾出磁盘空间（含 CUDA 约 10 GB）后重试",
    ),
    (
        r"connection broken|Connection|timed out|Timeout|SSLError|ProxyError|resolution",
        "check the network, and PIP_INDEX_URL or PIP_PROXY if you need a mirror or a proxy, then start again",
        "检查网络；需要镜像或代理时设置 PIP_INDEX_URL 或 PIP_PROXY，然后重试",
    ),
    (
        r"No matching distribution|Requires-Python|Failed building|Failed to build|subprocess-exited",
        "there is no build of it for this Python and system, or PIP_INDEX_URL names an index without it: "
        "use 64-bit Python 3.11 to 3.14, remove .venv and start again",
        "没有适用于此 Python 和系统的版本，或 PIP_INDEX_URL 所指的源中没有它：请用 64 位 Python 3.11 至 3.14，删除 .venv 后重试",
    ),
    (r"", "start again, or remove .venv first", "重试，或先删除 .venv"),
)


def main(arguments: list[str]) -> int:
    """The exit code: 0, or 2 for bad input, 130 for Ctrl+C, else that of what was run."""
    sys.stdout.reconfigure(errors="replace")  # an old Windows console may not know every character
    command, rest = (arguments[0], arguments[1:]) if arguments and arguments[0][0:1] != "-" else ("app", arguments)
    if command in ("app", "test") and rest[:1] in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    try:
        if command == "app":
            return start_app(rest)
        if command == "test":
            return run_tests(rest)
        if command in COMMANDS:
            python = prepare("requirements.txt")
            return hand_over([python, "-P", "-m", "core.cli.main", command, *rest])
        raise Stop(
            f"there is no command {command}; known: test, {', '.join(COMMANDS)}, or none for the app",
            f"没有命令 {command}；可用：test、{'、'.join(COMMANDS)}，不带命令则启动应用",
            code=2,
        )
    except Stop as stop:
        print(f"start.py: {stop}", file=sys.stderr)
        return stop.code
    except OSError as error:
        print(f"start.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("Stopped.", "已停止。")
        return 130


class Stop(Exception):
    """Ends the run with one line for the user."""

    def __init__(self, english: str, chinese: str, code: int = 1) -> None:
        super().__init__(chinese if speaks_chinese() else english)
        self.code = code


def say(english: str, chinese: str) -> None:
    """One plain line about what happens now."""
    print(chinese if speaks_chinese() else english, flush=True)


def speaks_chinese() -> bool:
    """By the locale of the terminal."""
    named = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    language = next((name for name in named if name), None) or locale.getlocale()[0] or ""
    return language.lower().startswith(("zh", "chinese"))


# -- the commands ----------------------------------------------------------------------------------------------------


def start_app(arguments: list[str]) -> int:
    """The pages until Ctrl+C; for this machine alone unless server.host says otherwise."""
    unknown = [argument for argument in arguments if argument != "--open"]
    if unknown:
        raise Stop(f"the app knows only --open, not {unknown[0]}", f"应用只接受 --open，不接受 {unknown[0]}", code=2)
    python = prepare("requirements.txt")
    if arguments:
        subprocess.Popen([python, "-c", OPEN_BROWSER], cwd=ROOT)
    return hand_over([python, "-m", "ui.serve"], folder=ROOT)


def run_tests(arguments: list[str]) -> int:
    """Linters first, so that the last lines are pytest's summary; the first failure decides the exit code."""
    python = prepare("requirements.txt", "requirements-test.txt")
    failed = []
    for name, command in LINTERS:
        say(f"-- {name}", f"-- {name}")
        if subprocess.call([python, *command], cwd=ROOT):
            failed.append(name)
    if failed:
        say(f"Failed so far, see above: {', '.join(failed)}.", f"以上检查未通过：{'、'.join(failed)}。")
    say("-- pytest", "-- pytest")
    environment = os.environ | ({} if arguments else ONE_THREAD)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else each of some hundred processes compiles the project anew
    code = subprocess.call([python, "-m", "pytest", *(arguments or WHOLE_SUITE)], cwd=ROOT, env=environment)
    return code or (1 if failed else 0)


def hand_over(command: list[str], folder: Path | None = None) -> int:
    """Become `command`, which finds the project from any folder. Windows has no such thing: there, wait for it."""
    environment = dict(os.environ, PYTHONUTF8="1", HF_HUB_DISABLE_TELEMETRY="1")
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    sys.stdout.flush()
    if os.name == "posix":
        os.chdir(folder or Path.cwd())
        os.execve(command[0], command, environment)
    process = subprocess.Popen(command, cwd=folder, env=environment)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # it went to the child as well, which ends by itself
            continue


# -- the virtual environment -----------------------------------------------------------------------------------------


def prepare(*requirements: str) -> str:
    """The path of a Python that has the packages of these files."""
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not works(str(python)):
        make_venv()
    for name in requirements:
        stamp = VENV / f"{name}.installed"
        wanted = hashlib.sha256((ROOT / name).read_bytes()).hexdigest()
        if not stamp.exists() or stamp.read_text() != wanted:
            install(str(python), name)
            stamp.write_text(wanted)
    return str(python)


def works(python: str) -> bool:
    """False for a half-made environment, and for one whose Python was removed or replaced by another version."""
    if not Path(python).exists():
        return False
    probe = "import importlib.util as u, sys; sys.exit(u.find_spec('pip') is None)"
    return subprocess.call([python, "-c", probe], stderr=subprocess.DEVNULL) == 0


def make_venv() -> None:
    """A fresh .venv, with the reason in plain words when Python can't make one."""
    python = find_python()
    if subprocess.call([python, "-c", "import ensurepip, venv"], stderr=subprocess.DEVNULL):
        raise Stop(
            "this Python lacks the venv module; on Debian and Ubuntu: sudo apt install python3-venv; then start again",
            "此 Python 缺少 venv 模块；Debian 和 Ubuntu 上请先运行 sudo apt install python3-venv，再重新启动",
        )
    say(f"Making the environment {VENV} with {python} ...", f"正在用 {python} 创建环境 {VENV} ……")
    command = [python, "-m", "venv", "--clear", str(VENV)]
    made = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if made.returncode:
        reason = (made.stderr or made.stdout).strip().splitlines() or ["?"]
        raise Stop(
            f"{VENV} could not be made: {reason[-1]}. Check that the folder is writable and the disk is not full",
            f"无法创建 {VENV}：{reason[-1]}。请检查文件夹可写、磁盘未满",
        )


def find_python() -> str:
    """This Python when its version fits, else one on the PATH that does."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return sys.executable
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        probe = f"import sys; sys.exit(sys.version_info[:2] != (3, {minor}))"
        if found and subprocess.call([found, "-c", probe], stderr=subprocess.DEVNULL) == 0:
            return found
    came, span = sys.version.split()[0], "3.{} - 3.{}".format(OLDEST[1], NEWEST[1])
    raise Stop(
        f"this is Python {came}; the packages need Python {span}. Install one and run it with this file",
        f"当前是 Python {came}；所需软件包要求 Python {span}。请安装后用它运行本文件",
    )


def install(python: str, requirements: str) -> None:
    """pip install -r, telling what is fetched; everything that pip says is kept in .venv/install.log."""
    say(f"Installing {requirements} ...", f"正在安装 {requirements} ……")
    if requirements == "requirements.txt" and not (VENV / f"{requirements}.installed").exists():
        say("  the first time: up to some GB, several minutes", "  首次安装：最多数 GB，约几分钟")
    command = [python, "-m", "pip", "install", "--disable-pip-version-check", "-r", str(ROOT / requirements)]
    log = VENV / "install.log"
    said = []
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace"
        )
        for line in process.stdout:
            said.append(line)
            file.write(line)
            fetched = re.match(r"\s*(?:Downloading|Using cached) ([^/\s]+?-[\d.]+)\S* ?(\(.*\))?$", line)
            if fetched:
                print(f"  {fetched[1]} {fetched[2] or ''}", flush=True)
            elif line.startswith("Installing collected packages"):
                say(f"  unpacking {line.count(',') + 1} packages ...", f"  正在解包 {line.count(',') + 1} 个软件包……")
    if process.wait():
        raise explain_failure(said, log)


def explain_failure(said: list[str], log: Path) -> Stop:
    """Which package failed and what to try, read from what pip said."""
    text = "".join(said)
    package = failed_package(text)
    english, chinese = next((en, zh) for pattern, en, zh in CURES if re.search(pattern, text))
    return Stop(
        f"{package} could not be installed: {english}. pip's own words: {log}",
        f"无法安装 {package}：{chinese}。pip 的完整输出：{log}",
    )


def failed_package(text: str) -> str:
    """The package that pip names in its error, else the last one that it was busy with."""
    named = re.findall(
        r"(?:No matching distribution found for|Failed building wheel for|Cannot install|requires to build|"
        r"Could not find a version that satisfies the requirement) ([^\s,()]+)",
        text,
    )
    busy = re.findall(r"^\s*(?:Collecting|Building wheel for) (\S+)", text, re.MULTILINE)
    return (named or busy[-1:] or ["pip"])[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
