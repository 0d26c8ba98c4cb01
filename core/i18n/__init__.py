"""Load the texts of errors and reasons, one YAML catalogue a language.

Labels and help of an option stay with its declaration (`core.config.options`), words of the pages in `ui/locales`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any

import yaml

LANGUAGES = ("zh", "en")


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """Return all texts of a language by dotted key, such as "errors.PromptError"."""
    return read_catalogue(Path(__file__).with_name(f"{language}.yaml"))


def read_catalogue(path: Path) -> Mapping[str, str]:
    """Return the texts of a YAML file by dotted key."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML was built with it
    return dict(_flat(yaml.load(path.read_text(encoding="utf-8"), Loader=loader)))


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


def localize(key: str, **values: Any) -> dict[str, str]:
    """Return the text of `key` in every language, with `values` filled in.

    A value that is a mapping from language to text is filled in by language. Without values the text is returned as it
    stands, placeholders included. Raises KeyError for an unknown key.
    """
    return {language: fill(catalogue(language)[key], language, values) for language in LANGUAGES}


def fill(text: str, language: str, values: Mapping[str, Any]) -> str:
    """Return `text` with `values` put into its placeholders, each in `language`."""
    if not values:
        return text
    return filled(text, {name: _in_language(value, language) for name, value in values.items()})


def filled(text: str, values: Mapping[str, Any]) -> str:
    """Return `text` with `values` put into its placeholders as `str.format` does, and with the right one of two forms of a word.

    `{count} {count:image|images}` becomes "1 image" and "12 images".
    """
    return _WORD_FORMS.vformat(text, (), values) if "|" in text else text.format(**values)


class _WordForms(Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        one, either, many = format_spec.partition("|")
        if not either:
            return str(super().format_field(value, format_spec))
        return one if str(value) == "1" else many


_WORD_FORMS = _WordForms()


def _in_language(value: Any, language: str) -> Any:
    return value[language] if isinstance(value, Mapping) and set(value) == set(LANGUAGES) else value
