"""Write SQL for PostgreSQL. Words are in a table beside the images, as a tsvector of our own splitting."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, text

from core.storage.dialects.contract import Conditions, Words
from core.storage.fts_tokens import tokens

TEXTS = "image_texts"
LONGEST = 400  # characters of a word that are indexed: a lexeme has at most 2 KB
FURTHEST = 16_383  # the last place that a tsvector tells apart
_SERIAL = (("jobs", "number"), ("images", "number"), ("option_sets", "id"))
_BOOLEAN = ("favourite",)  # columns that are sorted by


class PostgresDialect:
    """The planner has statistics, so nothing tells it which index to take."""

    walked = "images"
    read = "images"
    joined = "JOIN images"

    def make_words(self, connection: Connection) -> None:
        connection.exec_driver_sql(
            f"CREATE TABLE {TEXTS} (number BIGINT PRIMARY KEY REFERENCES images ON DELETE CASCADE, words TSVECTOR NOT NULL)"
        )
        connection.exec_driver_sql(
            f"CREATE INDEX ix_{TEXTS}_words ON {TEXTS} USING gin (words) WITH (fastupdate = off)"
        )

    def put_words(self, connection: Connection, rows: Sequence[Words]) -> None:
        values = [{"number": number, "words": vector(prompt, negative)} for number, prompt, negative in rows]
        if values:
            connection.execute(
                text(f"INSERT INTO {TEXTS} (number, words) VALUES (:number, CAST(:words AS tsvector))"), values
            )

    def remove_words(self, connection: Connection, numbers: Sequence[int]) -> None:
        connection.execute(text(f"DELETE FROM {TEXTS} WHERE number = ANY(:numbers)"), {"numbers": list(numbers)})

    def clear_words(self, connection: Connection) -> None:
        connection.execute(text(f"DELETE FROM {TEXTS}"))

    def with_words(self, words: Sequence[str]) -> tuple[str, dict[str, Any]]:
        return f"SELECT number FROM {TEXTS} WHERE words @@ CAST(:words AS tsquery)", {"words": question(words)}

    def has_text(self, words: Sequence[str]) -> Conditions:
        values = {f"word{k}": word for k, word in enumerate(words)}
        return [f"(strpos(prompt, :{name}) > 0 OR strpos(negative_prompt, :{name}) > 0)" for name in values], values

    def has_options(self, options: Mapping[tuple[str, ...], Any]) -> Conditions:
        """Return the condition by the text of the JSON: reading it would fail where PostgreSQL can't hold a text."""
        parts: list[str] = []
        values: dict[str, Any] = {}
        for k, (keys, value) in enumerate(options.items()):
            names = [f"key{k}_{n}" for n in range(len(keys))]
            parts.append(
                "(" + " OR ".join(f"CAST(options -> :{name} AS text) = ANY(:value{k})" for name in names) + ")"
            )
            values |= {**dict(zip(names, keys, strict=True)), f"value{k}": _spellings(value)}
        return parts, values

    def has_members(self, options: Mapping[str, str]) -> Conditions:
        parts: list[str] = []
        values: dict[str, Any] = {}
        for k, (key, value) in enumerate(options.items()):
            found = f"options -> CAST(:list{k} AS text)"
            several = f"CASE WHEN json_typeof({found}) = 'array' THEN {found} ELSE CAST('[]' AS json) END"
            parts.append(
                f"EXISTS (SELECT 1 FROM json_array_elements_text({several}) AS member(value) "
                f"WHERE member.value = :member{k} OR starts_with(member.value, CAST(:member{k} AS text) || ':'))"
            )
            values |= {f"list{k}": key, f"member{k}": value}
        return parts, values

    def listed(self, name: str) -> str:
        return f"SELECT json_array_elements_text(CAST(:{name} AS json))"

    def sorted_value(self, column: str, value: Any) -> Any:
        return bool(value) if column in _BOOLEAN else value

    def json_number(self, column: str, key: str) -> str:
        return f"CAST({column} ->> '{key}' AS bigint)"

    def is_json(self, column: str) -> str:
        return "true"  # the column takes nothing else

    def take_time(self, connection: Connection) -> None:
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")

    def after_copy(self, connection: Connection) -> None:
        for table, column in _SERIAL:
            highest = f"(SELECT coalesce(max({column}), 0) + 1 FROM {table})"
            connection.exec_driver_sql(
                f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), {highest}, false)"
            )


def vector(prompt: str, negative: str) -> str:
    """Return both prompts as a tsvector is written, with a gap between them that no phrase can cross."""
    first, second = tokens(prompt), tokens(negative)
    places: dict[str, list[str]] = {}
    for start, words in ((1, first), (len(first) + 2, second)):
        for at, word in enumerate(words, start):
            places.setdefault(word[:LONGEST], []).append(str(min(at, FURTHEST)))
    return " ".join(f"'{word}':{','.join(at)}" for word, at in places.items())


def question(words: Sequence[str]) -> str:
    """Return the tsquery for rows with every word; the parts of a word follow each other, the last may go on."""
    phrases = [" <-> ".join(f"'{part[:LONGEST]}'" for part in parts) for word in words if (parts := tokens(word))]
    return " & ".join(f"({phrase}:*)" for phrase in phrases)


def _spellings(value: Any) -> list[str]:
    """Return how JSON that equals `value` can be written; as in SQLite, true is 1 and 1 is 1.0."""
    if isinstance(value, str):
        return [json.dumps(value)]
    found = {json.dumps(value), json.dumps(float(value))}
    if float(value).is_integer():
        found.add(json.dumps(int(value)))
    if value in (0, 1):
        found.add(json.dumps(bool(value)))
    return sorted(found)
