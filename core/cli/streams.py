"""Replace standard input, output and error where they are closed, as some services start programs. Standard library only."""

from __future__ import annotations

import os
import sys


def open_closed() -> None:
    """Point what is closed of descriptors 0 to 2 at the null device: a file opened later would take their numbers, and get what
    is printed. What this process starts inherits them."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.set_inheritable(opened, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", encoding="utf-8", closefd=False))  # noqa: SIM115


def drop_output() -> None:
    """Send what is still to be printed nowhere: whoever read it has gone, as `head` does."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
