"""`generate PROMPT` or `--prompts-file FILE`: queue one request, wait for it and print the files, or tell the cost alone."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from core.cli.console import DONE, FAILED, SOURCE, STOPPED, ProgressLine, complain, obstacle
from core.config.loader import PROFILE_KEY, load_settings
from core.config.options import SCHEMA
from core.config.presets import Presets
from core.errors import DiskFullError, InputError, OptionError, StorageError, StudioError
from core.i18n import localize
from core.storage.image_containers import FORMATS
from core.studio import Studio
from core.studio.bootstrap import build_studio
from core.types import CONTROLS, IMAGE, MASK, Estimate, GenerationRequest, InputSources, Job, JobState

_T = TypeVar("_T")

FLAGS = {  # flag -> the option that it sets
    "--negative-prompt": "generation.negative_prompt",
    "--width": "generation.width",
    "--height": "generation.height",
    "--steps": "generation.num_inference_steps",
    "--cfg": "generation.cfg_scale",
    "--guidance": "generation.guidance_scale",
    "--seed": "generation.seed",
    "--num-images": "generation.num_images",
    "--model": "model.id",
    "--sampler": "generation.sampler",
    "--schedule": "generation.schedule",
    "--strength": "img2img.denoising_strength",
}
INPUT_FLAGS = {
    "--image": IMAGE,
    "--mask": MASK,
    **{f"--{role.replace('_', '-')}": role for role in CONTROLS},
}  # flag -> what the image of the file is for
POLL_SECONDS = 0.1
WAIT_SECONDS = 1.0  # between two tries of --wait
CANCEL_SECONDS = 60  # a step of a large image on a slow machine


class SettingError(InputError):
    """A --set without a key or a value."""


class OutFileError(InputError):
    """The file of --out cannot be written."""


class NoPromptError(InputError):
    """No prompt and no prompts file."""


class PromptsFileError(InputError):
    """The file of --prompts-file cannot be read."""


class InputFileError(InputError):
    """A file of --image, --mask or --control-image cannot be read."""


@dataclass(frozen=True)
class GenerateCommand:
    """The parsed command line: option values as typed, input images, output files."""

    values: Mapping[str, Any]
    prompts: Path | None  # a file of many
    profile: str | None
    out: Path | None
    progress: bool
    wait: bool  # for room on a full disk, or for a database that is away
    inputs: Mapping[str, Path] = field(default_factory=dict)  # role -> file
    dry: bool = False  # only say what it will cost
    as_json: bool = False


def run(arguments: argparse.Namespace, language: str, configs: Path) -> int:
    """Make the images; the exit code. Raises StudioError for what can't be started."""
    return run_command(with_preset(read_command(arguments), arguments.preset, configs, os.environ), language, configs)


def run_command(command: GenerateCommand, language: str, configs: Path) -> int:
    """Submit the request and wait for its images; return the exit code. Raises StudioError for what can't be started."""
    return run_commands((command,), language, configs)


def run_commands(commands: Sequence[GenerateCommand], language: str, configs: Path) -> int:
    """Submit requests of one profile, all at once, and wait for their images; return the exit code, of the first that failed.

    A cancelled one cancels the rest. Raises StudioError for what can't be started; nothing is queued then.
    """
    first = commands[0]
    settings = load_settings(configs, os.environ, first.values, first.profile)
    settings.raise_problems()
    studio = build_studio(settings)
    if first.dry:
        return tell(of_request(studio, _request(studio, first)), language, first.as_json)
    line = ProgressLine(language, first.progress)
    requests = [_until_possible(partial(_request, studio, command), first.wait, line) for command in commands]
    jobs = [_until_possible(partial(studio.queue.submit, one), first.wait, line) for one in requests]
    studio.start()
    codes: list[int] = []
    try:
        for job, command in zip(jobs, commands, strict=True):
            codes.append(_finish(studio, _follow(studio, job, line, command.wait), command, language))
            if codes[-1] == STOPPED:
                break
        return next((code for code in codes if code != DONE), DONE)
    finally:
        for job in jobs[len(codes) :]:
            studio.queue.cancel(job.id)
        studio.stop()


def with_preset(command: GenerateCommand, name: str | None, configs: Path, environment: Mapping[str, str]) -> GenerateCommand:
    """Return the command with the preset under what was typed; UnknownOptionError names the presets that there are."""
    if name is None:
        return command
    presets = Presets(load_settings(configs, environment, profile=command.profile))
    return replace(command, values=presets.under(name, command.values, SOURCE))


def _request(studio: Studio, command: GenerateCommand) -> GenerationRequest:
    """Return the requested values, over those of the given image."""
    request = _new_request(studio, command)
    if not command.inputs:
        return request
    kept: dict[str, str] = {}
    for role, data in sorted(read_inputs(command).items(), key=lambda item: item[0] == MASK):  # the image before its mask
        name = str(command.inputs[role])
        if role == MASK and IMAGE in kept:
            kept[role] = studio.input_images.keep_mask(data, name, studio.input_images.size(kept[IMAGE]))
        else:
            kept[role] = studio.input_images.keep(data, name)
    return studio.requests.with_inputs(request, InputSources(kept), command.values)


def _new_request(studio: Studio, command: GenerateCommand) -> GenerationRequest:
    """Return one prompt, or those of the file; PromptsFileError when it can't be read."""
    if command.prompts is None:
        return studio.requests.expanded(command.values, SOURCE)
    try:
        data = command.prompts.read_bytes()
    except OSError as error:
        raise PromptsFileError(path=command.prompts, detail=error.strerror or error) from error
    return studio.requests.new_batch(data, command.values, command.prompts.name)


def read_inputs(command: GenerateCommand) -> dict[str, bytes]:
    """Return the bytes of the input images by role. Raises InputFileError when one can't be read."""
    found = {}
    for role, path in command.inputs.items():
        try:
            found[role] = path.read_bytes()
        except OSError as error:
            flag = next(flag for flag, one in INPUT_FLAGS.items() if one == role)
            raise InputFileError(flag=flag, path=path, detail=error.strerror or error) from error
    return found


def read_command(arguments: argparse.Namespace) -> GenerateCommand:
    """Return the parsed command line as option values; --set wins, except that the format follows --out."""
    prompts = Path(arguments.prompts_file) if arguments.prompts_file is not None else None
    if arguments.json and not arguments.dry_run:
        raise OptionError(source=SOURCE, key="--json", value="true", allowed=localize("cli.generate.json_with_it"))
    if prompts is None and arguments.prompt is None:
        raise NoPromptError()
    values: dict[str, Any] = {} if arguments.prompt is None else {"generation.prompt": arguments.prompt}
    values.update({key: value for key in FLAGS.values() if (value := getattr(arguments, key)) is not None})
    if arguments.low_vram:
        values["memory.low_vram"] = True
    given_by_set = dict(pair(text) for text in arguments.set)
    named = {SCHEMA.canonical(key) for key in given_by_set}  # whatever they are called, they win over the flags
    values = {**{key: value for key, value in values.items() if key not in named}, **given_by_set}
    profile = arguments.profile or values.pop(PROFILE_KEY, None)
    out = Path(arguments.out) if arguments.out is not None else None
    if out is not None:
        values["output.format"] = format_of(out)
    given = {role: getattr(arguments, role) for role in INPUT_FLAGS.values()}
    inputs = {role: Path(file) for role, file in given.items() if file is not None}
    progress, dry = not arguments.no_progress, arguments.dry_run
    return GenerateCommand(values, prompts, profile, out, progress, arguments.wait, inputs, dry, arguments.json)


def pair(text: str) -> tuple[str, str]:
    """Split a --set into key and value, as typed. Raises SettingError."""
    key, equals, value = text.partition("=")
    if not key.strip() or not equals:
        raise SettingError(value=text)
    return key.strip(), value


def format_of(out: Path) -> str:
    """Return the format that the name asks for; checked with its folder before any work is done."""
    name = FORMATS.get(out.suffix.lower())
    if name is None:
        raise OptionError(source=SOURCE, key="--out", value=out.name, allowed="*" + ", *".join(FORMATS))
    if out.is_dir() or not out.absolute().parent.is_dir() or not os.access(out.absolute().parent, os.W_OK):
        raise OutFileError(path=out)
    return name


def _until_possible(step: Callable[[], _T], wait: bool, line: ProgressLine) -> _T:
    """Do a step; with `wait`, say what it lacks and do it again until the disk has room or the database is back."""
    while True:
        try:
            return step()
        except StorageError as error:
            if not (wait and _passes(error)):
                raise
            line.tell(error)
        time.sleep(WAIT_SECONDS)


def _passes(error: StudioError | None) -> bool:
    """Return True for what may be over in a while without this command being given again."""
    return isinstance(error, StorageError) and (isinstance(error, DiskFullError) or error.temporary)


def _follow(studio: Studio, job: Job, line: ProgressLine, wait: bool = False) -> Job:
    """Wait until the job is over, printing its progress. Ctrl+C cancels it.

    Raises WorkerStartError when no worker starts, and StorageError on a full disk unless `wait` says to wait for room.
    """
    try:
        while job.state.active or (wait and job.state is JobState.FAILED and _passes(job.error)):
            trouble = obstacle(studio.worker.status(), [job.state])
            if wait and (lacking := next(filter(_passes, (trouble, job.error)), None)) is not None:
                line.tell(lacking)
            elif trouble is not None:
                with suppress(StorageError):  # a full disk does not take the cancellation either
                    studio.queue.cancel(job.id)
                raise trouble
            else:
                line.show(job)
            time.sleep(POLL_SECONDS if job.state.active else WAIT_SECONDS)
            look = partial(studio.queue.get if job.state.active else studio.queue.retry, job.id)
            job = _until_possible(look, wait, line)
    except KeyboardInterrupt:
        job = _cancel(studio, job)
    finally:
        line.clear()
    return job


def _cancel(studio: Studio, job: Job) -> Job:
    """Cancelled within a step; after CANCEL_SECONDS stopping the worker ends it the hard way."""
    job = studio.queue.cancel(job.id)
    deadline = time.monotonic() + CANCEL_SECONDS
    while job.state.active and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        job = studio.queue.get(job.id)
    return job


def _finish(studio: Studio, job: Job, command: GenerateCommand, language: str) -> int:
    """Hand over the files of a finished job and print their paths, or say why there are none."""
    if job.error is not None:
        return complain(job.error, language)
    if job.state is not JobState.DONE:
        return STOPPED
    made = [studio.history.file(image_id) for image_id in job.image_ids]
    copies = [partial(shutil.copyfile, path) for path in made]
    for path in made if command.out is None else put_files(copies, command.out):
        print(path)
    return DONE


def put_files(writers: Sequence[Callable[[Path], object]], out: Path) -> list[Path]:
    """Write one image to `out`, several to out-1, out-2 ...; each file is written atomically."""
    several = [out.with_stem(f"{out.stem}-{k}") for k in range(1, len(writers) + 1)]
    targets = [out] if len(writers) == 1 else several
    for write, target in zip(writers, targets, strict=True):
        part = target.with_name(f".{target.name}.part")
        try:
            write(part)
            part.replace(target)
        except OSError as error:
            raise OutFileError(path=target) from error
        finally:
            part.unlink(missing_ok=True)
    return targets


def of_request(studio: Studio, request: GenerationRequest) -> Estimate:
    """Return the estimate of a request that could be queued. Raises StudioError for one that could not."""
    return studio.estimates.of(studio.requests.prepare(request), wait=True)


def tell(estimate: Estimate, language: str, as_json: bool) -> int:
    """Print the estimate; the exit code is 1 for a request that does not fit."""
    print(json.dumps(asdict(estimate), ensure_ascii=False) if as_json else "\n".join(_lines(estimate, language)))
    return DONE if estimate.fits else FAILED


def _lines(estimate: Estimate, language: str) -> list[str]:
    """Return the estimate as a person reads it: a line of figures, then the reasons."""
    unknown = localize("cli.generate.unknown")
    figures = {
        "seconds": unknown if estimate.seconds is None else f"{estimate.seconds:.1f} s",
        "load": unknown if estimate.load_seconds is None else f"{estimate.load_seconds:.1f} s",
        "vram": f"{estimate.vram_mb} MB",
        "ram": f"{estimate.ram_mb} MB",
        "disk": f"{estimate.disk_mb} MB",
        "tier": estimate.tier or unknown,
        "measured": estimate.measured,
    }
    first = localize("cli.generate.figures", **figures)[language]
    verdict = localize("cli.generate.fits") if estimate.fits else localize("cli.generate.does_not_fit")
    return [first, *(reason[language] for reason in estimate.reasons), verdict[language]]
