"""Read the rows of a batch from text (a prompt a line), a CSV table (a request field a column) or a list."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.config.options import FIELDS, SCHEMA
from core.errors import BatchError, InputError
from core.i18n import LANGUAGES, localize

PROMPT = "generation.prompt"
COLUMNS = FIELDS
SHORT = ", ".join(key.removeprefix("generation.") for key in COLUMNS)
TABLES = (".csv", ".tsv")  # files of these names are tables, whatever their first line looks like
COMMENT = "#"  # a line of a text that begins with it is left out
_DELIMITERS = ",;\t"  # spreadsheets write one of them, by the country that they think they are in


@dataclass(frozen=True)
class PromptRow:
    """One entry. `number` is its line, its row in a spreadsheet (the header is 1), or its position in a list."""

    number: int
    values: Mapping[str, Any]  # by schema key, as they were written


def read_rows(given: bytes | str | Sequence[Any], source: str) -> tuple[PromptRow, ...]:
    """Return the rows of a file, of pasted text, or of a list of prompts and objects. Raises BatchError."""
    problems = RowErrors(source)
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
    """Return True if the first line consists of field names of a request."""
    return all(SCHEMA.canonical(cell) in COLUMNS for cell in _header(text.split("\n", 1)[0]))


def _decoded(data: bytes, problems: RowErrors) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        allowed = localize("batch.prompt_table.utf_8_save_the_file_as")
        problems.add(row, "", repr(data[error.start : error.start + 8]), allowed)
        return ""


def _of_lines(text: str) -> tuple[PromptRow, ...]:
    lines = ((number, line.strip()) for number, line in enumerate(text.split("\n"), start=1))
    return tuple(PromptRow(number, {PROMPT: line}) for number, line in lines if line and not line.startswith(COMMENT))


def _of_table(text: str, problems: RowErrors) -> tuple[PromptRow, ...]:
    """Return the cells with a value: for an empty one the image has what the others have."""
    header = _header(text.split("\n", 1)[0])
    _check_header(header, problems)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text.split("\n", 1)[0]), strict=True)
    found: list[PromptRow] = []
    number = 0
    try:
        for number, cells in enumerate(reader, start=1):
            if number == 1 or not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(header):
                allowed = localize("batch.prompt_table.cells_as_in_row_1_put", count=len(header))
                problems.add(number, "", str(len(cells)), allowed)
                continue
            named = zip((SCHEMA.canonical(name) for name in header), cells, strict=False)
            found.append(PromptRow(number, {key: cell.strip() for key, cell in named if cell.strip()}))
    except csv.Error as error:
        allowed = localize("batch.prompt_table.cells_in_pairs_of_quotes")
        problems.add(number + 1, "", str(error), allowed)
    return tuple(found)


def _of_list(given: Sequence[Any], problems: RowErrors) -> tuple[PromptRow, ...]:
    found: list[PromptRow] = []
    for number, entry in enumerate(given, start=1):
        values = {"prompt": entry} if isinstance(entry, str) else entry
        if not isinstance(values, Mapping):
            allowed = localize("batch.prompt_table.a_text_or_an_object_of")
            problems.add(number, "", repr(entry), allowed)
            continue
        _check_names(list(values), number, problems)
        found.append(PromptRow(number, _by_key(values, number, problems)))
    return tuple(found)


def _by_key(values: Mapping[str, Any], number: int, problems: RowErrors) -> dict[str, Any]:
    """Return the values of a row by key; two names of one field that disagree are a problem."""
    found: dict[str, Any] = {}
    names: dict[str, str] = {}
    for name, value in values.items():
        key = SCHEMA.canonical(str(name))
        if key in found and found[key] != value:
            allowed = localize("batch.prompt_table.one_value_and_are_the_same", part=names[key], name=name)
            problems.add(number, str(name), repr(value), allowed)
        found[key], names[key] = value, str(name)
    return found


def _header(line: str) -> list[str]:
    return [cell.strip().strip('"').strip() for cell in line.split(_delimiter(line))]


def _delimiter(line: str) -> str:
    return max(_DELIMITERS, key=line.count)


def _check_header(header: list[str], problems: RowErrors) -> None:
    _check_names(header, 1, problems)
    keys = [SCHEMA.canonical(name) for name in header]
    for name, key in zip(header, keys, strict=True):
        if keys.count(key) > 1:
            problems.add(1, name, name, localize("batch.prompt_table.each_column_once"))
            return


def _check_names(names: Sequence[Any], number: int, problems: RowErrors) -> None:
    for name in names:
        if SCHEMA.canonical(str(name)) not in COLUMNS:
            problems.add(number, str(name), repr(name), {"en": SHORT, "zh": SHORT})


MOST_SAID = 8  # rows in the sentence; the rest is counted
LONGEST = 60  # characters of what came

Text = Mapping[str, str]


class RowErrors:
    """Collects the errors of one source: the name of a file or another origin of rows."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._found: list[Text] = []

    def add(self, row: int, column: str, value: str | Text, allowed: str | Text) -> None:
        """Add an error. `column` is "" for the whole row; `allowed` is a text, or texts by language."""
        if isinstance(value, str) and len(value) > LONGEST:
            value = value[: LONGEST - 1] + "…"
        words = dict.fromkeys(LANGUAGES, allowed) if isinstance(allowed, str) else allowed
        self._found.append(
            localize(
                "batch.prompt_table.row_value_allowed",
                row=row,
                part=column and f", {column}",
                value=value,
                words=words,
                part_2=column and f"，{column}",
            )
        )

    def add_error(self, row: int, column: str, error: InputError) -> None:
        """Add an error that was raised for a row; `column` is used when the error has no key."""
        if not {"value", "allowed"} <= set(error.values):
            text = {language: error.message(language) for language in LANGUAGES}
            self._found.append(localize("batch.prompt_table.row", row=row, error=text))
            return
        key = str(error.values.get("key", column)).removeprefix("generation.")
        value = error.values["value"]
        self.add(row, key, value if isinstance(value, Mapping) else str(value), error.values["allowed"])

    def raise_any(self) -> None:
        """Raise BatchError if there are errors."""
        if not self._found:
            return
        rest = len(self._found) - MOST_SAID
        more = localize("batch.prompt_table.and_more", rest=rest) if rest > 0 else dict.fromkeys(LANGUAGES, "")
        joined = {
            language: mark.join(words[language] for words in self._found[:MOST_SAID]) + more[language]
            for language, mark in (("en", "; "), ("zh", "；"))
        }
        raise BatchError(source=self._source, count=len(self._found), detail=joined)
