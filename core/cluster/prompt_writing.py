"""Have a worker of the cluster write a prompt with its text encoder, and pass the words on as they come."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from core.cluster.transport import Ended, Freed, Lost, Message, Words
from core.cluster.worker_pool import Inbox, WorkerPool
from core.errors import GenerationError, StudioError
from core.jobs.worker_commands import PromptAnswer, PromptCommand
from core.types import GenerationRequest

LOOK_SECONDS = 0.2  # how often a cancelled command is noticed

Answer = Callable[[PromptAnswer], None]


def write_prompt(
    pool: WorkerPool,
    command: PromptCommand,
    answer: Answer,
    is_cancelled: Callable[[], bool],
    stopping: threading.Event,
) -> None:
    """Carry out a command on the best worker, as soon as one is free; `answer` gets what there is, and last the end of it."""
    inbox: Inbox = queue.SimpleQueue()
    wanted = GenerationRequest("", model=command.model, options=command.options)
    text = ""
    while (worker := pool.take(wanted, command.id, inbox)) is None:
        if stopping.is_set() or is_cancelled():
            answer(PromptAnswer(text, True))
            return
        _next(inbox)
    try:
        ticket = pool.write(worker, command)
        while True:
            said = _next(inbox)
            if stopping.is_set() or is_cancelled():
                pool.stop(worker)
            if isinstance(said, Words) and said.ticket == ticket:
                text = said.text
                answer(PromptAnswer(text))
            elif isinstance(said, Ended) and said.ticket == ticket:
                answer(PromptAnswer(text, True, StudioError.from_dict(said.error) if said.error else None))
                return
            elif isinstance(said, Lost):
                answer(PromptAnswer(text, True, GenerationError(detail=said.reason)))
                return
            elif stopping.is_set():
                answer(PromptAnswer(text, True))
                return
    finally:
        pool.release(worker)


def _next(inbox: Inbox) -> Message:
    try:
        return inbox.get(timeout=LOOK_SECONDS)[1]
    except queue.Empty:
        return Freed()
