"""`options`: print the table of all options from the schema and from measurements; configs/README.md is written by it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping

from core.cli.console import DONE
from core.config import settings_types
from core.config.loader import PROJECT_ROOT
from core.config.options import SCHEMA
from core.config.schema import Option

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
        for file, content in ((FILE, text), (settings_types.FILE, settings_types.document())):
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
