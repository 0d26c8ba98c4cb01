"""The texts of errors and reasons in every language, one YAML catalogue a language.

Labels and help of an option stay with its declaration (`core.config.options`), words of the pages in `ui/locales`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

LANGUAGES = ("zh", "en")


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """Return all texts of a language by dotted key, such as "errors.PromptError"."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    tree = yaml.load(Path(__file__).with_name(f"{language}.yaml").read_text(encoding="utf-8"), Loader=loader)
    return dict(_flat(tree))


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


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
    return text.format(**{name: _in_language(value, language) for name, value in values.items()})


def _in_language(value: Any, language: str) -> Any:
    return value[language] if isinstance(value, Mapping) and set(value) == set(LANGUAGES) else value
