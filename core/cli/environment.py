"""Make and maintain the virtual environment of the project. Imports nothing but the standard library.

It lies in `home()`, the folder that the user may write to: ZDARKROOM_HOME, else the project's own folder, else a folder for
data of the user's.
"""

from __future__ import annotations

import ast
import hashlib
import locale
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME_VARIABLE = "ZDARKROOM_HOME"
DEFAULT_INDEX = "https://pypi.org/simple"
PROBE_SECONDS = 5.0

UV_NAMES = {  # a setting of pip's -> the variable of uv's, and how it takes several values
    "index-url": ("UV_DEFAULT_INDEX", " ".join),
    "extra-index-url": ("UV_INDEX", " ".join),
    "find-links": ("UV_FIND_LINKS", ",".join),
    "constraint": ("UV_CONSTRAINT", " ".join),
    "trusted-host": ("UV_INSECURE_HOST", " ".join),
    "cert": ("SSL_CERT_FILE", " ".join),
    "proxy": ("ALL_PROXY", " ".join),
    "no-index": ("UV_NO_INDEX", " ".join),
    "default-timeout": ("UV_HTTP_TIMEOUT", " ".join),
    "timeout": ("UV_HTTP_TIMEOUT", " ".join),
}

CURES = (  # what pip printed -> what to try; the first that fits
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


class Stop(Exception):
    """Ends the run with one line for the user."""

    def __init__(self, english: str, chinese: str, code: int = 1) -> None:
        super().__init__(chinese if speaks_chinese() else english)
        self.code = code


def say(english: str, chinese: str) -> None:
    """Print one line about the current step on stderr; stdout is for what a command prints."""
    print(chinese if speaks_chinese() else english, file=sys.stderr, flush=True)


def speaks_chinese() -> bool:
    """Return True if the locale of the terminal is Chinese."""
    named = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    language = next((name for name in named if name), None) or locale.getlocale()[0] or ""
    return language.lower().startswith(("zh", "chinese"))


def home() -> Path:
    """Return the folder for .venv, outputs and local.yaml."""
    if named := os.environ.get(HOME_VARIABLE):
        return Path(named).expanduser().resolve()
    if os.access(ROOT, os.W_OK):
        return ROOT
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "z-darkroom"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "z-darkroom"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "z-darkroom"


def venv() -> Path:
    """Return the folder of the virtual environment."""
    return home() / ".venv"


def venv_python() -> Path:
    """Return the path of the environment's Python, whether it is there or not."""
    return venv() / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def prepare(*requirements: str) -> str:
    """Return the path of a Python that has the packages of these files; make and install what is missing."""
    if is_ready(*requirements):
        return str(venv_python())
    home().mkdir(parents=True, exist_ok=True)
    with alone(home() / ".setup.lock"):
        if not works(str(venv_python())):
            make_venv()
        elif interrupted().exists():  # a package may be there in half, and be taken for whole
            say("The last installation was interrupted; beginning again ...", "上次安装被中断，重新开始 ……")
            make_venv()
        for name in requirements:
            stamp = venv() / f"{name}.installed"
            if not stamp.exists() or stamp.read_text() != digest(name):
                with mark_interrupted():
                    install(str(venv_python()), name)
                stamp.write_text(digest(name))
    return str(venv_python())


@contextmanager
def mark_interrupted() -> Iterator[None]:
    """Keep the file `interrupted()` in the environment unless the installer ends by itself, whatever its result."""
    interrupted().touch()
    try:
        yield
    except Stop:
        interrupted().unlink(missing_ok=True)
        raise
    interrupted().unlink(missing_ok=True)


def interrupted() -> Path:
    """Return the path of the file that is there while packages are installed, and after an end in the middle of that."""
    return venv() / "installing"


def digest(requirements: str) -> str:
    """Return the SHA-256 of a requirements file."""
    return hashlib.sha256((ROOT / requirements).read_bytes()).hexdigest()


def is_ready(*requirements: str) -> bool:
    """Return True if the environment works and has the packages of these files."""
    stamps = [(venv() / f"{name}.installed", digest(name)) for name in requirements]
    installed = all(stamp.exists() and stamp.read_text() == wanted for stamp, wanted in stamps)
    return installed and not interrupted().exists() and works(str(venv_python()))


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a lock on a file, so that two first starts do not install into one environment; say when it is waited for."""
    with path.open("a+b") as file:
        if not lock(file.fileno(), wait=False):
            say("Another start is installing; waiting for it ...", "另一个启动正在安装，等待其完成 ……")
            lock(file.fileno(), wait=True)
        yield  # closing the file, or the end of this process, gives the lock back


def lock(descriptor: int, wait: bool) -> bool:
    """Lock an open file; return False if another process holds it and `wait` is False."""
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        if wait and os.name == "nt":  # LK_LOCK gives up after ten seconds
            return lock(descriptor, wait)
        return False
    return True


def works(python: str) -> bool:
    """Return False for an incomplete environment, and for one whose Python was removed or replaced."""
    if not Path(python).exists():
        return False
    probe = "import importlib.util as u, sys; sys.exit(u.find_spec('pip') is None)"
    return subprocess.call([python, "-c", probe], stderr=subprocess.DEVNULL) == 0


def make_venv() -> None:
    """Create a new .venv. Explains in plain words when Python can't create one."""
    python = sys.executable
    if subprocess.call([python, "-c", "import ensurepip, venv"], stderr=subprocess.DEVNULL):
        raise Stop(
            "this Python lacks the venv module; on Debian and Ubuntu: sudo apt install python3-venv; then start again",
            "此 Python 缺少 venv 模块；Debian 和 Ubuntu 上请先运行 sudo apt install python3-venv，再重新启动",
        )
    say(f"Making the environment {venv()} with {python} ...", f"正在用 {python} 创建环境 {venv()} ……")
    command = [python, "-m", "venv", "--clear", str(venv())]
    made = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if made.returncode:
        reason = (made.stderr or made.stdout).strip().splitlines() or ["?"]
        raise Stop(
            f"{venv()} could not be made: {reason[-1]}. Check that the folder is writable and the disk is not full",
            f"无法创建 {venv()}：{reason[-1]}。请检查文件夹可写、磁盘未满",
        )


def install(python: str, requirements: str) -> None:
    """Install a requirements file with uv where there is one, else with pip. All output is kept in .venv/install.log."""
    say(f"Installing {requirements} ...", f"正在安装 {requirements} ……")
    if requirements == "requirements.txt" and not (venv() / f"{requirements}.installed").exists():
        say("  the first time: up to some GB, several minutes", "  首次安装：最多数 GB，约几分钟")
    log = venv() / "install.log"
    uv = shutil.which("uv")
    if uv and run_installer(uv_command(uv, python, requirements), uv_environment(pip_settings(python)), log) is None:
        return
    if uv:
        say("  uv could not install it; trying pip", "  uv 安装失败，改用 pip")
    command = [python, "-m", "pip", "install", "--disable-pip-version-check", "-r", str(ROOT / requirements)]
    output = run_installer(command, None, log)
    if output is not None:
        raise explain_failure(output, log, pip_settings(python).get("index-url", DEFAULT_INDEX))


def uv_command(uv: str, python: str, requirements: str) -> list[str]:
    """Return uv's command for the same packages that pip would choose."""
    return [
        uv, "pip", "install", "--python", python, "--index-strategy", "unsafe-best-match", "-r", str(ROOT / requirements),
    ]  # fmt: skip


def uv_environment(settings: dict[str, str]) -> dict[str, str]:
    """Return the environment with pip's settings under the names that uv knows; uv's own variables win."""
    mapped = {theirs: join(settings[ours].split()) for ours, (theirs, join) in UV_NAMES.items() if settings.get(ours)}
    return {**mapped, **os.environ}


def pip_settings(python: str) -> dict[str, str]:
    """Return pip's settings by name, such as index-url: from its variables, or from pip.conf."""
    command = [python, "-m", "pip", "config", "list"]
    output = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace").stdout
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in output.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        with suppress(ValueError, SyntaxError):
            found.setdefault(section, {})[key] = str(ast.literal_eval(value))
    return {**found["global"], **found["install"], **found[":env:"]}


def run_installer(command: list[str], environment: dict[str, str] | None, log: Path) -> list[str] | None:
    """Run pip or uv and show what is fetched; return None when it worked, else the lines of its output."""
    output: list[str] = []
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace",
            env=environment,
        )  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            output.append(line)
            file.write(line)
            fetched = re.match(r"\s*(?:Downloading|Using cached) ([^/\s]+?)(?:-[\d.]+\S*)? ?(\(.*\))?$", line)
            if fetched:
                say(*(f"  {fetched[1]} {fetched[2] or ''}",) * 2)
            elif line.startswith("Installing collected packages"):
                say(f"  unpacking {line.count(',') + 1} packages ...", f"  正在解包 {line.count(',') + 1} 个软件包……")
    return output if process.wait() else None


def explain_failure(output: list[str], log: Path, index: str = DEFAULT_INDEX) -> Stop:
    """Return the error that names the package and what to try, read from pip's output. `index` is where it looked."""
    text = "".join(output)
    package = failed_package(text)
    if "(from versions: none)" in text and not index_answers(index):  # without retries pip does not say why it found none
        text += "Connection"
    english, chinese = next((en, zh) for pattern, en, zh in CURES if re.search(pattern, text))
    return Stop(
        f"{package} could not be installed: {english}. pip's own words: {log}",
        f"无法安装 {package}：{chinese}。pip 的完整输出：{log}",
    )


def broken_packages(error: ImportError) -> Stop:
    """Return the error that says what to do about a package that can't be imported."""
    detail = " ".join(str(error).split())[:200]
    if "failed to map segment" in detail:
        return Stop(
            f"the disk of {venv()} does not allow programs (noexec): set {HOME_VARIABLE} to a folder on another disk. {detail}",
            f"{venv()} 所在磁盘不允许运行程序（noexec）：请把 {HOME_VARIABLE} 设为其他磁盘上的文件夹。{detail}",
        )
    return Stop(
        f"a package is missing or damaged: remove {venv()} and start again. {detail}",
        f"软件包缺失或损坏：请删除 {venv()} 后重新启动。{detail}",
    )


def index_answers(index: str) -> bool:
    """Return True if the package index can be reached: any answer counts, an error status too."""
    try:
        with urllib.request.urlopen(index, timeout=PROBE_SECONDS):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False


def failed_package(text: str) -> str:
    """Return the package that pip names in its error, else the last one it handled."""
    named = re.findall(
        r"(?:No matching distribution found for|Failed building wheel for|Cannot install|requires to build|"
        r"Could not find a version that satisfies the requirement) ([^\s,()]+)",
        text,
    )
    busy = re.findall(r"^\s*(?:Collecting|Building wheel for) (\S+)", text, re.MULTILINE)
    return (named or busy[-1:] or ["pip"])[0]
