"""Turn rows into one request with many images, each with a prompt, a seed and a size of its own."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.batch import wildcards
from core.batch.prompt_table import COLUMNS, PROMPT, PromptRow, RowErrors
from core.batch.templates import is_template
from core.batch.wildcard_files import WildcardFiles
from core.config.cfg import CFG, as_cfg
from core.config.options import SCHEMA
from core.errors import BatchError, InputError, WildcardError
from core.i18n import localize
from core.types import CFG_OFF, OWN_FIELDS, GenerationRequest

Check = Callable[[GenerationRequest], None]  # raises InputError

SEED, COUNT, NEGATIVE = "generation.seed", "generation.num_images", "generation.negative_prompt"
_FIRM = {key: replace(SCHEMA.options[key], auto=False) for key in COLUMNS}  # what is not given is taken from the form


def build(
    base: GenerationRequest,
    rows: Sequence[PromptRow],
    files: WildcardFiles,
    limit: tuple[int, str],
    check: Check,
    source: str,
    cfg_offset: float = 0.0,
) -> GenerationRequest:
    """Return one request with an image for each row, in order; fields that a row lacks are those of `base`.

    A row makes as many images as it or `base` says, with seeds that count up; rows without a seed count on from the
    seed of `base`, which must be real. The wildcards of a prompt are resolved with the image's own seed.
    `limit` is how many images there may be, and the option that says so. `cfg_offset` is the model's, see ModelInfo.
    Raises BatchError naming every row that cannot be used.
    """
    problems, (most, option) = RowErrors(source), limit
    found: list[GenerationRequest] = []
    counted = 0
    for row in rows:
        try:
            values = _checked(row, cfg_offset)
            counted += (count := values.pop(COUNT, base.num_images))
            if counted <= most:
                found.extend(_images(base, values, count, len(found), files, check))
        except WildcardError as error:
            problems.add_error(row.number, "prompt", error)
        except InputError as error:
            problems.add_error(row.number, "", error)
    if counted > most:
        allowed = localize("batch.expand.images_in_all", most=most, option=option)
        problems.add(rows[-1].number, COUNT.removeprefix("generation."), str(counted), allowed)
    problems.raise_any()
    if not found:
        raise BatchError(source=source, count=0, detail=localize("batch.expand.there_is_no_prompt_in_it"))
    first = replace(found[0], num_images=len(found))
    return replace(first, images=tuple(_own(first, single) for single in found))


def _checked(row: PromptRow, cfg_offset: float) -> dict[str, Any]:
    """Return the values of a row by schema key, in their own types, and the CFG scale for whichever name it has."""
    values = as_cfg({key: _FIRM[key].check(value, "") for key, value in row.values.items()}, cfg_offset, "")
    return {**values, CFG: max(CFG_OFF, values[CFG])} if CFG in values else values


def _images(
    base: GenerationRequest, values: Mapping[str, Any], count: int, before: int, files: WildcardFiles, check: Check
) -> list[GenerationRequest]:
    fields = {key.removeprefix("generation."): value for key, value in values.items()}
    first = values.get(SEED, base.seed + before)
    first = random.SystemRandom().randrange(2**32) if first < 0 else first
    template, other = values.get(PROMPT, base.prompt), values.get(NEGATIVE, base.negative_prompt)
    per_image_requests = []
    for seed in range(first, first + count):
        own = {
            "seed": seed,
            "prompt": wildcards.expand(template, seed, files.lines),
            "template": template if is_template(template) else "",
            "negative_prompt": _expanded_negative(other, seed, files),
            "negative_template": other if is_template(other) else "",
        }
        per_image_requests.append(replace(base, num_images=1, **{**fields, **own}))
        check(per_image_requests[-1])
    return per_image_requests


def _expanded_negative(template: str, seed: int, files: WildcardFiles) -> str:
    try:
        return wildcards.expand(template, seed, files.lines, "negative:")
    except WildcardError as error:
        raise WildcardError(**{**error.values, "key": NEGATIVE}) from None


def _own(first: GenerationRequest, single: GenerationRequest) -> Mapping[str, Any]:
    """Return what an image has other than the first."""
    values = {name: getattr(single, name) for name in OWN_FIELDS}
    return {name: value for name, value in values.items() if value != getattr(first, name)}
