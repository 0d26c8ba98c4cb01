"""From rows to one request with many pictures, each with a prompt, a seed and a size of its own.

What this module does not know: where rows come from, queues.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.batch import wildcards
from core.batch.library import WildcardFiles
from core.batch.problems import Problems
from core.batch.rows import COLUMNS, PROMPT, Row
from core.config.options import SCHEMA
from core.errors import BatchError, InputError, WildcardError
from core.types import OWN_FIELDS, GenerationRequest

Check = Callable[[GenerationRequest], None]  # raises InputError

SEED, COUNT, CFG = "generation.seed", "generation.num_images", "generation.cfg_scale"
_FIRM = {key: replace(SCHEMA.options[key], auto=False) for key in COLUMNS}  # what is not given is taken from the form


def build(
    base: GenerationRequest, rows: Sequence[Row], files: WildcardFiles, most: int, check: Check, source: str
) -> GenerationRequest:
    """A request whose pictures are those of the rows, in order; what a row leaves out is that of `base`.

    A row makes as many pictures as it or `base` says, with seeds that count up; rows without a seed count on from the
    seed of `base`, which must be real. The wildcards of a prompt are drawn by the picture's own seed.
    Raises BatchError naming every row that cannot be used.
    """
    problems = Problems(source)
    found: list[GenerationRequest] = []
    counted = 0
    for row in rows:
        try:
            values = _checked(row)
            counted += (count := values.pop(COUNT, base.num_images))
            if counted <= most:
                found.extend(_pictures(base, values, count, len(found), files, check))
        except WildcardError as error:
            problems.add_error(row.number, "prompt", error)
        except InputError as error:
            problems.add_error(row.number, "", error)
    if counted > most:
        allowed = {"en": f"{most} pictures in all (batch.max_images)", "zh": f"总共 {most} 张（batch.max_images）"}
        problems.add(rows[-1].number, COUNT.removeprefix("generation."), str(counted), allowed)
    problems.raise_any()
    if not found:
        raise BatchError(source=source, count=0, detail={"en": "there is no prompt in it", "zh": "其中没有提示词"})
    first = replace(found[0], num_images=len(found))
    return replace(first, pictures=tuple(_own(first, single) for single in found))


def _checked(row: Row) -> dict[str, Any]:
    """The values of a row by schema key, in their own types."""
    return {key: _FIRM[key].check(value, "") for key, value in row.values.items()}


def _pictures(
    base: GenerationRequest, values: Mapping[str, Any], count: int, before: int, files: WildcardFiles, check: Check
) -> list[GenerationRequest]:
    fields = {key.removeprefix("generation."): value for key, value in values.items() if key != CFG}
    if CFG in values and "guidance_scale" not in fields:
        fields["guidance_scale"] = max(0.0, values[CFG] - 1.0)  # Z-Image counts guidance from 0
    first = values.get(SEED, base.seed + before)
    first = random.SystemRandom().randrange(2**32) if first < 0 else first
    template = values.get(PROMPT, base.prompt)
    drawn = wildcards.has_wildcards(template)
    singles = []
    for seed in range(first, first + count):
        own = {
            "seed": seed,
            "prompt": wildcards.expand(template, seed, files.lines),
            "template": template if drawn else "",
        }
        singles.append(replace(base, num_images=1, **{**fields, **own}))
        check(singles[-1])
    return singles


def _own(first: GenerationRequest, single: GenerationRequest) -> Mapping[str, Any]:
    """What a picture has other than the first."""
    values = {name: getattr(single, name) for name in OWN_FIELDS}
    return {name: value for name, value in values.items() if value != getattr(first, name)}
