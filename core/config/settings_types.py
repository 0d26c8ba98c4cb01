"""Write `typed_settings.py`: the sections of the settings as classes that mypy checks, from the declarations of the options."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from core.config.options import SCHEMA
from core.config.schema import Option

FILE = Path(__file__).with_name("typed_settings.py")
LINE = 120  # characters

_HEAD = '''"""Declare the settings by section and name, such as `settings.server.port`, for mypy and editors.

Generated from core/config/options by `python3 start.py options --write`; do not edit it by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal


class Section:
    """The options whose keys begin with one word. A name that no option has raises AttributeError."""

    def __init__(self, name: str, values: Mapping[str, Any]) -> None:
        self._name = name
        self._values = values

    if not TYPE_CHECKING:  # mypy is to know the declared names only

        def __getattr__(self, name: str) -> Any:
            key = f"{self._name}.{name}"
            if name.startswith("_") or key not in self._values:
                raise AttributeError(f"there is no option {key}")
            return self._values[key]
'''

_SECTIONS = '''

class Sections:
    """All options, by section. The class that inherits it has them in `values`."""

{annotations}

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_") or name == "values":
                raise AttributeError(name)
            return _section(name, self.values)


class Options(Sections, Mapping[str, Any]):
    """The options of a request by section and name, `options.vae.decoder_tile_size`, and by key as the mapping that they are."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(name)
            return _section(name, self._values)


def _section(name: str, values: Mapping[str, Any]) -> Any:
    """Return a section, or the value of an option without one. AttributeError for a name that no option has."""
    if name in values:
        return values[name]
    if any(key.startswith(f"{{name}}.") for key in values):
        return Section(name, values)
    raise AttributeError(f"there are no options {{name}}")
'''


def document() -> str:
    """Return the text of typed_settings.py."""
    sections: dict[str, list[Option]] = {}
    for option in SCHEMA.options.values():
        section, dot, _ = option.key.rpartition(".")
        sections.setdefault(section if dot else "", []).append(option)
    alone = sections.pop("", [])
    classes = [_class(name, options) for name, options in sections.items()]
    annotations = [f"{name}: {_class_name(name)}" for name in sections]
    annotations += [_annotation(option.key, option) for option in alone]
    return _HEAD + "".join(classes) + _SECTIONS.format(annotations=_indented(annotations))


def _class(section: str, options: Iterable[Option]) -> str:
    annotations = [_annotation(option.key.rpartition(".")[2], option) for option in options]
    return f'\n\nclass {_class_name(section)}(Section):\n    """The options `{section}.*`."""\n\n{_indented(annotations)}\n'


def _class_name(section: str) -> str:
    return "".join(word.capitalize() for word in section.split("_")) + "Section"


def _annotation(name: str, option: Option) -> str:
    """Return the annotation of one option, over several lines where it is too long for one."""
    if option.type != "choice":
        plain = {"list": "tuple[str, ...]"}.get(option.type, option.type)
        return f"{name}: {plain} | Literal['auto']".replace("'", '"') if option.auto else f"{name}: {plain}"
    choices = [f'"{choice}"' for choice in option.choices]
    line = f"{name}: Literal[{', '.join(choices)}]"
    if len(line) <= LINE - 4:
        return line
    return f"{name}: Literal[\n" + "".join(f"    {choice},\n" for choice in choices) + "]"


def _indented(annotations: Iterable[str]) -> str:
    return "\n".join(f"    {line}" for annotation in annotations for line in annotation.split("\n"))
