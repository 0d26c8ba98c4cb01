"""`history check` and `history rebuild`: the files are the truth, and the database is made to say the same.

What this module does not know: how (see core.storage.check).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from core.config.layers import load_settings
from core.entrypoints.terminal import DONE, FAILED
from core.jobs.orders import open_database
from core.storage.check import check, rebuild


def run(arguments: argparse.Namespace, language: str, configs: Path, environment: Mapping[str, str]) -> int:
    """Do it and say what was found; exit code 1 when a picture is missing or damaged."""
    words = _WORDS[language]
    settings = load_settings(configs, environment=environment)
    directory = settings.output_directory
    database = open_database(directory, settings.values)
    try:
        if arguments.action == "rebuild":
            report = rebuild(database, directory)
            print(words["rebuilt"].format(count=len(report.adopted), unknown=report.unknown))
            return DONE
        found = check(database, directory)
    finally:
        database.close()
    for field in fields(found):
        value = getattr(found, field.name)
        print(f"{words[field.name]}: {value if isinstance(value, int) else len(value)}")
        for file in () if isinstance(value, int) else value:
            print(f"  {file}")
    return FAILED if found.missing or found.damaged else DONE


_WORDS = {
    "en": {
        "rebuilt": "{count} pictures are in the history again; {unknown} files carry no record and were left alone.",
        "pictures": "pictures",
        "missing": "without their file",
        "adopted": "files that got their row back",
        "unknown": "files that nobody knows anything of, left alone",
        "changed": "changed since they were written",
        "damaged": "damaged",
        "thumbnails": "thumbnails made",
        "marks": "ratings and tags beside pictures put right",
        "inputs": "input pictures removed that nothing refers to",
    },
    "zh": {
        "rebuilt": "{count} 张图片已重新收入历史；{unknown} 个文件没有记录，未作改动。",
        "pictures": "图片",
        "missing": "文件缺失",
        "adopted": "找回记录的文件",
        "unknown": "来历不明的文件，未作改动",
        "changed": "写入后被改动",
        "damaged": "已损坏",
        "thumbnails": "补做的缩略图",
        "marks": "已修正的评分与标签文件",
        "inputs": "已移除的无人引用的输入图片",
    },
}
