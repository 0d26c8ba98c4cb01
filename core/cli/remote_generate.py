"""`generate PROMPT --server URL`: send the request to a studio that is running, here or on another machine.

Only what the command line and its profile say is sent; all else is for the settings there. The token comes from a
variable or a file: every user of a machine can read the arguments of its processes.
"""

from __future__ import annotations

import argparse
import secrets
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from core.cli import generate
from core.cli.console import DONE, SOURCE, STOPPED, ProgressLine, complain
from core.cli.generate import CANCEL_SECONDS, GenerateCommand, put_files, read_command, read_inputs, with_preset
from core.config.loader import COMMAND_LINE, TOKEN_VARIABLE, Settings, load_settings
from core.config.options import SCHEMA
from core.errors import InputError, NoServerError, OptionError
from core.i18n import localize
from core.remote.client import Remote, RemoteJob, RetryDeadline
from core.types import MASK, JobState

POLL_SECONDS = 0.2
AWAY_SECONDS = 60.0  # a studio that restarts is waited for this long


class TokenFlagError(InputError):
    """The file of --token-file can't be read."""


def run(arguments: argparse.Namespace, language: str, configs: Path, environment: Mapping[str, str]) -> int:
    """Have the images made there; the exit code. Raises StudioError for what can't be started."""
    if arguments.wait:
        raise OptionError(
            source=SOURCE, key="--wait", value="--server", allowed=localize("cli.remote_generate.no_wait")
        )
    command = with_preset(read_command(arguments), arguments.preset, configs, environment)
    settings = load_settings(configs, environment, command.values, command.profile)
    settings.raise_problems()
    token = _token(arguments.token_file, environment)
    remote = Remote(arguments.server, token, TOKEN_VARIABLE, SOURCE)
    remote.capabilities()
    inputs = {role: remote.keep_input(data, role == MASK) for role, data in read_inputs(command).items()}
    sources = {"inputs": inputs} if inputs else {}
    if command.dry:
        return generate.tell(remote.estimate({**remote_values(settings, command), **sources}), language, command.as_json)
    now = remote.submit({**remote_values(settings, command), **sources}, f"cli-{secrets.token_hex(16)}")
    return _finish(remote, _follow(remote, now, ProgressLine(language, command.progress)), command, language)


def remote_values(settings: Settings, command: GenerateCommand) -> dict[str, Any]:
    """Return the values for the other studio by schema key: the command line over the profile."""
    of_a_image = {option.key for option in SCHEMA.request_options()}
    of_a_image |= {key for key in SCHEMA.options if key.startswith("generation.") or key == "model.id"}
    sent = {}
    for key, origin in settings.origins.items():
        by_profile = origin.startswith("profiles/") and key in of_a_image
        if origin == COMMAND_LINE or by_profile:
            sent[key] = settings[key]
    return sent


def _token(file: str | None, environment: Mapping[str, str]) -> str:
    if file is None:
        return environment.get(TOKEN_VARIABLE, "").strip()
    try:
        return (Path(file).read_text(encoding="utf-8").splitlines() or [""])[0].strip()
    except (OSError, ValueError) as error:
        detail = getattr(error, "strerror", None) or "it is not text"
        raise TokenFlagError(path=file, detail=detail) from error


def _follow(remote: Remote, now: RemoteJob, line: ProgressLine) -> RemoteJob:
    """Wait until the job is over, printing its progress. Ctrl+C cancels it there."""
    patience = RetryDeadline(AWAY_SECONDS)
    try:
        while now.job.state.active:
            line.show(now.job)
            now = _look(remote, now, patience)
    except KeyboardInterrupt:
        line.clear()
        now = remote.cancel(now.job.id)
        deadline = time.monotonic() + CANCEL_SECONDS
        while now.job.state.active and time.monotonic() < deadline:
            now = _look(remote, now, patience)
    finally:
        line.clear()
    return now


def _look(remote: Remote, now: RemoteJob, patience: RetryDeadline) -> RemoteJob:
    """Return the job a little later; as it was, while the studio is away."""
    time.sleep(POLL_SECONDS)
    try:
        later = remote.look(now.job.id)
    except NoServerError as error:
        patience.spend(error)
        return now
    patience.good()
    return later


def _finish(remote: Remote, now: RemoteJob, command: GenerateCommand, language: str) -> int:
    """Fetch the images of a finished job into the files asked for, else print their addresses; or say why not."""
    if now.job.state is JobState.FAILED and now.job.error is not None:
        return complain(now.job.error, language)
    if now.job.state is not JobState.DONE:
        return STOPPED
    if command.out is None:
        made = [remote.image_address(image_id) for image_id in now.images]
    else:
        writers = [partial(_fetch, remote, image_id) for image_id in now.images]
        made = [str(path) for path in put_files(writers, command.out)]
    for name in made:
        print(name)
    return DONE


def _fetch(remote: Remote, image_id: str, target: Path) -> None:
    target.write_bytes(remote.image(image_id))
