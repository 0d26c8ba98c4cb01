"""A PostgreSQL server for the tests: in a folder of its own, on a socket and on a loopback port, gone when they end."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "only for tests"
QUICK = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "shared_buffers=64MB", "max_connections=60")
_numbers = count(1)


@dataclass(frozen=True)
class Server:
    """Where it listens; on the socket it asks for no password, on the port it does."""

    socket: Path
    port: int
    start: Callable[[], None] = lambda: None
    stop: Callable[[], None] = lambda: None  # as `pg_ctl stop -m fast` does

    def url(self, name: str) -> str:
        return f"postgresql://studio@/{name}?host={self.socket}&port={self.port}"

    def tcp_url(self, name: str) -> str:
        return f"postgresql://studio@127.0.0.1:{self.port}/{name}"

    def say(self, statement: str, name: str = "postgres") -> list[Any]:
        """Run one statement as the server's owner."""
        import psycopg

        with psycopg.connect(self.url(name), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def create(self, template: str = "template0") -> str:
        """Return a new database's name."""
        name = f"studio_{next(_numbers)}"
        self.say(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        self.say(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def programs() -> Path:
    """Return the folder of initdb and postgres; the test is skipped without."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    here = found[-1] if found else shutil.which("initdb")
    if here is None:
        pytest.skip("no PostgreSQL server on this machine (Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="psycopg is not installed (requirements-test.txt)")
    return Path(here).parent


@contextmanager
def running() -> Iterator[Server]:
    """A server from its making to its end. It does not run as root: no PostgreSQL does."""
    binaries = programs()
    folder = Path(tempfile.mkdtemp(prefix="zd-pg-", dir="/tmp"))
    user = _unprivileged()
    if user is not None:
        shutil.chown(folder, user)
    secret = folder / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    making: list[str | Path] = [
        binaries / "initdb", "-D", folder / "data", "-U", "studio", "-E", "UTF8", "--no-sync", "--pwfile", secret,
        "--auth-local=trust", "--auth-host=scram-sha-256", "--locale=C.UTF-8",
    ]  # fmt: skip
    options = [part for setting in QUICK for part in ("-c", setting)]
    place: list[str | Path] = ["-D", folder / "data", "-k", folder]
    serving = [binaries / "postgres", *place, "-h", "127.0.0.1", "-p", str(port), *options]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    try:
        subprocess.run(making, check=True, capture_output=True, user=user, cwd=folder, env=plain)
        processes: list[subprocess.Popen[bytes]] = []

        def start() -> None:
            with (folder / "log").open("ab") as log:
                processes.append(subprocess.Popen(serving, stdout=log, stderr=log, user=user, cwd=folder, env=plain))
            _wait(binaries, folder, port)

        def stop() -> None:
            processes[-1].send_signal(signal.SIGINT)
            processes.pop().wait(30)

        try:
            start()
            yield Server(folder, port, start, stop)
        finally:
            for process in processes:
                process.send_signal(signal.SIGQUIT)  # at once: nothing of it is needed any more
                process.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(binaries: Path, folder: Path, port: int) -> None:
    asking: list[str | Path] = [binaries / "pg_isready", "-q", "-h", folder, "-p", str(port), "-t", "1"]
    for _ in range(200):
        if subprocess.run(asking).returncode == 0:
            return
        subprocess.run(["sleep", "0.05"])
    raise AssertionError((folder / "log").read_text())


def _unprivileged() -> str | None:
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)
