"""Write CSV lines in which a spreadsheet runs no formulas."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

# What a spreadsheet would run when it opens the file; the wide forms count where Chinese or Japanese is spoken.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def csv_line(values: Sequence[Any]) -> bytes:
    """Return one line of a CSV, in UTF-8."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerow(values)
    return buffer.getvalue().encode()


def harmless(value: Any) -> Any:
    """Return text that a spreadsheet would take for a formula with the mark that makes it text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
