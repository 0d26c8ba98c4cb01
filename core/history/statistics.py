"""Count images, for the list of places beside the history and by day, model, sampler and size; tell how long similar ones took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, tzinfo
from statistics import median
from typing import Any

from sqlalchemy import Connection, Row, select, text

from core.config.options import SCHEMA
from core.config.samplers import SAMPLER
from core.history.hidden_collections import EVERYTHING, Scope
from core.history.image_rows import COLLECTION, PROGRAM, TAG
from core.history.query_sql import QuerySql, asked_by
from core.history.search import check
from core.storage.database import moment
from core.storage.dialects import dialect_of
from core.storage.infotext import well_formed
from core.storage.tables import image_records, images, option_sets
from core.types import CFG_OFF, DayCount, GenerationRequest, HistoryCounts, HistoryQuery, HistoryStatistics

_TRASH = "SELECT number FROM images WHERE trashed_at IS NOT NULL"


def counts(connection: Connection, scope: Scope = EVERYTHING) -> HistoryCounts:
    """Return how many images there are, as far as `scope` shows them; those in the trash count there alone."""
    walked = dialect_of(connection).walked
    limits, values = scope.conditions()
    seen = "".join(f" AND {one}" for one in limits)
    kept = connection.execute(text(
        "SELECT count(*) AS n, count(*) FILTER (WHERE favourite) AS favourites, count(*) FILTER (WHERE missing) AS missing "
        f"FROM {walked} WHERE trashed_at IS NULL{seen}"
    ), values).one()  # fmt: skip
    labels: dict[str, dict[str, int]] = {TAG: {}, COLLECTION: {}, PROGRAM: {}}
    kinds = ", ".join(f"'{kind}'" for kind in labels)
    named = f"SELECT kind, name, count(*) AS n FROM image_labels WHERE kind IN ({kinds}) AND number NOT IN ({_TRASH}){seen}"
    for row in connection.execute(text(f"{named} GROUP BY kind, name ORDER BY name"), values):
        labels[row.kind][row.name] = row.n
    return HistoryCounts(
        all=kept.n,
        favourites=kept.favourites,
        missing=kept.missing,
        imported=sum(labels[PROGRAM].values()),
        trash=connection.execute(text(f"SELECT count(*) FROM ({_TRASH}{seen}) AS trash"), values).scalar_one(),
        tags=labels[TAG],
        collections=labels[COLLECTION],
    )


def of(
    connection: Connection, query: HistoryQuery, zone: tzinfo, scope: Scope = EVERYTHING
) -> HistoryStatistics:
    """Return what `query` finds by day of `zone`, model, sampler and size. Raises OptionError."""
    check(query)
    asked = asked_by(query, dialect_of(connection), scope)
    models = {row.model: row.n for row in _grouped(connection, asked, "model")}
    sizes = {(row.width, row.height): row.n for row in _grouped(connection, asked, "width, height")}
    return HistoryStatistics(
        total=sum(models.values()),
        days=_days(connection, asked, zone),
        models=_most_first(models),
        samplers=_most_first(_samplers(connection, asked)),
        sizes=_most_first(sizes),
    )


def _grouped(connection: Connection, asked: QuerySql, columns: str) -> Sequence[Row[Any]]:
    return connection.execute(
        text(f"SELECT {columns}, count(*) AS n FROM {asked.any_order()} GROUP BY {columns}"), asked.values
    ).all()


def _days(connection: Connection, asked: QuerySql, zone: tzinfo) -> tuple[DayCount, ...]:
    """Return the days. SQL groups by minute, as a day of the viewer begins at another time than one in UTC."""
    rows = connection.execute(text(
        "SELECT substr(created_at, 1, 16) AS minute, count(*) AS n, count(*) FILTER (WHERE seconds >= 0) AS timed, "
        f"coalesce(sum(seconds) FILTER (WHERE seconds >= 0), 0) AS spent FROM {asked.any_order()} GROUP BY 1"
    ), asked.values).all()  # fmt: skip
    by_day: dict[date, list[float]] = {}
    for row in rows:
        begun = moment(f"{row.minute}:00+00:00")
        assert begun is not None
        day = by_day.setdefault(begun.astimezone(zone).date(), [0, 0, 0.0])
        for k, value in enumerate((row.n, row.timed, row.spent)):
            day[k] += value
    return tuple(
        DayCount(day, int(n), spent / timed if timed else None) for day, (n, timed, spent) in sorted(by_day.items())
    )


def _samplers(connection: Connection, asked: QuerySql) -> Counter[str]:
    """Return how many images have each sampler; one lookup for each set of options, which many images share."""
    by_set = {row.option_set: row.n for row in _grouped(connection, asked, "option_set")}
    names: Mapping[int, str] = {
        row.id: str(row.options.get(SAMPLER, "")) for row in connection.execute(select(option_sets)) if row.id in by_set
    }
    found: Counter[str] = Counter()
    for option_set, count in by_set.items():
        found[names.get(option_set, "")] += count
    return found


def _most_first(counted: Mapping[Any, int]) -> dict[Any, int]:
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


LIKE_IMAGES = 15  # this many of the latest tell how long the next one takes


def places_of(connection: Connection, job_id: str) -> frozenset[int]:
    """Return which of its images, from 1, this job has made."""
    made = select(images.c.place).where(images.c.job_id == job_id, images.c.place.is_not(None))
    return frozenset(connection.scalars(made))


def seconds_like(connection: Connection, request: GenerationRequest) -> float | None:
    """Return the median of what the latest images like those of `request` took; None before the first.

    Alike are those of the same model, size, steps, options and kinds of input images, with guidance or without.
    """
    like = (
        images.c.width == request.width,
        images.c.height == request.height,
        images.c.model == well_formed(request.model),
        images.c.seconds >= 0,
        images.c.num_inference_steps == request.num_inference_steps,
        (images.c.cfg_scale > CFG_OFF) == request.guided,
    )
    rows = select(images.c.seconds, image_records.c.record).join(image_records).where(*like)
    found = connection.execute(rows.order_by(images.c.created_at.desc()).limit(LIKE_IMAGES)).all()
    wanted = (dict(request.options), set(request.inputs))
    same = [row.seconds for row in found if _read_requested(row.record["requested"]) == wanted]
    return median(same) if same else None


def _read_requested(requested: Mapping[str, Any]) -> tuple[Any, set[str]]:
    return SCHEMA.current(requested["options"]), set(requested.get("inputs", ()))
