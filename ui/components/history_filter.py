"""Show the filters of the history: fields in a menu, a chip for each set filter, and the query that all views share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Any

import streamlit as st

from core.config.options import SCHEMA
from core.config.samplers import SAMPLER, SAMPLERS
from core.config.schema import Option
from core.errors import InputError
from core.studio import Studio
from core.types import DayCount, HistoryQuery
from ui import formats
from ui.components import custom_components
from ui.formats import local_zone
from ui.i18n import localized, t
from ui.state import form as form_state
from ui.state import history as history_state
from ui.state import session

SORTS = (
    "created_at", "rating", "favourite", "seconds", "seed", "width", "height", "num_inference_steps", "cfg_scale",
    "model", "format", "bytes",
)  # fmt: skip
FAVORITES, IMPORTS, MISSING, TRASH = ("favorites", "imports", "missing", "trash")
SHOWN = (FAVORITES, IMPORTS, MISSING, TRASH)
FORMATS = ("png", "jpeg", "webp")
UNKNOWN = ("model", "seed", "num_inference_steps", "cfg_scale", "seconds")  # what an imported image may not tell
NUMBERS: dict[str, type] = {  # by name in the address
    "seed": int, "min_steps": int, "max_steps": int, "min_cfg": float, "max_cfg": float,
}  # fmt: skip
LARGEST_TYPED = 2**53 - 1  # of a number field in a browser
ASCENDING = "asc"


# -- the query -------------------------------------------------------------------------------------------------------------


def query(studio: Studio) -> HistoryQuery:
    """Return what the filters ask for. A filter that can't be read is said on the page and left out."""
    fields = history_state.history_fields()
    shown = fields.get("show", "")
    width, height = parse_size(fields.get("size"))
    if fields.get("size") and width is None:
        custom_components.quiet(t("history.bad_size", value=fields["size"]))
    since, until = day_range(_days(), local_zone())
    sort = fields.get("sort", "")
    numbers = {name: _number_of(name) for name in NUMBERS}
    return HistoryQuery(
        text=fields.get("q", ""),
        model=fields.get("model"),
        since=since,
        until=until,
        width=width,
        height=height,
        seed=numbers["seed"],
        format=fields.get("format"),
        min_steps=numbers["min_steps"],
        max_steps=numbers["max_steps"],
        min_cfg_scale=numbers["min_cfg"],
        max_cfg_scale=numbers["max_cfg"],
        min_rating=_rating() or None,
        favourite=True if shown == FAVORITES else None,
        missing=True if shown == MISSING else None,
        imported=shown == IMPORTS,
        trashed=shown == TRASH,
        unknown=_unknown(),
        tag=fields.get("tag"),
        collection=fields.get("collection"),
        options=_options(),
        sort=sort if sort in SORTS else SORTS[0],
        descending=fields.get("order") != ASCENDING,
        limit=int(studio.settings.ui.history_page_size),
        cursor=history_state.cursors()[-1],
    )


def _days() -> tuple[date, ...]:
    """Return the days of the address, the first and the last or the first alone."""
    found = []
    for name in ("since", "until"):
        try:
            found.append(date.fromisoformat(history_state.history_field(name)))
        except ValueError:
            break
    return tuple(found)


def _number_of(name: str) -> Any:
    try:
        number = NUMBERS[name](history_state.history_field(name))
        return number if number >= 0 else None
    except ValueError:
        return None


def _rating() -> int:
    value = history_state.history_field("rating")
    return int(value) if value in ("1", "2", "3", "4", "5") else 0


def _unknown() -> tuple[str, ...]:
    return tuple(name for name in history_state.history_field("unknown").split(",") if name in UNKNOWN)


def _options() -> dict[str, Any]:
    """Return the advanced options that are filtered by, each at exactly a value."""
    known = _filterable()
    found = {}
    for name, value in history_state.active_filters().items():
        option = known.get(name.removeprefix(history_state.OPTION)) if name.startswith(history_state.OPTION) else None
        if option is None or value == ANY:
            continue
        try:
            found[option.key] = option.check(value, localized(option.label))
        except InputError as error:
            custom_components.quiet(error.message(session.language()))
    return found


def _filterable() -> dict[str, Option]:
    return {option.key: option for option in SCHEMA.request_options()}


def parse_size(words: str | None) -> tuple[int | None, int | None]:
    """Return "512x288" as numbers; (None, None) where there is none."""
    found = re.fullmatch(r"\s*(\d{1,6})\s*[x×*]\s*(\d{1,6})\s*", words or "")
    return (int(found[1]), int(found[2])) if found else (None, None)


def day_range(days: Sequence[date], zone: tzinfo) -> tuple[datetime | None, datetime | None]:
    """Return the beginning of the first day and the end of the last, of the viewer; one day alone is a beginning."""
    since = datetime.combine(days[0], time.min, zone) if days else None
    until = datetime.combine(days[1], time.max, zone) if len(days) > 1 else None
    return since, until


# -- the fields ------------------------------------------------------------------------------------------------------------


ANY = "*"  # an advanced option whose value is still to be given


def search() -> None:
    """Draw the search over prompts."""
    _field("text", "q", str)
    st.text_input(
        t("history.text"), key="history_text", placeholder=t("history.text_hint"), help=t("history.text_help"),
        icon=":material/search:", label_visibility="collapsed", on_change=_take, args=("text", "q"),
    )  # fmt: skip


def menu(studio: Studio) -> None:
    """Draw the menu with all filters."""
    with st.popover(t("history.more"), icon=":material/tune:", key="more_filters"):
        left, right = st.columns(2)
        with left:
            _choice("model", "model", [model.id for model in studio.catalog.models()], free=True)
            _choice("tag", "tag", studio.history.labels("tag"))
            _number("seed", "seed")
            _number("min_steps", "min_steps")
            _number("min_cfg_scale", "min_cfg", 0.5)
        with right:
            _choice("size", "size", _sizes(studio), free=True)
            _choice("collection", "collection", studio.history.labels("collection"))
            _choice("format", "format", FORMATS)
            _number("max_steps", "max_steps")
            _number("max_cfg_scale", "max_cfg", 0.5)
        _dates()
        _stars()
        _several("unknown", _unknown(), UNKNOWN, lambda name: t(f"sort.{name}"), _take_unknown)
        options = _filterable()
        prefix = history_state.OPTION
        selected = [name.removeprefix(prefix) for name in history_state.active_filters() if name.startswith(prefix)]
        selected = [key for key in selected if key in options]
        _several("options", selected, list(options), lambda key: localized(options[key].label), _take_options)
        for key in selected:
            _option_value(options[key])


def _field(widget: str, name: str, read: Callable[[str], Any], empty: Any = "") -> None:
    """Let a widget show what the address says."""
    value = history_state.history_field(name)
    form_state.give_widget(f"history_{widget}", read(value) if value else empty)


def _take(widget: str, name: str) -> None:
    """Put what a widget says into the address."""
    value = st.session_state[f"history_{widget}"]
    history_state.set_history_fields({name: "" if value is None else str(value).strip()})


def _choice(widget: str, name: str, known: Sequence[str], free: bool = False) -> None:
    """Draw a choice among the known ones, with `free` of any other, too."""
    value = history_state.history_field(name)
    _field(widget, name, str, None)
    st.selectbox(
        t(f"history.{widget}"), [*known, *([value] if value and value not in known else [])], index=None,
        key=f"history_{widget}", placeholder=t("history.any"), accept_new_options=free, on_change=_take, args=(widget, name),
    )  # fmt: skip


def _number(widget: str, name: str, step: float = 1) -> None:
    value = _number_of(name)
    form_state.give_widget(f"history_{widget}", value if value is None or value <= LARGEST_TYPED else None)
    st.number_input(
        t(f"history.{widget}"), min_value=type(step)(0), value=None, step=step, key=f"history_{widget}",
        placeholder=t("history.any"), on_change=_take, args=(widget, name),
    )  # fmt: skip


def _dates() -> None:
    form_state.give_widget("history_dates", _days())
    st.date_input(t("history.dates"), [], key="history_dates", on_change=_take_dates, format="YYYY-MM-DD")


def _take_dates() -> None:
    days = [day.isoformat() for day in st.session_state["history_dates"]]
    since, until = (*days, "", "")[:2]
    history_state.set_history_fields({"since": since, "until": until})


def _stars() -> None:
    form_state.give_widget("history_min_rating", _rating())
    st.select_slider(
        t("history.min_rating"), range(6), key=session.labelled("history_min_rating"), on_change=_take_stars,
        format_func=lambda stars: "★" * stars or t("history.any"),
    )  # fmt: skip


def _take_stars() -> None:
    stars = st.session_state["history_min_rating"]
    history_state.set_history_fields({"rating": str(stars) if stars else ""})


def _several(
    widget: str, selected: Sequence[str], known: Sequence[str], name_of: Callable[[str], str], take: Callable[[], None]
) -> None:
    form_state.give_widget(f"history_{widget}", list(selected))
    st.multiselect(
        t(f"history.{widget}"), known, key=session.labelled(f"history_{widget}"), placeholder=t("history.any"),
        format_func=name_of, on_change=take,
    )  # fmt: skip


def _take_unknown() -> None:
    history_state.set_history_fields({"unknown": ",".join(st.session_state["history_unknown"])})


def _take_options() -> None:
    wanted = {f"{history_state.OPTION}{key}" for key in st.session_state["history_options"]}
    had = {name for name in history_state.active_filters() if name.startswith(history_state.OPTION)}
    history_state.set_history_fields({**dict.fromkeys(had - wanted, ""), **dict.fromkeys(sorted(wanted - had), ANY)})


def _option_value(option: Option) -> None:
    """Draw the field for the value of an advanced option."""
    label, widget = f"{localized(option.label)} =", f"value_{option.key}"
    value = history_state.history_field(f"{history_state.OPTION}{option.key}")
    choices = {"bool": ("true", "false"), "choice": option.choices}.get(option.type)
    if choices:
        form_state.give_widget(f"history_{widget}", value if value in choices else None)
        st.selectbox(
            label, choices, key=f"history_{widget}", index=None, placeholder=t("history.any"), on_change=_take_option,
            args=(option.key,),
        )  # fmt: skip
    else:
        form_state.give_widget(f"history_{widget}", "" if value == ANY else value)
        st.text_input(
            label, key=f"history_{widget}", help=localized(option.allowed), on_change=_take_option, args=(option.key,)
        )


def _take_option(key: str) -> None:
    value = st.session_state[f"history_value_{key}"]
    history_state.set_history_fields({f"{history_state.OPTION}{key}": (value or "").strip() or ANY})


def _sizes(studio: Studio) -> list[str]:
    """Return the sizes of the latest images; any other can be typed."""
    recent = studio.history.search(HistoryQuery(limit=60)).records
    return list(dict.fromkeys(f"{record.width}x{record.height}" for record in recent))


# -- chips -----------------------------------------------------------------------------------------------------------------


def chips() -> None:
    """Draw a chip for each filter that is set, with an x, and "Clear all"."""
    labels = [(name, words) for name, value in history_state.active_filters().items() if (words := _words(name, value))]
    merged = dict(labels)
    if merged.keys() >= {"since", "until"}:
        merged.pop("until")
    custom_components.chips(
        list(merged.items()), t("history.remove_filter"), t("history.clear_all"), key="chips", on_remove=_remove,
        on_clear=history_state.clear_filters,
    )  # fmt: skip


def _remove(name: str) -> None:
    history_state.set_history_fields({"since": "", "until": ""} if name == "since" else {name: ""})


def _words(name: str, value: str) -> str:
    """Return what a chip says; "" for an option that has no value yet."""
    if name == "q":
        return f"“{value}”"
    if name == "show":
        return t(f"place.{value}") if value in SHOWN else value
    if name == "since":
        last = history_state.history_field("until")
        return value if last == value else f"{value} – {last}"
    if name == "until":
        return f"– {value}"
    if name == "rating":
        return f"{t('history.min_rating')}: {'★' * _rating()}"
    if name == "unknown":
        return f"{t('history.unknown')}: {', '.join(t(f'sort.{one}') for one in _unknown())}"
    if name.startswith(history_state.OPTION):
        option = _filterable().get(name.removeprefix(history_state.OPTION))
        return "" if value == ANY or option is None else f"{localized(option.label)}: {value}"
    label = {"min_cfg": "min_cfg_scale", "max_cfg": "max_cfg_scale"}.get(name, name)
    return f"{t(f'history.{label}')}: {value}"


MOST_COLUMNS = 92  # a longer time is drawn by week, or by month
WEEKS = 731  # days
MOST_ROWS = 10  # of a group; the rest is one row


def render_statistics(studio: Studio, query: HistoryQuery) -> None:
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
