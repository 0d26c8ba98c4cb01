"""`users add|remove|admin|user|logout NAME`, `users list`: who may use the studio. Passwords are asked for, never arguments."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Mapping
from pathlib import Path

from core.cli.console import DONE
from core.config.loader import load_settings
from core.errors import InputError
from core.server.auth.users import ADMIN, USER, Users


class NoNameError(InputError):
    """`add` or `remove` without a name."""


class TwoPasswordsError(InputError):
    """The two passwords differ."""


def run(arguments: argparse.Namespace, language: str, configs: Path, environment: Mapping[str, str]) -> int:
    """Do it; the exit code. Raises StudioError."""
    words = _WORDS[language]
    users = Users(load_settings(configs, environment=environment).output_directory)
    if arguments.action == "list":
        for name, account in users.accounts().items():
            print(f"{name}\t{account.role}")
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
        new = users.add(arguments.name, _ask(words))
        print(words["added" if new else "changed"].format(name=arguments.name))
    return DONE


def _ask(words: Mapping[str, str]) -> str:
    """Typed twice and not shown; where nobody types, the first line of what is piped in."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass(words["ask"])
    if getpass.getpass(words["again"]) != password:
        raise TwoPasswordsError()
    return password


_WORDS = {
    "en": {
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
