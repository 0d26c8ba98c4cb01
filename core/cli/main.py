"""Parse the command line of start.py and run the command: generate, compare, models, history, inspect, users ...

Every error is one line in the user's language.

Exit codes: 0 done, 1 the run failed, 2 the input can't be used, 130 stopped by the user.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, NoReturn

from core.cli.console import STOPPED, choose_language, complain, file_error
from core.cli.help_texts import WORDS
from core.config.loader import PROJECT_ROOT, load_settings
from core.config.options import SCHEMA
from core.errors import InputError, StudioError, UnexpectedError

COMMAND_LOG = "logs/commands.log"  # in the output folder


class CommandLineError(InputError):
    """An unknown flag, or a flag without its value."""


def main(arguments: Sequence[str] | None = None, configs: Path = PROJECT_ROOT / "configs") -> int:
    """Run one command and return its exit code. Any failure is one line, never as a traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    language = choose_language(given, os.environ)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may not know every character
    try:
        parsed = build_parser(language, given[0] if given else "").parse_args(given)
        code = _run(parsed, language, configs)
        sys.stdout.flush()
        return code
    except StudioError as error:
        return complain(error, language)
    except (BrokenPipeError, ImportError):  # whoever read the output has gone, or a package is damaged; __main__ ends the run
        raise
    except KeyboardInterrupt:
        return STOPPED
    except OSError as error:
        return complain(file_error(error), language)
    except Exception as error:
        return complain(_unexpected(error), language)


def _unexpected(error: Exception) -> StudioError:
    """Return the error shown for a bug; the traceback goes into a file."""
    path = Path(tempfile.gettempdir()) / f"z-darkroom-error-{os.getpid()}.txt"
    with suppress(OSError):
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="backslashreplace")
    return UnexpectedError(detail=f"{type(error).__name__}: {error}"[:200], path=path)


def _run(parsed: argparse.Namespace, language: str, configs: Path) -> int:
    _log_libraries(configs)
    if parsed.command == "generate" and parsed.server is not None:
        from core.cli import remote_generate

        return remote_generate.run(parsed, language, configs, os.environ)
    if parsed.command == "generate":
        from core.cli import generate

        return generate.run(parsed, language, configs)
    if parsed.command == "compare":
        from core.cli import benchmark

        return benchmark.run(parsed, language, configs)
    if parsed.command == "bench":
        return _run_bench(parsed, configs)
    if parsed.command == "verify":
        from core.cli import verify

        return verify.run(parsed, language, configs)
    if parsed.command == "options":
        from core.cli import options_reference

        return options_reference.run(parsed)
    if parsed.command == "upscale":
        from core.cli import upscale

        return upscale.run(parsed, language, configs)
    if parsed.command == "queue":
        from core.cli import queue

        return queue.run(parsed, language, configs, os.environ)
    if parsed.command == "samplers":
        from core.cli import options_reference

        return options_reference.run_samplers(parsed.json)
    if parsed.command == "history":
        if parsed.action == "why":
            from core.cli import why

            return why.run(parsed, language, configs, os.environ)
        from core.cli import history

        return history.run(parsed, language, configs, os.environ)
    if parsed.command == "inspect":
        from core.cli import inspect

        return inspect.run(parsed, language)
    if parsed.command == "models":
        from core.cli import models

        return models.run(parsed, language, configs)
    if parsed.command == "doctor":
        from core.cli import doctor

        return doctor.run(parsed, language, configs, os.environ)
    if parsed.command == "users":
        from core.cli import users

        return users.run(parsed, language, configs, os.environ)
    from core.cli import demo_eval

    return demo_eval.run(parsed, configs)


def _log_libraries(configs: Path) -> None:
    """Write what the libraries tell into a log file: between the lines of a command it would mislead.

    diffusers imports torchao where it is installed, and both warn of it; so do PyTorch and transformers of other things.
    """
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)  # torch has a handler of its own, on the terminal
    if logging.getLogger().handlers:
        return
    try:
        file = load_settings(configs, os.environ).output_directory / COMMAND_LOG
        file.parent.mkdir(parents=True, exist_ok=True)
        handler: logging.Handler = RotatingFileHandler(
            file, maxBytes=1_000_000, backupCount=1, encoding="utf-8", delay=True
        )
    except (StudioError, OSError):  # the command itself says what is wrong with them
        handler = logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.captureWarnings(True)


def _run_bench(parsed: argparse.Namespace, configs: Path) -> int:
    if parsed.executor is not None:
        from core.bench import executors

        return executors.run(parsed, configs)
    if parsed.what == "vae":
        from core.bench import vae

        return vae.run(parsed)
    if parsed.what == "prepared":
        from core.bench import prepared

        return prepared.run(parsed, configs)
    if parsed.what == "campaign":
        from core.bench import campaign

        return campaign.run(parsed, configs)
    if parsed.what == "compile":
        from core.bench import compile_start

        return compile_start.run(parsed, configs)
    if parsed.what == "rope":
        from core.bench import rope

        return rope.run(parsed, configs)
    if parsed.what == "overhead" and parsed.http:
        from core.bench import overhead_http

        return overhead_http.run(parsed, configs)
    if parsed.what == "overhead":
        from core.bench import overhead

        return overhead.run(parsed, configs)
    if parsed.what == "load":
        from core.bench import load

        return load.run(parsed, configs)
    if parsed.what == "samplers":
        from core.bench import variety

        return variety.run_samplers(parsed, configs)
    if parsed.what == "variety":
        from core.bench import variety

        return variety.run(parsed, configs)
    if parsed.what == "editing":
        from core.bench import editing

        return editing.run(parsed, configs)
    from core.bench import speed

    return speed.run(parsed, configs)


class _Parser(argparse.ArgumentParser):
    """argparse would print its usage and exit; here a mistake is an error like any other.

    Flags of a command may stand anywhere, also between its arguments: `models check --verify FILE`.
    """

    _mixing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._mixing or self._subparsers is not None or {"-h", "--help"} & set(args or ()):
            return super().parse_known_args(args, namespace)
        self._mixing = True  # parse_known_intermixed_args calls this method in turn
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False

    def error(self, message: str) -> NoReturn:
        raise CommandLineError(detail=message)


def build_parser(language: str, only: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of all commands; the help of options is that of the schema."""
    words = WORDS[language]
    common = _Parser(add_help=False)
    common.add_argument("--lang", choices=("zh", "en"), help=words["lang"])
    parser = _Parser(prog="start.py", description="Z Darkroom / 造相暗房", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    adding = {
        "generate": _add_generate,
        "compare": _add_compare,
        "models": _add_models,
        "history": _add_history,
        "inspect": _add_inspect,
        "users": _add_users,
        "doctor": _add_doctor,
        "demo-eval": _add_evaluate,
        "verify": _add_verify,
        "bench": _add_bench,
        "options": _add_options,
        "samplers": _add_samplers,
        "queue": _add_queue,
        "upscale": _add_upscale,
    }
    for name, add in adding.items():
        command = commands.add_parser(name, parents=[common], help=words[name], allow_abbrev=False)
        if only in (None, name):  # flags of `generate` and `compare` import half of the studio
            add(command, language)
    return parser


def _add_generate(command: argparse.ArgumentParser, language: str) -> None:
    from core.cli.generate import FLAGS, INPUT_FLAGS
    from core.storage.image_containers import FORMATS

    words = WORDS[language]
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
    command.add_argument("--preset", metavar="NAME", help=words["preset"])
    command.add_argument("--server", metavar="URL", help=words["server"])
    command.add_argument("--token-file", metavar="FILE", help=words["token-file"])
    command.add_argument("--no-progress", action="store_true", help=words["no-progress"])
    command.add_argument("--wait", action="store_true", help=words["wait"])
    command.add_argument("--dry-run", action="store_true", help=words["dry-run"])
    command.add_argument("--json", action="store_true", help=words["dry-run-json"])


def _add_history(command: argparse.ArgumentParser, language: str) -> None:
    command.add_argument("action", choices=("check", "rebuild", "move", "hide", "show", "why"), help=WORDS[language]["action"])
    command.add_argument("name", nargs="?", metavar="NAME", help=WORDS[language]["collection"])
    command.add_argument("other", nargs="?", metavar="B", help=WORDS[language]["why_other"])
    command.add_argument("--to", metavar="URL", help=WORDS[language]["to"])
    command.add_argument("--size", type=int, default=256, metavar="PX", help=WORDS[language]["why_size"])
    command.add_argument("--renders", type=int, default=16, metavar="N", help=WORDS[language]["why_renders"])
    command.add_argument("--dry-run", action="store_true", help=WORDS[language]["why_dry"])


def _add_inspect(command: argparse.ArgumentParser, language: str) -> None:
    words = WORDS[language]
    command.add_argument("files", nargs="+", metavar="FILE", help=words["inspect-files"])
    command.add_argument("--json", action="store_true", help=words["inspect-json"])


def _add_models(command: argparse.ArgumentParser, language: str) -> None:
    words = WORDS[language]
    command.add_argument(
        "action",
        nargs="?",
        choices=("list", "get", "add", "remove", "check", "prepared", "forget-prepared", "shrink"),
        default="list",
        help=words["models_action"],
    )
    command.add_argument("target", nargs="?", metavar="ID|PATH", help=words["target"])
    command.add_argument("--source", metavar="HUB", help=words["source"])
    command.add_argument("--mirror", metavar="URL", help=words["mirror"])
    command.add_argument("--id", metavar="ID", help=words["id"])
    command.add_argument("more", nargs="*", metavar="PATH", help=words["models_more"])
    command.add_argument("--json", action="store_true", help=words["models_json"])
    command.add_argument("--model", metavar="ID", help=words["models_for"])
    command.add_argument("--verify", action="store_true", help=words["models_verify"])


def _add_doctor(command: argparse.ArgumentParser, language: str) -> None:
    command.add_argument("--security", action="store_true", help=WORDS[language]["doctor-security"])


def _add_users(command: argparse.ArgumentParser, language: str) -> None:
    command.add_argument(
        "action", choices=("add", "list", "remove", "admin", "user", "logout"), help=WORDS[language]["users-action"]
    )
    command.add_argument("name", nargs="?", metavar="NAME", help=WORDS[language]["users-name"])


def _add_compare(command: argparse.ArgumentParser, language: str) -> None:
    from core.cli.benchmark import FORMATS, ColumnAction

    words = WORDS[language]
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
    words = WORDS[language]
    command.add_argument("--edit", action="store_true", help=words["evaluate-edit"])
    command.add_argument("--model", default="demo", help=words["evaluate-model"])
    command.add_argument("--json", action="store_true", help=words["evaluate-json"])
    command.add_argument("--prompts", default="200", metavar="N", help=words["prompts"])
    command.add_argument("--seed", default="2025", metavar="N", help=words["evaluate-seed"])
    for flag, key in (("--steps", "generation.num_inference_steps"), ("--cfg", "generation.cfg_scale")):
        command.add_argument(flag, metavar="N", help=SCHEMA.options[key].help[language])
    command.add_argument("--width", default="256", metavar="PX", help=SCHEMA.options["generation.width"].help[language])
    command.add_argument(
        "--height", default="256", metavar="PX", help=SCHEMA.options["generation.height"].help[language]
    )


def _add_verify(command: argparse.ArgumentParser, language: str) -> None:
    words = WORDS[language]
    command.add_argument("--images", "--pictures", default="10", metavar="N", help=words["pictures"])
    command.add_argument("--model", help=SCHEMA.options["model.id"].help[language])
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=words["set"])
    command.add_argument("--all", action="store_true", help=words["all"])


def _add_options(command: argparse.ArgumentParser, language: str) -> None:
    command.add_argument("--write", action="store_true", help=WORDS[language]["write"])


def _add_upscale(command: argparse.ArgumentParser, language: str) -> None:
    from core.cli.upscale import add_arguments

    add_arguments(command, WORDS[language], language)


def _add_samplers(command: argparse.ArgumentParser, language: str) -> None:
    command.add_argument("--json", action="store_true", help=WORDS[language]["samplers-json"])


def _add_queue(command: argparse.ArgumentParser, language: str) -> None:
    from core.cli.queue import ACTIONS

    words = WORDS[language]
    command.add_argument("action", nargs="?", choices=ACTIONS, default="list", help=words["queue-action"])
    command.add_argument("job", nargs="?", metavar="JOB", help=words["queue-job"])


def _add_bench(command: argparse.ArgumentParser, language: str) -> None:
    words = WORDS[language]
    command.add_argument(
        "what",
        nargs="?",
        choices=("speed", "campaign", "prepared", "compile", "vae", "rope", "overhead", "load", "samplers", "variety", "editing"),
        default="speed",
        help=words["what"],
    )
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
    command.add_argument("--gigabytes", default="4", metavar="N", help=words["gigabytes"])
    command.add_argument("--executor", metavar="ray", help=words["executor"])
    command.add_argument("--workers", default="2", metavar="N", help=words["workers"])
    command.add_argument("--clients", default="10", metavar="N", help=words["clients"])
    command.add_argument("--http", action="store_true", help=words["http"])


if __name__ == "__main__":
    sys.exit(main())
