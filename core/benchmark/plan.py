"""Plan a benchmark: from columns as people write them to one request per column, ordered to load models least often."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from core.config.cfg import as_cfg
from core.config.loader import parse_yaml, profile_values
from core.config.options import SCHEMA
from core.config.schema import TakesEffect
from core.errors import ConfigFileError, OptionError, UnknownOptionError
from core.history.record_codec import new_id
from core.i18n import localize
from core.studio import Studio
from core.types import Benchmark, BenchmarkColumn, GenerationRequest, ModelInfo, SubmitOptions

MIN_COLUMNS, MAX_COLUMNS = 2, 8
MOST_IMAGES = 400  # of all columns together
SHARED = ("model.id", "generation.prompt", "generation.seed", "generation.num_images")  # are no column's own
PAIR = re.compile(r"\s*([\w.]+)\s*=(.*)")
NAMED = 3  # settings in the name of a column


@dataclass(frozen=True)
class ColumnSpec:
    """One column as requested. `values` are by schema key or alias and win over the profile's."""

    model: str
    profile: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """Limits of one caller: images in all, active jobs, and `check` of each column's request."""

    images: int = MOST_IMAGES
    jobs: int | None = None
    check: Callable[[GenerationRequest], None] = lambda request: None


def read_values(text: str, source: str) -> dict[str, Any]:
    """Parse options written as KEY=VALUE lines or as YAML, unchecked. Raises ConfigFileError naming `source`."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    pairs = [PAIR.fullmatch(line) for line in lines]
    if lines and all(pairs):
        return {pair[1]: pair[2].strip() for pair in pairs if pair}
    if any(pairs):
        raise ConfigFileError(source=source, detail=_MIXED)
    return parse_yaml(text, source)


_MIXED = localize("benchmark.plan.mixed")


def read_seeds(text: str, source: str) -> tuple[int, ...]:
    """Parse seeds separated by commas or spaces; -1 is replaced by a random one, the same for every column."""
    option = SCHEMA.options["generation.seed"]
    found = [int(option.check(word, source)) for word in re.split(r"[,，、;\s]+", text.strip()) if word]
    return tuple(seed if seed >= 0 else random.SystemRandom().randrange(2**32) for seed in found)


def start(
    studio: Studio,
    specs: Sequence[ColumnSpec],
    prompts: Sequence[str],
    seeds: Sequence[int],
    terms: SubmitOptions | None = None,
    source: str = "benchmark",
    limits: Limits | None = None,
) -> Benchmark:
    """Queue a benchmark; it and its jobs are on disk when this returns. InputError or ModelFileError when it can't be."""
    limits = limits or Limits()
    _check(specs, prompts, seeds, source, limits.images)
    checked = [
        replace(spec, values=_own(spec.values, studio.catalog.find(spec.model), place_of(number)))
        for number, spec in enumerate(specs, start=1)
    ]
    requests = [_request(studio, spec, number, prompts, seeds) for number, spec in enumerate(checked, start=1)]
    columns = [
        _column(studio, request, name, spec)
        for request, name, spec in zip(requests, _names(checked), checked, strict=True)
    ]
    for request in requests:
        limits.check(request)
    return _queue(studio, columns, requests, terms, limits.jobs)


def _queue(
    studio: Studio,
    columns: Sequence[BenchmarkColumn],
    requests: Sequence[GenerationRequest],
    terms: SubmitOptions | None,
    most: int | None,
) -> Benchmark:
    """Queue one request a column in the running order, and store the benchmark in the same transaction."""
    order = running_order(requests)
    created_at = datetime.now(UTC)
    cells = [(cell["prompt"], cell["seed"]) for cell in requests[0].images]
    prompts, seeds = (tuple(dict.fromkeys(cell[k] for cell in cells)) for k in (0, 1))
    benchmark = Benchmark(new_id(created_at), created_at, tuple(columns), prompts, seeds)

    def store(connection: Any, ids: Sequence[str]) -> None:
        jobs = dict(zip(order, ids, strict=True))
        with_jobs = tuple(replace(column, job=jobs[k]) for k, column in enumerate(columns))
        studio.benchmarks.put(connection, replace(benchmark, columns=with_jobs))

    studio.queue.submit_all([requests[k] for k in order], terms, store, most)
    return studio.benchmarks.get(benchmark.id)


def running_order(requests: Sequence[GenerationRequest]) -> tuple[int, ...]:
    """Return the order of columns that loads models least often."""
    seen: list[Any] = []
    for request in requests:
        for key in _loads(request):
            if key not in seen:
                seen.append(key)
    return tuple(sorted(range(len(requests)), key=lambda k: [seen.index(key) for key in _loads(requests[k])]))


def _loads(request: GenerationRequest) -> tuple[Any, Any]:
    """Return the model, and all that it is loaded for."""
    keys = [option.key for option in SCHEMA.request_options() if option.takes_effect is TakesEffect.RELOAD]
    return request.model, (request.model, *(request.options.get(key) for key in keys))


def _check(specs: Sequence[ColumnSpec], prompts: Sequence[str], seeds: Sequence[int], source: str, most: int) -> None:
    count = len(specs) * len(prompts) * len(seeds)
    for key, number, low, high in (
        ("columns", len(specs), MIN_COLUMNS, MAX_COLUMNS),
        ("prompts", len(prompts), 1, MOST_IMAGES),
        ("seeds", len(seeds), 1, MOST_IMAGES),
        ("images", count, 1, most),
    ):
        if not low <= number <= high:
            raise OptionError(source=source, key=key, value=number, allowed=f"{low} - {high}")
    for key, values in (("prompts", prompts), ("seeds", seeds)):
        for value, times in Counter(values).items():
            if times > 1:
                raise OptionError(source=source, key=key, value=str(value)[:60], allowed=_ONCE)


_ONCE = localize("benchmark.plan.once")


def _request(
    studio: Studio, spec: ColumnSpec, number: int, prompts: Sequence[str], seeds: Sequence[int]
) -> GenerationRequest:
    """Return all the images of a column as one request: its values over its profile over the settings."""
    source = place_of(number)
    profile = as_cfg(_profile(studio, spec.profile, source), studio.catalog.find(spec.model).cfg_offset, source)
    values = {**profile, **spec.values}
    shared = {"model.id": spec.model, "generation.prompt": prompts[0], "generation.seed": seeds[0]}
    base = studio.requests.new({**values, **shared, "generation.num_images": 1}, source)
    images = tuple({"prompt": prompt, "seed": seed} for prompt in prompts for seed in seeds)
    return replace(base, num_images=len(images), images=images)


def place_of(number: int) -> Any:
    """Return the name of a column in errors, counted from 1."""
    return localize("benchmark.plan.column", number=number)


def _own(values: Mapping[str, Any], model: ModelInfo, source: str) -> dict[str, Any]:
    """Return the values of a column by key. Raises InputError for what no image has, or what all columns share."""
    for name, value in values.items():
        option = SCHEMA.find(name, source)
        if option.key in SHARED:
            raise OptionError(source=source, key=option.key, value=str(value)[:60], allowed=_NOT_HERE)
        if not _of_a_image(option.key):
            raise UnknownOptionError(source=source, key=name, nearest="generation.num_inference_steps")
    return as_cfg(SCHEMA.checked(values, source), model.cfg_offset, source)


_NOT_HERE = localize("benchmark.plan.not_here")


def _of_a_image(key: str) -> bool:
    return key.startswith("generation.") or SCHEMA.options[key] in SCHEMA.request_options()


def _profile(studio: Studio, name: str, source: str) -> dict[str, Any]:
    """Return what a profile says about images, other than what all columns share."""
    values = profile_values(studio.settings.configs, name, source) if name else {}
    return {key: value for key, value in values.items() if _of_a_image(key) and key not in SHARED}


def _column(studio: Studio, request: GenerationRequest, name: str, spec: ColumnSpec) -> BenchmarkColumn:
    info = studio.catalog.find(request.model)
    values = {**({"profile": spec.profile} if spec.profile else {}), **spec.values}
    return BenchmarkColumn(name, request.model, values, info.disk_bytes, embedded=info.place == "shipped")


def _names(specs: Sequence[ColumnSpec]) -> list[str]:
    """Model, profile and the first few settings that not all columns have; what would be there twice is numbered."""
    names: list[str] = []
    for spec in specs:
        own = [
            f"{key.rsplit('.', 1)[-1]} {_plain(value)}"
            for key, value in spec.values.items()
            if any(other.values.get(key) != value for other in specs)
        ]
        more = [f"+{len(own) - NAMED}"] if len(own) > NAMED else []
        model = spec.model.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
        parts = [model, *([spec.profile] if spec.profile else []), *own[:NAMED], *more]
        name = " · ".join(parts)
        again = sum(known == name or known.startswith(f"{name} (") for known in names)
        names.append(f"{name} ({again + 1})" if again else name)
    return names


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
