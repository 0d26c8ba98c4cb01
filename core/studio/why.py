"""Answer why two images differ: list what changed between them, and generate from one to the other, a change at a time.

The images are generated small, in one order: from what should move the image least (conditions of the machine, the VAE) to
what should move it most (prompt, seed). Each step is compared with the one before, so that the distances say which of the
changes mattered. A change that gives no valid request by itself is made together with the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from core.config.lora_syntax import KEY as LORAS
from core.config.lora_syntax import lora_specs_of
from core.config.options import SCHEMA
from core.errors import InputError, ModelError, NotFoundError, OptionError
from core.history import used_files
from core.history.benchmark_store import StudyStore
from core.history.image_quality import distance
from core.history.store import History
from core.i18n import localize
from core.jobs.queue import JobQueue
from core.studio.images import conditions
from core.studio.request_builder import RequestBuilder
from core.types import (
    GenerationRequest,
    ImageRecord,
    Job,
    JobState,
    SubmitOptions,
    WhyChange,
    WhyPlan,
    WhyReport,
    WhyStep,
    WhyStudy,
)

SOURCE = "why"
SHORT = 60  # characters of a value in a line
SMALL = 256  # pixels of the longer side, unless another size is asked for
MOST_RENDERS = 16
SIZE, INPUTS = "size", "inputs"
_LAST = ("num_inference_steps", "cfg_scale", "negative_prompt", INPUTS, SIZE, "model", "prompt", "seed")  # in this order
_NO_PIXELS = ("output.", "preview.", "resume.", "storage.", "generation.num_images")  # options that change no pixel
_EARLY = ("vae.", "performance.", "memory.", "attention.", "torch_compile.", "precision.")  # options that move little


class Why:
    """Plans, starts and reads studies of two images of the history."""

    def __init__(self, history: History, queue: JobQueue, builder: RequestBuilder, store: StudyStore) -> None:
        self._history = history
        self._queue = queue
        self._builder = builder
        self._store = store

    def plan(self, one: str, other: str, size: int = SMALL, renders: int = MOST_RENDERS) -> WhyPlan:
        """Return what would be generated between two images; nothing is queued.

        `size` is the longer side in pixels (0: as large as the images are), `renders` the most images to generate: changes
        beyond that are made together in the first steps.

        Raises:
            NotFoundError: an image is not there.
            InputError: nothing that differs can be switched, or the requests can't be generated here.
        """
        plan, _ = self._planned(one, other, size, renders)
        return plan

    def start(
        self, one: str, other: str, size: int = SMALL, renders: int = MOST_RENDERS, terms: SubmitOptions | None = None
    ) -> WhyStudy:
        """Queue the images of a plan and return the study. Raises as `plan` and `JobQueue.submit_all` do."""
        plan, requests = self._planned(one, other, size, renders)
        stored: list[str] = []

        def store(connection: Connection, job_ids: Sequence[str]) -> None:
            stored.append(self._store.put(connection, plan, job_ids))

        self._queue.submit_all(requests, terms, store)
        return self._store.get(stored[0])

    def cancel(self, study_id: str) -> WhyReport:
        """Cancel the jobs of a study that have not ended, those that wait first; what is generated stays. Raises NotFoundError."""
        for job_id in reversed(self._store.get(study_id).jobs):
            self._queue.cancel(job_id)
        return self.report(study_id)

    def report(self, study_id: str) -> WhyReport:
        """Return how far a study is and what it has found. Raises NotFoundError."""
        study = self._store.get(study_id)
        jobs = [self._job(job_id) for job_id in study.jobs]
        images = [job.image_ids[0] if job is not None and job.image_ids else "" for job in jobs]
        gaps = [self._distance(before, after) for before, after in pairwise(images)]
        order = sorted((k for k, gap in enumerate(gaps) if gap is not None), key=lambda k: -(gaps[k] or 0.0))
        steps = tuple(
            WhyStep(change, images[k + 1], gaps[k], order.index(k) + 1 if k in order else None)
            for k, change in enumerate(study.plan.changes)
        )
        active = any(job is not None and job.state.active for job in jobs)
        failed = sum(job is None or job.state in (JobState.FAILED, JobState.CANCELLED) for job in jobs)
        return WhyReport(study, images[0], steps, sum(map(bool, images)), active, failed)

    def _job(self, job_id: str) -> Job | None:
        try:
            return self._queue.get(job_id)
        except NotFoundError:
            return None

    def _distance(self, before: str, after: str) -> float | None:
        if not before or not after:
            return None
        try:
            return _distance_of(self._history.file(before), self._history.file(after))
        except NotFoundError:  # deleted meanwhile
            return None

    def _planned(self, one: str, other: str, size: int, renders: int) -> tuple[WhyPlan, list[GenerationRequest]]:
        if size and not 64 <= size <= 4096:
            raise OptionError(source=SOURCE, key="size", value=size, allowed="0, 64 - 4096")
        if not 2 <= renders <= MOST_RENDERS:
            raise OptionError(source=SOURCE, key="renders", value=renders, allowed=f"2 - {MOST_RENDERS}")
        first, last = self._history.get(one), self._history.get(other)
        begin, end = _resized(_single(first), _single(last), size)
        changes = changes_between(begin, end)
        switched: set[str] = set()  # LoRA files
        if not changes:  # the same request: what was in effect differs, and is set to what it was
            loras, switched = self._changed_loras(first, last, begin)
            changes = [*_changes_of_environment(first, last), *loras]
            begin = _with(begin, _before(changes))
        fixed = _fixed(first, last, changes, switched)
        if not changes:
            raise OptionError(source=SOURCE, key="images", value=_in_words(fixed), allowed=localize("studio.why.none"))
        together = len(changes) - (renders - 1)
        if together > 0:
            changes = [_merged(changes[: together + 1]), *changes[together + 1 :]]
        made, requests = self._path(begin, changes)
        bounds = max(begin.width, end.width), max(begin.height, end.height)
        return WhyPlan(one, other, tuple(made), bounds, fixed), requests

    def _changed_loras(
        self, first: ImageRecord, last: ImageRecord, request: GenerationRequest
    ) -> tuple[list[WhyChange], set[str]]:
        """Return a change for each LoRA whose file was another one, where both files are here under names of their own.

        The second value names the files that are so switched, as `conditions` does.
        """
        one, other = (used_files.file_hashes(record.effective, used_files.LORA) for record in (first, last))
        names: dict[str, tuple[str, str]] = {}
        for name in (name for name in one if other.get(name, one[name]) != one[name]):
            before, after = self._builder.lora_with_hash(one[name]), self._builder.lora_with_hash(other[name])
            if before is not None and after is not None:
                names[name] = before, after
        uses = lora_specs_of(request, SOURCE)
        present = [replace(use, name=names[use.name][0]) if use.name in names else use for use in uses]
        changes = []
        for place, use in enumerate(uses):
            if use.name in names:
                before_now = tuple(map(str, present))
                present[place] = replace(use, name=names[use.name][1])
                changes.append(WhyChange({LORAS: before_now}, {LORAS: tuple(map(str, present))}, environment=True))
        return changes, {f"{used_files.LORA}.{name}" for name in names}

    def _path(
        self, begin: GenerationRequest, changes: Sequence[WhyChange]
    ) -> tuple[list[WhyChange], list[GenerationRequest]]:
        """Return the steps that can be generated, and the requests of all images. Raises the error of an end that can't."""
        requests = [self._builder.prepare(begin)]
        made: list[WhyChange] = []
        waiting: list[WhyChange] = []
        request = begin
        for number, change in enumerate(changes, start=1):
            request = _with(request, change.after)
            waiting.append(change)
            try:
                prepared = self._builder.prepare(request)
            except (InputError, ModelError):
                if number == len(changes):
                    raise
                continue  # it goes only together with the next one
            made.append(_merged(waiting))
            requests.append(prepared)
            waiting = []
        return made, requests


@lru_cache(256)  # images do not change, and a page asks each second
def _distance_of(before: Path, after: Path) -> float:
    return distance(before, after)


def changes_between(begin: GenerationRequest, end: GenerationRequest) -> list[WhyChange]:
    """Return what differs between two requests, each parameter a change, in the order in which they are made."""
    one, other = _parameters(begin), _parameters(end)
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return [WhyChange({name: one.get(name)}, {name: other.get(name)}) for name in sorted(names, key=_order)]


def _parameters(request: GenerationRequest) -> dict[str, Any]:
    """Return all that decides the pixels of a request, by name; an option that it lacks has its default."""
    options = {
        option.key: _plain(request.options.get(option.key, option.default))
        for option in SCHEMA.request_options()
        if not option.key.startswith(_NO_PIXELS)
    }
    own = {
        name: getattr(request, name) for name in _LAST if name not in (SIZE, INPUTS)
    }
    return {**options, **own, SIZE: [request.width, request.height], INPUTS: dict(request.inputs)}


def _order(name: str) -> tuple[int, str]:
    if name in _LAST:
        return 2 + _LAST.index(name), name
    return (0 if name.startswith(_EARLY) else 1), name


def _with(request: GenerationRequest, values: Mapping[str, Any]) -> GenerationRequest:
    """Return a request with values by the names of `_parameters`."""
    fields: dict[str, Any] = {name: value for name, value in values.items() if name in _LAST and name not in (SIZE, INPUTS)}
    if SIZE in values:
        fields["width"], fields["height"] = values[SIZE]
    if INPUTS in values:
        fields["inputs"] = dict(values[INPUTS])
    options = {name: _typed(value) for name, value in values.items() if name in SCHEMA.options and name not in _LAST}
    return replace(request, **fields, options={**request.options, **options})


def _merged(changes: Sequence[WhyChange]) -> WhyChange:
    """Return several changes as one."""
    before = _before(changes)
    after = {name: value for change in changes for name, value in change.after.items()}
    return WhyChange(before, after, all(change.environment for change in changes))


def _before(changes: Sequence[WhyChange]) -> dict[str, Any]:
    """Return the values before the first of several changes."""
    return {name: value for change in reversed(changes) for name, value in change.before.items()}


def _single(record: ImageRecord) -> GenerationRequest:
    """Return the request of one image, without what only tells where it came from."""
    return replace(
        record.request, num_images=1, images=(), template="", negative_template="", original_prompt="", parent=""
    )


def _resized(
    begin: GenerationRequest, end: GenerationRequest, longest: int
) -> tuple[GenerationRequest, GenerationRequest]:
    """Return both at a size whose longest side is about `longest` pixels, in multiples of 16; not where one has inputs."""
    side = max(begin.width, begin.height, end.width, end.height)
    if not longest or longest >= side or begin.inputs or end.inputs:
        return begin, end

    def scaled(request: GenerationRequest) -> GenerationRequest:
        width, height = (max(64, 16 * round(one * longest / side / 16)) for one in (request.width, request.height))
        return replace(request, width=width, height=height)

    return scaled(begin), scaled(end)


def _changes_of_environment(first: ImageRecord, last: ImageRecord) -> list[WhyChange]:
    """Return what was in effect for one image and not for the other, and can be set."""
    found = []
    for option in SCHEMA.request_options():
        key = option.key
        before, after = first.effective.get(key), last.effective.get(key)
        if key.startswith(_NO_PIXELS) or before == after or None in (before, after):
            continue
        if _settable(key, before) and _settable(key, after):
            found.append(WhyChange({key: before}, {key: after}, environment=True))
    return sorted(found, key=lambda change: _order(next(iter(change.before))))


def _settable(key: str, value: Any) -> bool:
    try:
        return bool(SCHEMA.options[key].check(value, SOURCE) == _typed(value))
    except InputError:
        return False


def _fixed(
    first: ImageRecord, last: ImageRecord, changes: Sequence[WhyChange], files: Set[str]
) -> tuple[tuple[str, Any, Any], ...]:
    """Return the known conditions that differ and are not switched, by `changes` or as `files`: versions, files, the device."""
    switched = files | {name for change in changes for name in change.before}
    one, other = conditions(first.effective), conditions(last.effective)
    return tuple(
        (name, value, other[name])
        for name, value in one.items()
        if name in other and other[name] != value and name not in switched
    )


def _in_words(fixed: Sequence[tuple[str, Any, Any]]) -> str:
    return ", ".join(f"{name}: {before} → {after}" for name, before, after in fixed)[:300] or "-"


def change_words(change: WhyChange, language: str) -> str:
    """Return a change in one line: each parameter with its value before and after."""
    return "; ".join(
        f"{_name(name, language)}: {_short(before)} → {_short(change.after[name])}" for name, before in change.before.items()
    )


def _name(name: str, language: str) -> str:
    if name == SIZE:
        return localize("studio.why.size")[language]
    if name == INPUTS:
        return localize("studio.why.inputs")[language]
    option = SCHEMA.options.get(name) or SCHEMA.options.get(f"generation.{name}") or SCHEMA.options.get(f"{name}.id")
    return option.label[language] if option is not None else name


def _short(value: Any) -> str:
    words = "x".join(map(str, value)) if isinstance(value, list) and len(value) == 2 else str(value)
    return words if len(words) <= SHORT else f"{words[: SHORT - 1]}…"


def _plain(value: Any) -> Any:
    """Return a value as JSON keeps it, so that stored and present values are compared alike."""
    return list(value) if isinstance(value, tuple) else value


def _typed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
