"""Print and write what follows from the schema: configs/README.md with what was measured, and typed_settings.py for mypy.

`samplers` prints the samplers with their names in other programs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from typing import Any

from core.cli.console import DONE
from core.config.loader import PROJECT_ROOT
from core.config.options import SCHEMA
from core.config.samplers import SAMPLERS, SCHEDULES
from core.config.schema import Option
from core.models.families import FAMILIES

FILE = PROJECT_ROOT / "configs" / "README.md"
MEASURED = PROJECT_ROOT / "configs" / "measured.json"  # option -> one line, kept by the options' tests

_FILES = {
    "config": "Images, model and output · 图片、模型与输出",
    "advanced_config": "Advanced · 高级",
    "ui_config": "Pages · 界面",
    "service_config": "Worker and HTTP service · 工作进程与 HTTP 接口",
}
_EFFECT = {
    "request": "next image · 下一张",
    "live": "live · 立即",
    "reload": "reloads the model · 重新加载",
    "start": "at the next start · 下次启动",
}
_NO_FIGURE = "its test shows it; no figure kept · 由其测试验证，无数值"
_HEAD = """# Every option · 全部选项

Made by `python3 start.py options --write` from the schema; do not edit it by hand. 由该命令生成，请勿手工修改。

*Measured* is what the option's own test found on the embedded model, on two cores and without a GPU, unless it says
otherwise: it shows that the option acts, not how fast your machine is. `python3 start.py bench` measures that.
"""


def run(arguments: argparse.Namespace) -> int:
    """Print the table, or write it."""
    text = document()
    if arguments.write:
        for file, content in ((FILE, text), (TYPED_SETTINGS, typed_settings_document())):
            file.write_text(content, encoding="utf-8")
            print(file)
    else:
        print(text, end="")
    return DONE


def document() -> str:
    """Return the text of configs/README.md."""
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    parts = [_HEAD]
    for file, title in _FILES.items():
        options = [option for option in SCHEMA.options.values() if option.file == file]
        parts.append(f"## {file}.yaml: {title}\n\n{_table(options, measured)}\n")
    return "\n".join(parts)


def _table(options: Iterable[Option], measured: Mapping[str, str]) -> str:
    rows = ["| option | what it does | values (default) | takes effect | measured |", "| --- | --- | --- | --- | --- |"]
    for option in options:
        what = f"**{option.label['en']} · {option.label['zh']}** {option.help['en']} {option.help['zh']}"
        built = "" if option.implemented else " *(no effect yet · 尚无效果)*"
        values = f"{option.allowed['en']} (`{_default(option)}`)"
        found = measured.get(option.key, _NO_FIGURE)
        cells = (f"`{option.key}`", what + built, values, _EFFECT[option.takes_effect], found)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def _default(option: Option) -> str:
    if isinstance(option.default, bool):
        return "true" if option.default else "false"
    if isinstance(option.default, tuple):
        return ", ".join(option.default)
    return str(option.default) if option.default != "" else '""'


def listed() -> dict[str, Any]:
    """Return everything that the command prints, as JSON has it. Families by their pipeline classes."""
    rows = []
    for sampler in SAMPLERS.values():
        solvers = {name: sampler.solver(family.prediction) for name, family in FAMILIES.items()}
        families = {name: list(solver.schedules) for name, solver in solvers.items() if solver is not None}
        rows.append({"id": sampler.id, "a1111": sampler.name, "aliases": sampler.aliases.split(), "families": families})
    return {"samplers": rows, "schedules": [{"id": one.id, "a1111": one.name} for one in SCHEDULES.values()]}


def run_samplers(as_json: bool) -> int:
    """Print the list; the exit code."""
    found = listed()
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
        return 0
    for row in found["samplers"]:
        labels: dict[str, list[str]] = {}
        for name, schedules in row["families"].items():
            family = FAMILIES[name]
            if family.plain is None:
                labels.setdefault(", ".join(schedules) or "auto", []).append(family.label)
        print(
            f"{row['id']:<18}{row['a1111']:<14}"
            + "; ".join(f"{', '.join(who)}: {what}" for what, who in labels.items())
        )
    print("schedules: " + ", ".join(f"{one['id']} ({one['a1111']})" for one in found["schedules"]))
    return 0


TYPED_SETTINGS = PROJECT_ROOT / "core" / "config" / "typed_settings.py"
LINE = 120  # characters

_TYPED_HEAD = '''"""Declare the settings by section and name, such as `settings.server.port`, for mypy and editors.

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


def typed_settings_document() -> str:
    """Return the text of typed_settings.py."""
    sections: dict[str, list[Option]] = {}
    for option in SCHEMA.options.values():
        section, dot, _ = option.key.rpartition(".")
        sections.setdefault(section if dot else "", []).append(option)
    alone = sections.pop("", [])
    classes = [_class(name, options) for name, options in sections.items()]
    annotations = [f"{name}: {_class_name(name)}" for name in sections]
    annotations += [_annotation(option.key, option) for option in alone]
    return _TYPED_HEAD + "".join(classes) + _SECTIONS.format(annotations=_indented(annotations))


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
