"""Run commands, each in a fork of this process, which has imported their modules: python -m tests.unit.cli.each_command

Reads a JSON object a line: `arguments`, the `environment`, and `stdout`, which is "closed" (a pipe that nobody reads), a file's
path, or "" for nowhere. Answers each with a line: the exit code and what was written to stderr.
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


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        with tempfile.TemporaryFile() as errors:
            child = os.fork()
            if child == 0:
                os.environ.clear()
                os.environ.update(asked["environment"])
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(_closed_pipe() if asked["stdout"] == "closed" else os.open(asked["stdout"] or os.devnull, os.O_WRONLY), 1)
                os.dup2(errors.fileno(), 2)
                sys.argv[1:] = asked["arguments"]
                code = run()
                sys.stdout.close()  # as the interpreter's end would
                os._exit(code)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            errors.seek(0)
            said = errors.read().decode(errors="replace")
        print(json.dumps({"code": code, "errors": said}), flush=True)


def _closed_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


if __name__ == "__main__":
    main()
