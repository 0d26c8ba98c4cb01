"""The command line behind start.py: generate, compare, models, history, users, demo-eval, verify, bench, options.

Every error is one line in the user's language.

Exit codes: 0 done, 1 the run failed, 2 the input can't be used, 130 stopped by the user.
What this module does not know: how anything is done; each command imports what it needs when it is called.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from core.config.layers import PROJECT_ROOT
from core.config.options import SCHEMA
from core.entrypoints.terminal import STOPPED, choose_language, complain
from core.errors import InputError, StudioError


class CommandLineError(InputError):
    """An unknown flag, or one without its value."""

    text = {
        "en": "command line: {detail}. Add --help to see what can be given.",
        "zh": "命令行有误：{detail}。加上 --help 可查看用法。",
    }


def main(arguments: Sequence[str] | None = None, configs: Path = PROJECT_ROOT / "configs") -> int:
    """Run one command and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    language = choose_language(given, os.environ)
    try:
        parsed = build_parser(language).parse_args(given)
        return _run(parsed, language, configs)
    except StudioError as error:
        return complain(error, language)
    except KeyboardInterrupt:
        return STOPPED


def _run(parsed: argparse.Namespace, language: str, configs: Path) -> int:
    if parsed.command == "generate" and parsed.server is not None:
        from core.entrypoints import elsewhere

        return elsewhere.run(parsed, language, configs, os.environ)
    if parsed.command == "generate":
        from core.entrypoints import generate

        return generate.run(parsed, language, configs)
    if parsed.command == "compare":
        from core.entrypoints import comparing

        return comparing.run(parsed, language, configs)
    if parsed.command == "bench":
        return _run_bench(parsed, configs)
    if parsed.command == "verify":
        from core.entrypoints import verify

        return verify.run(parsed, language, configs)
    if parsed.command == "options":
        from core.entrypoints import reference

        return reference.run(parsed)
    if parsed.command == "history":
        from core.entrypoints import upkeep

        return upkeep.run(parsed, language, configs, os.environ)
    if parsed.command == "models":
        from core.entrypoints import models

        return models.run(parsed, language, configs)
    if parsed.command == "users":
        from core.entrypoints import accounts

        return accounts.run(parsed, language, configs, os.environ)
    from core.entrypoints import evaluation

    return evaluation.run(parsed, configs)


def _quiet_libraries() -> None:
    """diffusers imports torchao where it is installed, and both would tell of it in the middle of our lines."""
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)


def _run_bench(parsed: argparse.Namespace, configs: Path) -> int:
    _quiet_libraries()
    if parsed.executor is not None:
        from core.entrypoints import bench_executors

        return bench_executors.run(parsed, configs)
    if parsed.what == "vae":
        from core.entrypoints import bench_vae

        return bench_vae.run(parsed)
    if parsed.what == "rope":
        from core.entrypoints import bench_rope

        return bench_rope.run(parsed, configs)
    from core.entrypoints import bench

    return bench.run(parsed, configs)


class _Parser(argparse.ArgumentParser):
    """argparse would print its usage and exit; here a mistake is an error like any other."""

    def error(self, message: str) -> NoReturn:
        raise CommandLineError(detail=message)


def build_parser(language: str) -> argparse.ArgumentParser:
    """All commands; the help of an option is the schema's own."""
    words = _WORDS[language]
    common = _Parser(add_help=False)
    common.add_argument("--lang", choices=("zh", "en"), help=words["lang"])
    parser = _Parser(prog="start.py", description="Z Darkroom / 造相暗房", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    adding = {
        "generate": _add_generate,
        "compare": _add_compare,
        "models": _add_models,
        "history": _add_history,
        "users": _add_users,
        "demo-eval": _add_evaluate,
        "verify": _add_verify,
        "bench": _add_bench,
        "options": _add_options,
    }
    for name, add in adding.items():
        command = commands.add_parser(name, parents=[common], help=words[name], allow_abbrev=False)
        add(command, language)
    return parser


def _add_generate(command: argparse.ArgumentParser, language: str) -> None:
    from core.entrypoints.generate import FLAGS, FORMATS, INPUT_FLAGS

    words = _WORDS[language]
    command.add_argument("prompt", metavar="PROMPT", nargs="?", help=words["prompt"])
    command.add_argument("--prompts-file", metavar="FILE", help=words["prompts-file"])
    for flag, key in FLAGS.items():
        option = SCHEMA.options[key]
        note = f"{option.help[language]} [{option.allowed[language]}]".replace("%", "%%")
        command.add_argument(flag, dest=key, metavar=option.type.upper(), help=note)
    for flag, role in INPUT_FLAGS.items():
        command.add_argument(flag, dest=role, metavar="FILE", help=words[role])
    command.add_argument("--out", metavar="FILE", help=words["out"].format(formats=", ".join(FORMATS)))
    command.add_argument("--low-vram", action="store_true", help=SCHEMA.options["memory.low_vram"].help[language])
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=words["set"])
    command.add_argument("--profile", metavar="NAME", help=words["profile"])
    command.add_argument("--server", metavar="URL", help=words["server"])
    command.add_argument("--token-file", metavar="FILE", help=words["token-file"])
    command.add_argument("--no-progress", action="store_true", help=words["no-progress"])


def _add_history(command: argparse.ArgumentParser, language: str) -> None:
    command.add_argument("action", choices=("check", "rebuild", "move"), help=_WORDS[language]["action"])
    command.add_argument("--to", metavar="URL", help=_WORDS[language]["to"])


def _add_models(command: argparse.ArgumentParser, language: str) -> None:
    words = _WORDS[language]
    command.add_argument(
        "action", nargs="?", choices=("list", "get", "add", "remove"), default="list", help=words["models_action"]
    )
    command.add_argument("target", nargs="?", metavar="ID|PATH", help=words["target"])
    command.add_argument("--source", metavar="HUB", help=words["source"])
    command.add_argument("--mirror", metavar="URL", help=words["mirror"])
    command.add_argument("--id", metavar="ID", help=words["id"])


def _add_users(command: argparse.ArgumentParser, language: str) -> None:
    command.add_argument("action", choices=("add", "list", "remove"), help=_WORDS[language]["users-action"])
    command.add_argument("name", nargs="?", metavar="NAME", help=_WORDS[language]["users-name"])


def _add_compare(command: argparse.ArgumentParser, language: str) -> None:
    from core.entrypoints.comparing import FORMATS, ColumnAction

    words = _WORDS[language]
    command.set_defaults(columns=None)
    command.add_argument("--model", action=ColumnAction, metavar="ID", help=words["compare-model"])
    command.add_argument("--set", action=ColumnAction, metavar="KEY=VALUE", help=words["compare-set"])
    command.add_argument("--profile", action=ColumnAction, metavar="NAME", help=words["compare-profile"])
    command.add_argument("--prompt", action="append", default=[], metavar="TEXT", help=words["compare-prompt"])
    command.add_argument("--seed", action="append", default=[], metavar="N", help=words["compare-seed"])
    out = words["compare-out"].format(formats=", ".join(FORMATS))
    command.add_argument("--out", action="append", default=[], metavar="FILE", help=out)
    command.add_argument("--no-progress", action="store_true", help=words["no-progress"])


def _add_evaluate(command: argparse.ArgumentParser, language: str) -> None:
    command.add_argument("--prompts", default="200", metavar="N", help=_WORDS[language]["prompts"])


def _add_verify(command: argparse.ArgumentParser, language: str) -> None:
    words = _WORDS[language]
    command.add_argument("--pictures", default="10", metavar="N", help=words["pictures"])
    command.add_argument("--model", help=SCHEMA.options["model.id"].help[language])
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=words["set"])
    command.add_argument("--all", action="store_true", help=words["all"])


def _add_options(command: argparse.ArgumentParser, language: str) -> None:
    command.add_argument("--write", action="store_true", help=_WORDS[language]["write"])


def _add_bench(command: argparse.ArgumentParser, language: str) -> None:
    words = _WORDS[language]
    command.add_argument("what", nargs="?", choices=("speed", "vae", "rope"), default="speed", help=words["what"])
    command.add_argument("--architecture", choices=("z-image-turbo",), help=words["architecture"])
    command.add_argument("--random-weights", action="store_true", help=words["random-weights"])
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=words["set"])
    command.add_argument("--only", action="append", default=[], metavar="TEXT", help=words["only"])
    command.add_argument("--runs", default="5", metavar="N", help=words["runs"])
    command.add_argument("--model", default="demo", help=SCHEMA.options["model.id"].help[language])
    command.add_argument("--side", metavar="PX", help=words["side"])
    command.add_argument("--steps", metavar="N", help=SCHEMA.options["generation.num_inference_steps"].help[language])
    command.add_argument("--tile", default="256", metavar="PX", help=words["tile"])
    command.add_argument("--minutes", default="10", metavar="N", help=words["minutes"])
    command.add_argument("--prompts", default="200", metavar="N", help=words["most"])
    command.add_argument("--executor", metavar="ray", help=words["executor"])
    command.add_argument("--workers", default="2", metavar="N", help=words["workers"])


_WORDS = {
    "en": {
        "lang": "language of messages; default: the terminal's",
        "generate": "make pictures from a prompt",
        "compare": "models and settings over the same prompts and seeds: times, memory, quality, as a table",
        "compare-model": "begins a column: a catalogue id, or the path of a folder; 2 - 8 of them, the same one may be repeated",
        "compare-set": "an option of the column that began last, such as generation.num_inference_steps=4; before the first "
        "--model: of all columns; may be repeated",
        "compare-profile": "a set of options from configs/profiles, for a column or for all, as with --set",
        "compare-prompt": "what every column draws; may be repeated",
        "compare-seed": "with which seed; may be repeated; -1 is a random one, the same in every column",
        "compare-out": "write the table or the labelled picture to this file ({formats}); may be repeated",
        "history": "check or rebuild the history of pictures",
        "action": "check: hold rows and files against each other; rebuild: make the rows again from the files; "
        "move: copy the database into another one, all or nothing",
        "to": "of move: postgresql://user@host:5432/name, a path, or file for the one in the output folder",
        "models": "list models, fetch one, add a folder or file, remove one",
        "models_action": "list (without a word), get ID, add PATH, remove ID",
        "target": "a catalogue id, or with add the path of a diffusers folder, a .safetensors or a .gguf file",
        "source": "huggingface or modelscope; default: the first that the model has",
        "mirror": "address to ask instead of the hub's own, such as https://hf-mirror.com",
        "id": "the id of a model that is added; default: made of its name",
        "users": "who may use the studio: add, list or remove users",
        "users-action": "add: a user, or another password for one; it is asked for",
        "users-name": "1 - 32 letters, digits, dots, hyphens, underscores",
        "demo-eval": "measure how well the embedded model obeys prompts",
        "verify": "ten pictures in a row: no error, not black, no cast, the right size, memory flat",
        "bench": "compare with plain diffusers on this machine, and measure what the options cost and bring",
        "options": "print the table of all options",
        "pictures": "how many in a row",
        "all": "all four steps of the guide: stable, quality, speed, control",
        "write": "write it into configs/README.md",
        "architecture": "build this model with random weights on the device: nothing is downloaded",
        "random-weights": "said with --architecture: the pictures mean nothing, the times do",
        "only": "options whose name has this text; may be repeated; none = no options, only plain and default",
        "prompt": "what the picture shows, in Chinese or English",
        "prompts-file": "many pictures as one job: a text with a prompt a line, or a CSV table whose columns are fields "
        "of a request; {a|b} and __name__ (a line of name.txt) are drawn by each picture's seed",
        "control_image": "of a model with a ControlNet: the picture that it follows; see control.preprocess",
        "image": "draw over this picture (PNG, JPEG, WebP); without --width and --height at its own size, or at the model's in "
        "its ratio when it is much larger",
        "mask_image": "with --image: draw anew only where this picture, of the same size, is white",
        "out": "copy the picture to this file ({formats}); several become FILE-1, FILE-2 ...; without it the path is printed",
        "set": "any option of configs/*.yaml, such as vae.enable_tiling=true; may be repeated",
        "profile": "a set of options from configs/profiles",
        "server": "have a running studio draw it, such as http://192.168.1.20:8501; without --out addresses are printed",
        "token-file": "file with that studio's token, or NAME:PASSWORD; else the variable ZDARKROOM_TOKEN",
        "no-progress": "draw no progress line",
        "prompts": "how many held-out prompts, half of them Chinese",
        "runs": "measured runs of each, after one to warm up",
        "side": "width and height in pixels; default: the model's own; of rope: the trained side that is exceeded",
        "executor": "ray: measure several workers on Ray against the local worker instead, each on one thread",
        "workers": "how many, with --executor ray",
        "what": "speed: against plain diffusers; vae: ways of tiling; rope: scalings of positions at 2 and 3 times the size",
        "tile": "of vae: side of a tile",
        "minutes": "of rope: about how long to measure",
        "most": "of rope: at most so many prompts",
    },
    "zh": {
        "lang": "提示语言；默认随终端",
        "generate": "由提示词生成图片",
        "compare": "以相同的提示词和种子对比模型与设置：用时、内存、质量，列成表格",
        "compare-model": "开始一列：模型编号，或文件夹路径；2 至 8 个，同一模型可重复",
        "compare-set": "最近一列的选项，如 generation.num_inference_steps=4；写在第一个 --model 之前则用于所有列；可重复",
        "compare-profile": "configs/profiles 中的一组选项，用于一列或所有列，规则同 --set",
        "compare-prompt": "每列都画的提示词；可重复",
        "compare-seed": "使用的种子；可重复；-1 为随机，各列相同",
        "compare-out": "把表格或带标签的图片写入此文件（{formats}）；可重复",
        "history": "检查或重建图片历史",
        "action": "check：核对记录与文件；rebuild：由文件重建记录；move：把数据库整体复制到另一个",
        "to": "move 时：postgresql://user@host:5432/name、文件路径，或 file（输出文件夹中的文件）",
        "models": "列出、下载、添加或移除模型",
        "models_action": "list（可省略）、get 编号、add 路径、remove 编号",
        "target": "模型编号；add 时为 diffusers 文件夹、.safetensors 或 .gguf 文件的路径",
        "source": "huggingface 或 modelscope；默认为该模型的第一个来源",
        "mirror": "代替官方站点的地址，如 https://hf-mirror.com",
        "id": "添加的模型的编号；默认由名称得出",
        "users": "谁可以使用工作室：添加、列出或删除用户",
        "users-action": "add：添加用户或更改密码，密码会另行询问",
        "users-name": "1 至 32 个字母、汉字、数字、点、连字符或下划线",
        "demo-eval": "测量内置模型对提示词的遵循程度",
        "verify": "连续生成十张：无错误、无黑图、无偏色、尺寸正确、内存平稳",
        "bench": "在本机上与原版 diffusers 比较，并测量各选项的代价与收益",
        "options": "打印全部选项的表格",
        "pictures": "连续生成多少张",
        "all": "运行指南的全部四步：稳定、质量、速度、控制",
        "write": "写入 configs/README.md",
        "architecture": "在设备上以随机权重构建此模型，不下载任何内容",
        "random-weights": "与 --architecture 同用：图片没有意义，时间有",
        "only": "只测名称含此文本的选项；可重复；none 表示不测选项，只比较原版与默认",
        "prompt": "用中文或英文描述画面",
        "prompts-file": "一个任务生成多张图片：每行一条提示词的文本，或以请求字段为列的 CSV 表格；"
        "{a|b} 和 __名称__（名称.txt 中的一行）按每张图片的种子抽取",
        "control_image": "用于带 ControlNet 的模型：要遵循的图片；参见 control.preprocess",
        "image": "在此图片（PNG、JPEG、WebP）上重绘；不给 --width 和 --height 时用其原尺寸，远大于模型尺寸时按其比例缩小",
        "mask_image": "与 --image 合用：只重绘此图（尺寸相同）中白色的区域",
        "out": "把图片复制到此文件（{formats}）；多张时为 FILE-1、FILE-2……；不给则打印路径",
        "set": "configs/*.yaml 中的任意选项，如 vae.enable_tiling=true；可重复",
        "profile": "configs/profiles 中的一组选项",
        "server": "由正在运行的工作室生成，如 http://192.168.1.20:8501；不给 --out 则打印图片地址",
        "token-file": "存有该工作室令牌或“用户名:密码”的文件；默认读取环境变量 ZDARKROOM_TOKEN",
        "no-progress": "不显示进度",
        "prompts": "使用多少条未训练过的提示词，中英各半",
        "runs": "预热一次后各测多少次",
        "side": "宽和高（像素）；默认用模型自带值；rope 时为被超出的训练边长",
        "executor": "ray：改为比较 Ray 上的多个工作进程与本机工作进程，各用一个线程",
        "workers": "使用 --executor ray 时的工作进程数",
        "what": "speed：与原版 diffusers 比较；vae：各种分块方式；rope：2 倍和 3 倍尺寸下的各种位置缩放",
        "tile": "vae 时的分块边长",
        "minutes": "rope 时大约测多久",
        "most": "rope 时最多用多少条提示词",
    },
}


if __name__ == "__main__":
    sys.exit(main())
