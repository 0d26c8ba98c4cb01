"""`users add|remove|admin|user|logout NAME`, `users list`: manage users. Passwords are prompted for, never arguments."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from core.cli.console import DONE, ask_password
from core.config.loader import Settings, load_settings
from core.errors import InputError
from core.jobs.viewed_queue import MEGABYTE, use_of
from core.jobs.worker_process import open_database
from core.server.auth.users import ADMIN, USER, Users
from core.types import USER_CLIENT


class NoNameError(InputError):
    """`add` or `remove` without a name."""


def run(arguments: argparse.Namespace, language: str, configs: Path, environment: Mapping[str, str]) -> int:
    """Do it; the exit code. Raises StudioError."""
    words = _WORDS[language]
    settings = load_settings(configs, environment=environment)
    users = Users(settings.output_directory)
    if arguments.action == "list":
        _list(settings, users, words)
        return DONE
    if not arguments.name:
        raise NoNameError(action=arguments.action)
    if arguments.action == "remove":
        users.remove(arguments.name)
        print(words["removed"].format(name=arguments.name))
    elif arguments.action in (ADMIN, USER):
        users.set_role(arguments.name, arguments.action)
        print(words[arguments.action].format(name=arguments.name))
    elif arguments.action == "logout":
        users.end_sessions(arguments.name)
        print(words["logout"].format(name=arguments.name))
    else:
        new = users.add(arguments.name, ask_password(words, twice=True))
        print(words["added" if new else "changed"].format(name=arguments.name))
    return DONE


def _list(settings: Settings, users: Users, words: Mapping[str, str]) -> None:
    """Print each user with role, images, disk space, and images of the last hour."""
    accounts = users.accounts()
    if not accounts:
        return
    database = open_database(settings.output_directory, settings.values)
    try:
        with database.reading() as connection:
            for name, account in accounts.items():
                use = use_of(connection, f"{USER_CLIENT}{quote(name)}")
                counts = words["counts"].format(
                    images=use.images, mb=round(use.disk_bytes / MEGABYTE, 1), hour=use.images_last_hour
                )
                print(f"{name}\t{account.role}\t{counts}")
    finally:
        database.close()


_WORDS = {
    "en": {
        "counts": "{images} images, {mb} MB, {hour} in the last hour",
        "ask": "Password (not shown): ",
        "again": "Once more: ",
        "added": "{name} may use the studio now, with this password.",
        "changed": "{name} has another password now; older logins of {name} have ended.",
        "removed": "{name} may not use the studio any more.",
        "admin": "{name} is admin now: models, downloads, tokens, folders and workers may be changed.",
        "user": "{name} is no longer admin.",
        "logout": "Every login of {name} has ended.",
    },
    "zh": {
        "counts": "{images} 张图片，{mb} MB，最近一小时 {hour} 张",
        "ask": "密码（不显示）：",
        "again": "再输入一次：",
        "added": "{name} 现在可以用此密码使用工作室。",
        "changed": "{name} 的密码已更改；{name} 之前的登录已失效。",
        "removed": "{name} 不能再使用工作室。",
        "admin": "{name} 现在是管理员，可更改模型、下载、令牌、文件夹与工作进程。",
        "user": "{name} 不再是管理员。",
        "logout": "{name} 的所有登录均已失效。",
    },
}
