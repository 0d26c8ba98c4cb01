"""Show statistics of what was found: images and seconds by day, images by model, sampler and size. A click filters by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from core.config.options import SCHEMA
from core.config.samplers import SAMPLER, SAMPLERS
from core.studio import Studio
from core.types import DayCount, HistoryQuery
from ui import formats
from ui.components import custom_components
from ui.i18n import localized, t
from ui.state import history as history_state
from ui.timezone import local_zone

MOST_COLUMNS = 92  # a longer time is drawn by week, or by month
WEEKS = 731  # days
MOST_ROWS = 10  # of a group; the rest is one row


def draw(studio: Studio, query: HistoryQuery) -> None:
    """Draw the figures of all that `query` finds."""
    found = studio.history.statistics(query, local_zone())
    sizes = {formats.pixels(*size): (f"{size[0]}x{size[1]}", count) for size, count in found.sizes.items()}
    samplers = {_sampler(name): (name, count) for name, count in found.samplers.items()}
    models = {name or t("fact.unknown"): (name, count) for name, count in found.models.items()}
    groups = [
        _group(t("history.model"), models, lambda name: f"model={name}" if name else "unknown=model"),
        _group(
            localized(SCHEMA.options[SAMPLER].label), samplers,
            lambda name: f"{history_state.OPTION}{SAMPLER}={name}" if name else "",
        ),
        _group(t("history.size"), sizes, lambda size: f"size={size}"),
    ]
    words = {"images": t("statistics.images"), "seconds": t("statistics.seconds")}
    custom_components.statistics(_columns(found.days), groups, words, key="statistics", on_pick=_filter)


def _sampler(name: str) -> str:
    """Return a sampler by the name that people know it by."""
    known = {sampler.id: sampler.name for sampler in SAMPLERS.values()}
    return known.get(name, name) or t("statistics.no_sampler")


def _group(title: str, counted: Mapping[str, tuple[str, int]], filter_of: Any) -> dict[str, Any]:
    rows = [
        {"id": filter_of(value), "label": label, "images": count, "text": f"{count:,}"}
        for label, (value, count) in counted.items()
    ]
    shown, rest = rows[:MOST_ROWS], sum(row["images"] for row in rows[MOST_ROWS:])
    if rest:
        shown.append({"id": "", "label": t("statistics.others"), "images": rest, "text": f"{rest:,}"})
    return {"title": title, "items": shown}


def _columns(days: Sequence[DayCount]) -> list[dict[str, Any]]:
    """Return a column for each day, week or month from the first image to the last, also for those without an image."""
    if not days:
        return []
    length = (days[-1].day - days[0].day).days + 1
    begin = _day if length <= MOST_COLUMNS else _week if length <= WEEKS else _month
    found: dict[date, list[DayCount]] = {}
    day = days[0].day
    while day <= days[-1].day:
        found.setdefault(begin(day), [])
        day += timedelta(days=1)
    for one in days:
        found[begin(one.day)].append(one)
    firsts = [*found, begin(days[-1].day) + timedelta(days={_day: 1, _week: 7, _month: 31}[begin])]
    lasts = [min(after - timedelta(days=1), days[-1].day) for after in firsts[1:]]
    return [_column(first, last, parts) for (first, parts), last in zip(found.items(), lasts, strict=True)]


def _column(first: date, last: date, parts: Sequence[DayCount]) -> dict[str, Any]:
    images = sum(part.images for part in parts)
    timed = [(part.images, part.seconds) for part in parts if part.seconds is not None]
    seconds = sum(count * mean for count, mean in timed) / sum(count for count, _ in timed) if timed else None
    return {
        "id": f"since={first.isoformat()}&until={last.isoformat()}",
        "label": first.isoformat() if first == last else f"{first.isoformat()} – {last.isoformat()}",
        "images": images,
        "images_text": f"{images:,}",
        "seconds": seconds,
        "seconds_text": formats.seconds(seconds),
    }


def _day(day: date) -> date:
    return day


def _week(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _month(day: date) -> date:
    return day.replace(day=1)


def _filter(place: str) -> None:
    """Filter by what was clicked, and show its images."""
    changes = dict(part.split("=", 1) for part in place.split("&")) if place.startswith("since=") else dict([place.split("=", 1)])
    history_state.set_history_fields({**changes, "view": "gallery"})
