"""Gather the errors in the rows of a batch, so that all of them are reported at once."""

from __future__ import annotations

from collections.abc import Mapping

from core.errors import BatchError, InputError
from core.i18n import LANGUAGES, localize

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
                "batch.row_errors.row_value_allowed",
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
            self._found.append(localize("batch.row_errors.row", row=row, error=text))
            return
        key = str(error.values.get("key", column)).removeprefix("generation.")
        value = error.values["value"]
        self.add(row, key, value if isinstance(value, Mapping) else str(value), error.values["allowed"])

    def raise_any(self) -> None:
        """Raise BatchError if there are errors."""
        if not self._found:
            return
        rest = len(self._found) - MOST_SAID
        more = localize("batch.row_errors.and_more", rest=rest) if rest > 0 else dict.fromkeys(LANGUAGES, "")
        joined = {
            language: mark.join(words[language] for words in self._found[:MOST_SAID]) + more[language]
            for language, mark in (("en", "; "), ("zh", "；"))
        }
        raise BatchError(source=self._source, count=len(self._found), detail=joined)
