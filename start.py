#!/usr/bin/env python3
# -*- coding: utf-8 -*-
"""Set up and start Z Darkroom / 造相暗房. Needs nothing but Python 3.11 to 3.14.

    python3 start.py                   the app, on this machine only (--open also opens a browser)
    python3 start.py generate PROMPT   one image from the command line (generate --help lists the options)
    python3 start.py compare --model A --model B --prompt TEXT --seed N    both over the same, measured
    python3 start.py test              linters, types and tests; extra arguments go to pytest
    python3 start.py models            which models there are; models get ID fetches one (models --help)
    python3 start.py inspect FILE      how an image was made, by whatever program (--json for scripts)
    python3 start.py queue             the jobs that wait; pause, resume (with a job's id: that job), cancel JOB
    python3 start.py history check     compare rows and files; rebuild: make the rows again from the files
    python3 start.py users add NAME    let a person in with a password, which is asked for; list, remove NAME
    python3 start.py doctor            what a bug report needs, and a check of the set-up (--security: of the packages, too)
    python3 start.py demo-eval         how well the embedded model follows prompts
    python3 start.py verify            ten images in a row, each checked (--all: the guide's four steps)
    python3 start.py bench             times and memory on this machine
    python3 start.py options           what every option does and what was measured
    python3 start.py docs              the documentation on this machine (--build: as files, --screenshots: new ones)
    python3 start.py package           a release archive without tests

The first run makes .venv and installs requirements.txt there (with uv where it is installed, else with pip); later runs
skip that until the file changes. pip's own settings (PIP_INDEX_URL, PIP_PROXY, pip.conf ...) apply as they are.
ZDARKROOM_HOME names the folder for .venv, outputs and local.yaml; by default it is this folder, or, where this one is
read-only, a folder of the user's own.
"""

# This file is parsed by every Python from 2.7 on, so that an old one can say which is needed. The rest of the start is
# core/cli/launcher.py and environment.py.

from __future__ import print_function

import glob
import locale
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.realpath(__file__))
OLDEST, NEWEST = (3, 11), (3, 14)  # of Python, for the versions that requirements.txt pins

USUAL_FOLDERS = ["/usr/local/bin", "/usr/bin", "/opt/homebrew/bin", "~/.local/bin", "~/miniconda3/bin", "~/miniforge3/bin"]
USUAL_FILES = [
    "~/.pyenv/versions/3.{0}.*/bin/python",
    "~/.local/share/uv/python/cpython-3.{0}.*/bin/python3",
    "/Library/Frameworks/Python.framework/Versions/3.{0}/bin/python3",
    "${{LOCALAPPDATA}}/Programs/Python/Python3{0}/python.exe",
]


def main(arguments):
    """Run the launcher in this Python if its version fits, else in one that does; return the exit code."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        sys.path.insert(0, ROOT)
        from core.cli import launcher

        return launcher.main(arguments, __doc__)
    python = find_python()
    if python is None:
        tell(
            u"start.py: this is Python {0}; the packages need Python 3.{1} - 3.{2}. Install one and run it with this file",
            u"start.py: 当前是 Python {0}；所需软件包要求 Python 3.{1} - 3.{2}。请安装后用它运行本文件",
        )
        return 1
    try:
        return subprocess.call([python, os.path.join(ROOT, "start.py")] + arguments)
    except KeyboardInterrupt:
        return 130


def find_python():
    """Return the path of a Python whose version fits: from the PATH, from where installers put one, or from the environment
    made earlier; or None."""
    minors = range(NEWEST[1], OLDEST[1] - 1, -1)
    names = ["python3.%d" % minor for minor in minors] + ["python3", "python"]
    folders = os.environ.get("PATH", "").split(os.pathsep) + USUAL_FOLDERS
    end = ".exe" if os.name == "nt" else ""
    paths = [os.path.join(os.path.expanduser(folder), name + end) for name in names for folder in folders if folder]
    for pattern in USUAL_FILES:
        for minor in minors:
            paths += sorted(glob.glob(os.path.expanduser(os.path.expandvars(pattern.format(minor)))))
    for home in (os.environ.get("ZDARKROOM_HOME") or ROOT, ROOT):
        paths += [os.path.join(home, ".venv", *part) for part in (("bin", "python"), ("Scripts", "python.exe"))]
    probe = "import sys; sys.exit(not %r <= sys.version_info[:2] <= %r)" % (OLDEST, NEWEST)
    with open(os.devnull, "w") as nowhere:
        for path in paths:
            if os.path.isfile(path) and subprocess.call([path, "-c", probe], stdout=nowhere, stderr=nowhere) == 0:
                return path
    return None


def tell(english, chinese):
    """Print one line on stderr in the language of the terminal, whatever its encoding is."""
    if sys.stderr is None:  # closed
        return
    named = [os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG")]
    language = next((name for name in named if name), None) or locale.getdefaultlocale()[0] or ""
    encoding = getattr(sys.stderr, "encoding", None) or "ascii"
    try:
        chinese.encode(encoding)
    except UnicodeError:  # a terminal without Chinese
        chinese = english
    words = chinese if language.lower().startswith(("zh", "chinese")) else english
    line = words.format(sys.version.split()[0], OLDEST[1], NEWEST[1]) + u"\n"
    getattr(sys.stderr, "buffer", sys.stderr).write(line.encode(encoding, "replace"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
