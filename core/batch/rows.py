"""Rows of a batch out of a text (a prompt a line), a CSV table (a field of a request a column) or a list of a program.

What this module does not know: what the values mean; they are checked against the schema by `build`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.batch.problems import Problems
from core.config.options import SCHEMA

PROMPT = "generation.prompt"
COLUMNS = tuple(key for key in SCHEMA.options if key.startswith("generation."))
SHORT = ", ".join(key.removeprefix("generation.") for key in COLUMNS)
TABLES = (".csv", ".tsv")  # files of these names are tables, whatever their first line looks like
COMMENT = "#"  # a line of a text that begins with it is left out
_DELIMITERS = ",;\t"  # spreadsheets write one of them, by the country that they think they are in


@dataclass(frozen=True)
class Row:
    """One entry. `number` is its line, or its row as a spreadsheet counts, the header being 1; of a list, its place."""

    number: int
    values: Mapping[str, Any]  # by schema key, as they were written


def read_rows(given: bytes | str | Sequence[Any], source: str) -> tuple[Row, ...]:
    """The rows of a file, of a pasted text, or of a program's list of prompts and objects. Raises BatchError."""
    problems = Problems(source)
    if not isinstance(given, bytes | str):
        rows = _of_list(given, problems)
    else:
        text = given if isinstance(given, str) else _decoded(given, problems)
        text = text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        table = source.lower().endswith(TABLES) or looks_like_table(text)
        rows = _of_table(text, problems) if table else _of_lines(text)
    problems.raise_any()
    return rows


def looks_like_table(text: str) -> bool:
    """Whether the first line names fields of a request and nothing else."""
    return all(SCHEMA.canonical(cell) in COLUMNS for cell in _header(text.split("\n", 1)[0]))


def _decoded(data: bytes, problems: Problems) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        allowed = {"en": 'UTF-8; save the file as "CSV UTF-8"', "zh": "UTF-8；请另存为“CSV UTF-8”"}
        problems.add(row, "", repr(data[error.start : error.start + 8]), allowed)
        return ""


def _of_lines(text: str) -> tuple[Row, ...]:
    lines = ((number, line.strip()) for number, line in enumerate(text.split("\n"), start=1))
    return tuple(Row(number, {PROMPT: line}) for number, line in lines if line and not line.startswith(COMMENT))


def _of_table(text: str, problems: Problems) -> tuple[Row, ...]:
    """An empty cell says nothing: the picture has what the others have."""
    header = _header(text.split("\n", 1)[0])
    _check_header(header, problems)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text.split("\n", 1)[0]), strict=True)
    found: list[Row] = []
    number = 0
    try:
        for number, cells in enumerate(reader, start=1):
            if number == 1 or not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(header):
                allowed = {
                    "en": f"{len(header)} cells, as in row 1; put text with a comma in quotes",
                    "zh": f"{len(header)} 个单元格，与第 1 行相同；含逗号的文本请加引号",
                }
                problems.add(number, "", str(len(cells)), allowed)
                continue
            named = zip((SCHEMA.canonical(name) for name in header), cells, strict=False)
            found.append(Row(number, {key: cell.strip() for key, cell in named if cell.strip()}))
    except csv.Error as error:
        allowed = {"en": "cells in pairs of quotes", "zh": "引号成对的单元格"}
        problems.add(number + 1, "", str(error), allowed)
    return tuple(found)


def _of_list(given: Sequence[Any], problems: Problems) -> tuple[Row, ...]:
    found: list[Row] = []
    for number, entry in enumerate(given, start=1):
        values = {"prompt": entry} if isinstance(entry, str) else entry
        if not isinstance(values, Mapping):
            allowed = {
                "en": "a text, or an object of the fields of a request",
                "zh": "一段文本，或由请求字段组成的对象",
            }
            problems.add(number, "", repr(entry), allowed)
            continue
        _check_names(list(values), number, problems)
        found.append(Row(number, _by_key(values, number, problems)))
    return tuple(found)


def _by_key(values: Mapping[str, Any], number: int, problems: Problems) -> dict[str, Any]:
    """Return the values of a row by key; two names of one field that disagree are a problem."""
    found: dict[str, Any] = {}
    names: dict[str, str] = {}
    for name, value in values.items():
        key = SCHEMA.canonical(str(name))
        if key in found and found[key] != value:
            allowed = {
                "en": f"one value: {names[key]} and {name} are the same field",
                "zh": f"一个值：{names[key]} 与 {name} 是同一字段",
            }
            problems.add(number, str(name), repr(value), allowed)
        found[key], names[key] = value, str(name)
    return found


def _header(line: str) -> list[str]:
    return [cell.strip().strip('"').strip() for cell in line.split(_delimiter(line))]


def _delimiter(line: str) -> str:
    return max(_DELIMITERS, key=line.count)


def _check_header(header: list[str], problems: Problems) -> None:
    _check_names(header, 1, problems)
    keys = [SCHEMA.canonical(name) for name in header]
    for name, key in zip(header, keys, strict=True):
        if keys.count(key) > 1:
            problems.add(1, name, name, {"en": "each column once", "zh": "每列只出现一次"})
            return


def _check_names(names: Sequence[Any], number: int, problems: Problems) -> None:
    for name in names:
        if SCHEMA.canonical(str(name)) not in COLUMNS:
            problems.add(number, str(name), repr(name), {"en": SHORT, "zh": SHORT})
