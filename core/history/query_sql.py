"""Turn a query of the history into SQL, over the quicker of two indexes.

Two indexes hold everything that is filtered and sorted by, so that only the rows of a page itself are read. One is in the
usual order (ix_images_filter): a question without words is one walk over it, 13 MB for 100,000 images, whatever its
filters are. The other is by number (ix_images_number): words and tags, which have lists of numbers of their own, look their
images up in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.config.options import SCHEMA
from core.errors import OptionError
from core.history.hidden_collections import EVERYTHING, Scope
from core.history.image_rows import COLLECTION, PARENT, PROGRAM, TAG
from core.history.record_codec import UNKNOWN_SEED, signed_seed
from core.storage.database import timestamp
from core.storage.dialects import Dialect
from core.storage.dialects.contract import Conditions
from core.storage.fts_tokens import split
from core.storage.infotext import well_formed
from core.types import HistoryQuery

EXACT = ("model", "width", "height", "seed", "format", "favourite", "missing")
RANGES = (
    ("min_steps", "num_inference_steps", ">="), ("max_steps", "num_inference_steps", "<="),
    ("min_cfg_scale", "cfg_scale", ">="), ("max_cfg_scale", "cfg_scale", "<="),
    ("min_rating", "rating", ">="),
)  # fmt: skip
UNTOLD = {  # what a row has where an imported image does not tell the value
    "model": "model = ''",
    "seed": f"seed = {UNKNOWN_SEED}",
    **{name: f"{name} < 0" for name in ("num_inference_steps", "cfg_scale", "seconds")},
}
USUAL = "created_at"  # the order of ix_images_filter
FEW = 2000  # images that are sorted sooner than a walk over the index meets a page of them
_LISTS = {option.key for option in SCHEMA.request_options() if option.type == "list"}


@dataclass(frozen=True)
class QuerySql:
    """The parts of the SQL."""

    sets: list[str]  # each the numbers of all images that have something: words, a tag
    where: list[str]  # of columns that both indexes have
    values: dict[str, Any]
    unindexed: bool  # whether all that is asked for is text that no index has
    trashed: bool
    wording: Dialect

    @property
    def by_number(self) -> bool:
        """Return whether images can be looked up by number; those in the trash are in neither index."""
        return bool(self.sets) and not self.trashed

    def dear(self, sort: str) -> str | None:
        """Return the source to be kept while it is counted and sorted, where finding it once is cheaper; else None."""
        if self.by_number and (self.where or self.sets[1:]):
            return self.looked_up()
        return self.walked(sort) if self.unindexed and sort != USUAL else None

    def walked(self, sort: str | None = USUAL) -> str:
        """Return all images, each looked up in the sets. In the usual order, which the index has, a page stops early."""
        trash = f"trashed_at IS {'NOT ' if self.trashed else ''}NULL"
        source = self.wording.read if self.unindexed and sort != USUAL else self.wording.walked
        if self.trashed:
            source = "images"
        return f"{source} WHERE {' AND '.join([trash, *self.where, *_within(self.sets)])}"

    def looked_up(self) -> str:
        """Return the images of the first set by their numbers."""
        first, *others = self.sets
        where = ["trashed_at IS NULL", *self.where, *_within(others)]
        return f"({first}) AS named {self.wording.joined} USING (number) WHERE {' AND '.join(where)}"

    def source(self, sort: str, total: int | None = None) -> str:
        """Return the quicker way to a page; how many match is known or not."""
        few = total is not None and total <= FEW
        return self.looked_up() if self.by_number and (few or sort != USUAL) else self.walked(sort)

    def count(self) -> str:
        """Return the query that counts all that match. Of a set alone no image is looked up."""
        if self.by_number and not self.where and not self.sets[1:]:
            trash = "SELECT number FROM images WHERE trashed_at IS NOT NULL"
            return f"SELECT count(*) FROM ({self.sets[0]}) AS named WHERE number NOT IN ({trash})"
        return f"SELECT count(*) FROM {self.any_order()}"

    def any_order(self) -> str:
        """Return the source for what looks at every match, in no order."""
        return self.looked_up() if self.by_number else self.walked(None)


def asked_by(query: HistoryQuery, wording: Dialect, scope: Scope = EVERYTHING) -> QuerySql:
    """Return everything that `query` asks for, as far as `scope` shows it, as SQL.

    Raises OptionError for options that can't be queried.
    """
    sets, named = _sets(query, wording)
    where, values = _filters(query, wording)
    _, unknown = split(query.text)
    unindexed = bool(unknown) and len(where) == len(unknown)
    limits, seen = scope.conditions()
    return QuerySql(sets, [*where, *limits], {**named, **values, **seen}, unindexed, query.trashed, wording)


def _within(sets: Sequence[str]) -> list[str]:
    return [f"number IN ({one})" for one in sets]


def _sets(query: HistoryQuery, wording: Dialect) -> Conditions:
    """Return the conditions for which lists of numbers are kept, words last, as they find the most."""
    sets: list[str] = []
    values: dict[str, Any] = {}
    if query.ids:
        sets.append(f"SELECT number FROM images WHERE id IN ({wording.listed('ids')})")
        values["ids"] = _listed(query.ids)
    if query.parent is not None:
        sets.append(f"SELECT number FROM image_inputs WHERE role = '{PARENT}' AND source = :parent")
        values["parent"] = well_formed(query.parent)
    if query.imported:
        sets.append(f"SELECT number FROM image_labels WHERE kind = '{PROGRAM}'")
    for kind, label in ((COLLECTION, query.collection), (TAG, query.tag)):
        if label is not None:
            sets.append(f"SELECT number FROM image_labels WHERE kind = '{kind}' AND name = :{kind}")
            values[kind] = well_formed(label)
    known, _ = split(query.text)
    if known:
        words, more = wording.with_words(known)
        sets.append(words)
        values.update(more)
    return sets, values


def _filters(query: HistoryQuery, wording: Dialect) -> Conditions:
    """Return the conditions on the columns of a row; since <= created_at < until."""
    where: list[str] = []
    values: dict[str, Any] = {}
    for name in EXACT:
        if (value := getattr(query, name)) is not None:
            where.append(f"{name} = :{name}")
            values[name] = well_formed(value) if isinstance(value, str) else value
    if query.seed is not None:
        values["seed"] = signed_seed(query.seed)
    for name, column, sign in RANGES:
        if (value := getattr(query, name)) is not None:
            where.append(f"{column} {sign} :{name}")
            if sign == "<=":  # what is unknown is below 0 in the row, and matches no number
                where.append(f"{column} >= 0")
            values[name] = value
    where.extend(UNTOLD[name] for name in query.unknown)
    for name, sign in (("since", ">="), ("until", "<")):
        if (instant := getattr(query, name)) is not None:
            where.append(f"created_at {sign} :{name}")
            values[name] = timestamp(instant)
    if query.without:
        where.append(f"id NOT IN ({wording.listed('without')})")
        values["without"] = _listed(query.without)
    _, unknown = split(query.text)  # %, an emoji: no index has them
    for parts, more in (wording.has_text(unknown), _options(query, wording)):
        where.extend(parts)
        values.update(more)
    return where, values


def _listed(image_ids: Sequence[str]) -> str:
    return json.dumps([well_formed(image_id) for image_id in image_ids])


def _options(query: HistoryQuery, wording: Dialect) -> Conditions:
    """Return the condition for advanced options at exactly these values; images without the option do not match.

    Of a list one of its members is asked for, whole or by the name before its colon: `ink` finds `ink:0.5`.
    """
    if not query.options:
        return [], {}
    for key, value in query.options.items():
        if '"' in key or key != well_formed(key) or not isinstance(value, str | int | float | bool):
            raise unusable("options", f"{key} = {value}", "a key and a plain value")
    asked = {key: well_formed(value) if isinstance(value, str) else value for key, value in query.options.items()}
    lists = {key: str(value) for key, value in asked.items() if key in _LISTS}
    plain = {SCHEMA.spellings(key): value for key, value in asked.items() if key not in _LISTS}
    parts, values = wording.has_options(plain)
    more, members = wording.has_members(lists)
    sets = f"SELECT id FROM option_sets WHERE {' AND '.join([*parts, *more])}"
    return [f"option_set IN ({sets})"], {**values, **members}


def unusable(name: str, value: object, allowed: str) -> OptionError:
    """Return the error for a part of a query."""
    return OptionError(source="history", key=name, value=value, allowed=allowed)
