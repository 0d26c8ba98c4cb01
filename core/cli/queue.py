"""`queue`: list active jobs, and pause, resume or cancel them; it starts no worker.

`queue stay-awake` stops the countdown to sleep or shutdown; `queue give-back` empties the GPU until `queue use-gpu`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from core.cli.console import DONE, progress_text
from core.config.loader import load_settings
from core.errors import InputError
from core.jobs.queue import JobQueue
from core.jobs.worker_process import open_database
from core.studio.queue_end import Countdown
from core.types import Job, JobState

ACTIONS = ("list", "pause", "resume", "cancel", "stay-awake", "give-back", "use-gpu")
SHOWN = 200  # jobs of a list
PROMPT = 60  # characters of a prompt in the list
SHORT = 6  # characters of an id that name a job


class NoJobNamedError(InputError):
    """`cancel` without a job, or an id that no active job, or more than one, ends with."""


def run(arguments: argparse.Namespace, language: str, configs: Path, environment: Mapping[str, str]) -> int:
    """Do it and print each job concerned; the exit code. Raises StudioError."""
    settings = load_settings(configs, environment=environment)
    settings.raise_problems()
    if arguments.action == "stay-awake":
        stopped = Countdown(settings.output_directory).stop()
        print(_WORDS[language]["awake" if stopped else "no_countdown"])
        return DONE
    database = open_database(settings.output_directory, settings.values)
    try:
        _act(JobQueue(database), arguments.action, arguments.job, language)
    finally:
        database.close()
    return DONE


def _act(queue: JobQueue, action: str, named: str | None, language: str) -> None:
    words = _WORDS[language]
    if action in ("give-back", "use-gpu"):
        queue.give_back(action == "give-back")
        print(words[action])
        return
    if action == "list":
        for job in queue.active(SHOWN):
            print(_line(job, language))
    elif named is not None:
        job = find(queue, named)
        changed = queue.cancel(job.id) if action == "cancel" else queue.pause_job(job.id, action == "pause")
        print(_line(changed, language))
    elif action == "cancel":
        raise NoJobNamedError(value="", allowed=_allowed(queue))
    else:
        queue.pause(action == "pause")
    if queue.is_paused():
        print(words["paused"])
    elif action == "resume" and named is None:
        print(words["resumed"])


def find(queue: JobQueue, named: str) -> Job:
    """Return the active job whose id is, or ends with, `named`. Raises NoJobNamedError."""
    found = [job for job in queue.active(SHOWN) if len(named) >= SHORT and job.id.endswith(named)]
    if len(found) != 1:
        raise NoJobNamedError(value=named, allowed=_allowed(queue))
    return found[0]


def _allowed(queue: JobQueue) -> str:
    return ", ".join(job.id[-8:] for job in queue.active(10)) or "-"


def _line(job: Job, language: str) -> str:
    words = _WORDS[language]
    if job.held:
        state = words["held"]
    elif job.state is JobState.QUEUED and job.not_before is not None:
        state = f"{job.not_before:%Y-%m-%d %H:%M} UTC"
    else:
        state = progress_text(job, language) if job.state.active else str(job.state)
    made = f"{len(job.image_ids)}/{job.request.num_images}"
    return f"{job.id[-8:]}  {made:>7}  {state}  {' '.join(job.request.prompt.split())[:PROMPT]}"


_WORDS = {
    "en": {
        "held": "paused",
        "give-back": "The running job pauses after its present step, and the model leaves the memory. Back with: queue use-gpu",
        "use-gpu": "Jobs use the GPU again.",
        "awake": "The countdown is stopped; the machine stays on.",
        "no_countdown": "Nothing counts down.",
        "paused": "The queue is paused: running jobs are finished, no other begins. Continue with: queue resume",
        "resumed": "The queue continues.",
    },
    "zh": {
        "held": "已暂停",
        "give-back": "运行中的任务走完当前一步后暂停，模型退出显存。恢复：queue use-gpu",
        "use-gpu": "任务重新使用 GPU。",
        "awake": "倒计时已停止，机器保持开机。",
        "no_countdown": "没有正在进行的倒计时。",
        "paused": "队列已暂停：正在运行的任务会完成，其余不会开始。继续：queue resume",
        "resumed": "队列已继续。",
    },
}
