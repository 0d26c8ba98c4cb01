"""Write to the terminal: language, one-line progress, exit codes."""

from __future__ import annotations

import errno
import getpass
import locale
import sys
from collections.abc import Iterable, Mapping, Sequence

from core.config.schema import Option, TakesEffect
from core.errors import DiskFullError, FileAccessError, InputError, StorageError, StudioError
from core.i18n import localize
from core.types import Job, JobState, Phase, WorkerStatus

DONE, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 130

SOURCE = "command line"

_PHASES: Mapping[str, Mapping[str, str]] = {
    JobState.QUEUED: localize("cli.console.phases.queued"),
    Phase.LOADING: localize("cli.console.phases.loading"),
    Phase.TEXT: localize("cli.console.phases.text"),
    Phase.STEPS: localize("cli.console.phases.steps"),
    Phase.UPSCALE: localize("cli.console.phases.upscale"),
    Phase.DECODE: localize("cli.console.phases.decode"),
    Phase.SAVE: localize("cli.console.phases.save"),
}
_WAITING = localize("cli.console.waiting")
_BAR = 24  # characters


class TwoPasswordsError(InputError):
    """The two passwords differ."""


def ask_password(words: Mapping[str, str], twice: bool) -> str:
    """Return a password that is typed and not shown; where nobody types, the first line of what is piped in.

    `words` has the questions "ask" and "again". Raises TwoPasswordsError.
    """
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass(words["ask"])
    if twice and getpass.getpass(words["again"]) != password:
        raise TwoPasswordsError()
    return password


def choose_language(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return `--lang` if given, else the terminal's language. Runs before parsing, whose errors are translated."""
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=False):
        if flag == "--lang" and value in ("zh", "en"):
            return value
        if flag in ("--lang=zh", "--lang=en"):
            return flag[-2:]
    named = (environment.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    language = next((name for name in named if name), None) or locale.getlocale()[0] or ""
    return "zh" if language.lower().startswith(("zh", "chinese")) else "en"


def whole_number(flag: str, text: str, low: int, high: int) -> int:
    """Parse the integer of a flag without an option. Raises OptionError."""
    words: dict[str, str] = {}
    rule = Option(flag, "int", low, words, words, TakesEffect.REQUEST, "config", minimum=low, maximum=high)
    return int(rule.check(text, SOURCE))


def exit_code(error: StudioError) -> int:
    """Return 2 for errors that the user can correct (input, disk, permissions), 1 for a failed run."""
    return BAD_INPUT if isinstance(error, InputError | StorageError) else FAILED


def file_error(error: OSError) -> StudioError:
    """Return the error shown for what the system did not allow."""
    path = error.filename if error.filename is not None else "-"
    if error.errno == errno.ENOSPC:
        return DiskFullError(path=path)
    return FileAccessError(path=path, detail=error.strerror or error)


def obstacle(status: WorkerStatus, states: Iterable[JobState]) -> StudioError | None:
    """Return why jobs in these states will not end by themselves: no worker starts, or the disk is full; else None."""
    trouble = status.trouble
    if isinstance(trouble, StorageError) or all(state is JobState.QUEUED for state in states):
        return trouble
    return None


def complain(error: StudioError, language: str) -> int:
    """Print the error as one line and return its exit code."""
    print(error.message(language), file=sys.stderr)
    return exit_code(error)


class ProgressLine:
    """One line on stderr, rewritten in place; silent when disabled or when stderr is not a terminal."""

    def __init__(self, language: str, wanted: bool) -> None:
        self._language = language
        self._on = wanted and sys.stderr.isatty()
        self._last = self._shown = ""

    def tell(self, error: StudioError) -> None:
        """Print what is waited for on a line of its own, once, also where progress is not wanted."""
        message = error.message(self._language)
        if message != self._shown:
            self.clear()
            print(f"{message} {_WAITING[self._language]}", file=sys.stderr, flush=True)
            self._shown = message

    def show(self, job: Job) -> None:
        """Print the progress of the job if it has changed."""
        line = progress_text(job, self._language)
        if self._on and line != self._last:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
            self._last = line

    def clear(self) -> None:
        """Leave no trace of the line."""
        if self._on and self._last:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def progress_text(job: Job, language: str) -> str:
    """Return a line such as "[############------------] generating 1/2, step 4/8, 3 s left"."""
    progress = job.progress
    if progress is None:
        ahead = f" #{job.position}" if job.position else ""
        return _PHASES[JobState.QUEUED if job.state is JobState.QUEUED else Phase.LOADING][language] + ahead
    words = [_PHASES[progress.phase][language]]
    if progress.images > 1:
        words[0] += f" {progress.image}/{progress.images}"
    if progress.steps:
        words.append(f"{'第' if language == 'zh' else 'step'} {progress.step}/{progress.steps}")
    if progress.phase is Phase.LOADING and progress.total_bytes:
        words.append(f"{progress.read_bytes / 1e9:.1f}/{progress.total_bytes / 1e9:.1f} GB")
    if progress.eta_seconds is not None:
        seconds = max(0, round(progress.eta_seconds))
        words.append(f"剩余 {seconds} 秒" if language == "zh" else f"{seconds} s left")
    full = round(progress.fraction * _BAR)
    return f"[{'#' * full}{'-' * (_BAR - full)}] {('，' if language == 'zh' else ', ').join(words)}"
