"""One worker of the cluster: a generator with its model kept in memory, made by the same factory as the local worker's.

Ray calls it from several threads: orders are carried out one after the other in a thread of its own, while `listen` hands
out what there is to say and `stop` is heard within a step.
"""

from __future__ import annotations

import queue
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from core.cluster.messages import Ended, Facts, Heard, Step
from core.errors import Cancelled, ModelLoadError, StudioError
from core.jobs.generator_protocol import LazyGenerator, as_studio_error, build_generator, device_fault
from core.jobs.heartbeat import status_of
from core.jobs.runner import without_prompts
from core.types import GeneratedImage, GenerationRequest, Progress, ResumeState, WorkerStatus

LISTEN_SECONDS = 1.0  # a listener is answered at least this often, so that silence means something


class GeneratorActor:
    """Draws single pictures and loads models, as it is told."""

    def __init__(self, generator: str, configs: str, values: Mapping[str, Any]) -> None:
        self._generator = LazyGenerator(lambda: build_generator(generator, Path(configs), values))
        self._orders: queue.SimpleQueue[Callable[[], Ended]] = queue.SimpleQueue()
        self._said: list[Step | Ended] = []
        self._news = threading.Condition()
        self._shown = 0  # the ticket whose steps are looked at
        self._stopped = 0  # every order up to this ticket is to stop
        self._state = "starting"
        self._began = False  # whether an order was carried out: before that nothing knows a card
        threading.Thread(target=self._work, name="orders", daemon=True).start()

    # -- called by the dispatcher ----------------------------------------------------------------------------------

    def prepare(self, ticket: int, model: str | None, options: Mapping[str, Any]) -> None:
        """Import the generator and, with `model`, load it."""
        self._orders.put(lambda: self._load(ticket, model, options))

    def draw(self, ticket: int, request: GenerationRequest, attempt: ResumeState) -> None:
        """Draw a single picture. Tickets rise."""
        self._orders.put(lambda: self._draw(ticket, request, attempt))

    def stop(self, ticket: int) -> None:
        """End the order within a step; it may not have come in yet."""
        self._stopped = max(self._stopped, ticket)

    def show(self, ticket: int) -> None:
        """Tell the steps of this order as they happen; those of others, which nobody sees, come several at once."""
        with self._news:
            self._shown = ticket
            self._news.notify_all()

    def listen(self) -> Heard:
        """What was said since the last call, as soon as there is anything that can't wait."""
        with self._news:
            self._news.wait_for(self._has_news, LISTEN_SECONDS)
            said, self._said = tuple(self._said), []
        resting = not said or any(isinstance(message, Ended) for message in said)
        return Heard(said, self.facts() if resting else None)

    def _has_news(self) -> bool:
        return any(isinstance(message, Ended) or message.ticket == self._shown for message in self._said)

    def facts(self) -> Facts:
        """What this actor is and holds."""
        status = status_of(self._state, self._generator)
        of_card = _facts_of_card(status) if self._began else None
        memory = psutil.virtual_memory()
        return of_card or Facts(status, "", memory.total, memory.available, status.memory_bytes or 0)

    # -- in the thread of orders -----------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            order = self._orders.get()
            ended = order()
            self._state, self._began = "idle", True
            self._say(ended)

    def _say(self, message: Step | Ended) -> None:
        with self._news:
            self._said.append(message)
            self._news.notify_all()

    def _load(self, ticket: int, model: str | None, options: Mapping[str, Any]) -> Ended:
        self._state = "loading"
        try:
            generator = self._generator.ready()
            if model is not None:
                generator.load(model, options, lambda progress: self._say(Step(ticket, progress)))
        except Exception as problem:
            words = f"{type(problem).__name__}: {problem}"[:300]
            error = problem if isinstance(problem, StudioError) else ModelLoadError(model=model or "", detail=words)
            return Ended(ticket, error=error.to_dict(), trace=traceback.format_exc())
        return Ended(ticket)

    def _draw(self, ticket: int, request: GenerationRequest, attempt: ResumeState) -> Ended:
        self._state = "busy"
        drawn: list[GeneratedImage] = []

        def report(progress: Progress) -> None:
            self._say(Step(ticket, progress))

        try:
            self._generator.ready().generate(request, report, lambda: ticket <= self._stopped, drawn.append, attempt)
        except Cancelled:
            return Ended(ticket, cancelled=True)
        except Exception as problem:
            loaded = self._generator.loaded
            error = as_studio_error(problem, request, (loaded and loaded.device) or "cpu")
            trace = without_prompts(traceback.format_exc(), request)
            return Ended(ticket, error=error.to_dict(), fault=device_fault(problem), trace=trace)
        return Ended(ticket, image=drawn[0])


def _facts_of_card(status: WorkerStatus) -> Facts | None:
    """None without a card, and where the generator did not import what talks to one."""
    if "torch" not in sys.modules:
        return None
    from core.inference import memory

    card = memory.card()
    return Facts(status, card.name, card.total, card.free, card.own) if card is not None else None
