"""`history check` and `history rebuild`: compare the database with the files, and correct it from them.

`history move` copies the database; `history hide NAME` and `history show NAME` ask for a password and hide a collection.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from core.cli.console import DONE, FAILED, SOURCE, ask_password
from core.config.loader import Settings, load_settings
from core.errors import MoveError, OptionError
from core.history.hidden_collections import HiddenCollections
from core.history.integrity import check, rebuild
from core.i18n import localize
from core.jobs.worker_process import DATABASE_FILE, open_database, open_store
from core.jobs.worker_registry import WorkerRegistry
from core.storage.database import Database, check_belonging
from core.storage.database_copy import move

FILE = "file"  # the file in the output folder
TARGETS = f"postgresql://user@host:5432/name, {FILE}, a path"


def run(arguments: argparse.Namespace, language: str, configs: Path, environment: Mapping[str, str]) -> int:
    """Do it and say what was found; exit code 1 when an image is missing or damaged."""
    words = _WORDS[language]
    settings = load_settings(configs, environment=environment)
    settings.raise_problems()
    if arguments.action == "move":
        return _move(settings, arguments.to, words)
    if arguments.to is not None:
        raise OptionError(source=SOURCE, key="--to", value=arguments.to, allowed="history move")
    if arguments.action in ("hide", "show"):
        return _hide(settings, arguments.action, arguments.name, words)
    if arguments.name is not None:
        raise OptionError(source=SOURCE, key="NAME", value=arguments.name, allowed="history hide, history show")
    store = open_store(settings.output_directory, settings.values)
    database = open_database(settings.output_directory, settings.values)
    try:
        check_belonging(database, store)
        if arguments.action == "rebuild":
            report = rebuild(database, store)
            print(words["rebuilt"].format(count=len(report.reconciled.adopted), unknown=report.reconciled.unknown))
            if report.lost:
                print(words["lost"].format(count=report.lost))
            print(words["backup"].format(file=report.backup))
            if report.earlier:
                print(words["older_backup"].format(file=report.earlier))
            return DONE
        found = check(database, store)
    finally:
        database.close()
    for field in fields(found):
        value = getattr(found, field.name)
        print(f"{words[field.name]}: {value if isinstance(value, int) else len(value)}")
        for file in () if isinstance(value, int) else value:
            print(f"  {file}")
    return FAILED if found.missing or found.damaged else DONE


def _hide(settings: Settings, action: str, name: str | None, words: Mapping[str, str]) -> int:
    """Hide a collection of no user, or show it again. Raises HidingError, CollectionPasswordError."""
    if not name:
        raise OptionError(source=SOURCE, key="NAME", value="", allowed=words["collection"])
    database = open_database(settings.output_directory, settings.values)
    try:
        hidden = HiddenCollections(database, settings.access.unlock_minutes)
        if action == "hide":
            hidden.hide("", name, ask_password(words, twice=True))
        else:
            hidden.show_again("", ("",), name, ask_password(words, twice=False))
    finally:
        database.close()
    print(words[action].format(name=name))
    return DONE


def _move(settings: Settings, to: str | None, words: Mapping[str, str]) -> int:
    """Copy everything into the database `to`, and say what was compared and how to change over."""
    if not to:
        raise OptionError(source=SOURCE, key="--to", value="", allowed=TARGETS)
    target_place = (
        to if "://" in to else settings.output_directory / DATABASE_FILE if to == FILE else Path(to).resolve()
    )
    source = open_database(settings.output_directory, settings.values)
    try:
        _demand_rest(source, source.name)
        if str(target_place) == source.name:
            raise MoveError(target=to, detail=localize("cli.history.it_is_there_already"))
        target = Database(target_place)
        try:
            _demand_rest(target, target.name)
            for table in move(source, target):
                print(f"{table.table}: {table.rows}  sha256 {table.digest}")
        finally:
            target.close()
        usual = settings.output_directory / DATABASE_FILE
        print(words["moved"].format(source=source.name, target=target.name))
        if isinstance(target_place, str) or target_place == usual:
            print(words["change"].format(value=to if isinstance(target_place, str) else ""))
        else:
            print(words["place"].format(file=usual))
    finally:
        source.close()
    return DONE


def _demand_rest(database: Database, name: str) -> None:
    """Nobody may be at work in it. Raises MoveError."""
    if WorkerRegistry(database).living():
        detail = localize("cli.history.a_worker_is_at_work_in", name=name)
        raise MoveError(target=name, detail=detail)


_WORDS = {
    "en": {
        "ask": "Password (not shown): ",
        "again": "Once more: ",
        "collection": "the name of a collection",
        "hide": "{name} is hidden; it is shown for some minutes after its password is typed.",
        "show": "{name} is no longer hidden.",
        "moved": "Everything that was in {source} is in {target}, compared row by row; the images stay where they are, and so "
        "does the old database.",
        "change": 'To use it, set storage.database to "{value}" in configs/local.yaml.',
        "place": 'To use it, put it at {file} and set storage.database to "" in configs/local.yaml.',
        "rebuilt": "{count} images are in the history again; {unknown} files carry no record and were left alone.",
        "backup": "The database from before is kept: {file}",
        "lost": "{count} images have no file any more; they are in the copy alone.",
        "older_backup": "The copy of an earlier rebuild has more and is kept, too: {file}",
        "images": "images",
        "missing": "without their file",
        "adopted": "files that got their row back",
        "unknown": "files that nobody knows anything of, left alone",
        "changed": "changed since they were written",
        "damaged": "damaged",
        "thumbnails": "thumbnails made",
        "marks": "ratings and tags beside images put right",
        "inputs": "input images removed that nothing refers to",
    },
    "zh": {
        "ask": "密码（不显示）：",
        "again": "再输入一次：",
        "collection": "图集名称",
        "hide": "{name} 已隐藏；输入密码后会显示数分钟。",
        "show": "{name} 已不再隐藏。",
        "moved": "{source} 中的全部内容已在 {target} 中，并逐行核对；图片留在原处，旧数据库也保留。",
        "change": "要改用它，请在 configs/local.yaml 中把 storage.database 设为“{value}”。",
        "place": "要改用它，请把它放到 {file}，并在 configs/local.yaml 中把 storage.database 设为空。",
        "rebuilt": "{count} 张图片已重新收入历史；{unknown} 个文件没有记录，未作改动。",
        "backup": "重建前的数据库已备份：{file}",
        "lost": "{count} 张图片的文件已不存在，只保留在备份中。",
        "older_backup": "此前重建的备份内容更多，也已保留：{file}",
        "images": "图片",
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
