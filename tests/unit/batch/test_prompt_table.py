"""Texts, tables and lists as rows: whatever is written comes back, and what can't be used is told by row and column."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.batch.prompt_table import PROMPT, PromptRow, read_rows
from core.errors import BatchError

cells = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
SEED = "generation.seed"


@given(st.lists(st.tuples(cells, cells), max_size=5), st.sampled_from(",;\t"), st.sampled_from(["\n", "\r\n"]))
def test_what_a_spreadsheet_writes_is_read(rows: list[tuple[str, str]], delimiter: str, end: str) -> None:
    file = io.StringIO()
    broken = any(mark in cell for row in rows for cell in row for mark in "\r\n")
    quoting = csv.QUOTE_ALL if broken else csv.QUOTE_MINIMAL  # spreadsheets quote a line break; csv before 3.13 may not
    csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows([("prompt", "seed"), *rows])
    found = read_rows(file.getvalue().encode("utf-8-sig"), "a.csv")

    def kept(cell: str) -> str:
        return cell.replace("\r\n", "\n").replace("\r", "\n").strip()

    wanted = [
        PromptRow(number, {key: kept(cell) for key, cell in ((PROMPT, prompt), (SEED, seed)) if kept(cell)})
        for number, (prompt, seed) in enumerate(rows, start=2)
    ]
    assert list(found) == [row for row in wanted if row.values]


@given(st.binary(max_size=60), st.sampled_from(["a.csv", "a.txt"]))
def test_any_bytes_are_read_or_refused(data: bytes, name: str) -> None:
    try:
        assert all(row.values for row in read_rows(data, name))
    except BatchError as error:
        assert name in error.message("en") and "Nothing was queued" in error.message("en")


@given(st.lists(st.text(max_size=8) | st.integers() | st.dictionaries(st.text(max_size=5), st.integers()), max_size=4))
def test_any_list_is_read_or_refused(given_: list[object]) -> None:
    try:
        assert len(read_rows(given_, "request")) == len(given_)
    except BatchError as error:
        assert "row 1" in error.message("en") or "row" in error.message("en")


def test_a_text_is_a_prompt_a_line() -> None:
    rows = read_rows("\ufeffa house\n\n# not this\n  一座红房子, 雪 \r\nwidth, height\n", "paste")
    assert [(row.number, row.values[PROMPT]) for row in rows] == [
        (1, "a house"),
        (4, "一座红房子, 雪"),
        (5, "width, height"),
    ]


def test_a_pasted_table_is_known_by_its_first_line() -> None:
    rows = read_rows("prompt\tsteps\tcfg\na house\t4\t\n", "paste")
    assert rows == (PromptRow(2, {PROMPT: "a house", "generation.num_inference_steps": "4"}),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prompt,colour\nx,red", ["row 1, colour", "got 'colour'", "negative_prompt"]),
        ("prompt,seed,seed\nx,1,2", ["row 1, seed", "each column once"]),
        ("prompt,seed\nx,1\ny,2,3", ["row 3: got 3", "2 cells"]),
        ('prompt,seed\n"x,1', ["row 2", "quotes"]),
        ("prompt,server.port\nx,1", ["row 1, server.port"]),
    ],
)
def test_what_is_wrong_with_a_table_is_told_by_row_and_column(text: str, words: list[str]) -> None:
    with pytest.raises(BatchError) as caught:
        read_rows(text.encode(), "list.csv")
    for part in ("list.csv", *words):
        assert part in caught.value.message("en")
    assert "第" in caught.value.message("zh") and "行" in caught.value.message("zh")


def test_a_file_in_another_encoding_names_the_row() -> None:
    with pytest.raises(BatchError, match=r"row 2: .*UTF-8"):
        read_rows("prompt\n红色".encode("gb18030"), "list.csv")
