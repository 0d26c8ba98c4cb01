"""Run several commands, each in a fork of this process: python -m tests.unit.cli.each_command STDOUT COMMAND...

STDOUT is "closed" (a pipe that nobody reads), a file's path, or "-". Each COMMAND is a JSON list of arguments. Prints one JSON
object for each: its exit code and what it wrote to stderr. Modules are imported once for all commands.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile

import alembic.command  # noqa: F401

import core.cli.benchmark
import core.cli.doctor
import core.cli.history
import core.cli.inspect
import core.cli.main
import core.cli.models
import core.cli.options_reference
import core.cli.upscale
import core.cli.users  # noqa: F401
from core.cli.__main__ import run


def main(stdout: str, commands: list[list[str]]) -> None:
    for arguments in commands:
        with tempfile.TemporaryFile() as errors:
            child = os.fork()
            if child == 0:
                os.dup2(errors.fileno(), 2)
                if stdout != "-":
                    os.dup2(_closed_pipe() if stdout == "closed" else os.open(stdout, os.O_WRONLY), 1)
                sys.argv[1:] = arguments
                code = run()
                sys.stdout.close()  # as the interpreter's end would
                os._exit(code)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            errors.seek(0)
            said = errors.read().decode(errors="replace")
        print(json.dumps({"code": code, "errors": said}), file=sys.__stderr__, flush=True)


def _closed_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


if __name__ == "__main__":
    main(sys.argv[1], [json.loads(one) for one in sys.argv[2:]])
