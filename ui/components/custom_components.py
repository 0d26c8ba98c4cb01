"""Define small elements that Streamlit lacks: an image by URL that changes without flicker, facts that copy, galleries.

Their data is set as text and attributes by the scripts in ui/assets, never as HTML: a prompt can't become markup.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from core.config.boxes import MOST as MOST_BOXES
from core.config.boxes import SMALLEST as SMALLEST_BOX
from core.config.boxes import Box
from core.server.listing import items, write_query
from core.types import HistoryPage, HistoryQuery, ImageRecord, ImageSelection, Job, JobState
from ui import progress_poll as ui_pulse
from ui.formats import title
from ui.i18n import t
from ui.state import generate_page as draft_state
from ui.state import session

ASSETS = Path(__file__).parents[1] / "assets"


def _component(name: str, frame: str, *, keeps: bool = False) -> Callable:
    """Declare a component of ui/assets; one that `keeps` something in the browser has `storage.js` before its script."""
    scripts = ("storage", name) if keeps else (name,)
    script = "\n".join((ASSETS / f"{one}.js").read_text(encoding="utf-8") for one in scripts)
    style = (ASSETS / f"{name}.css").read_text(encoding="utf-8")
    return st.components.v2.component(f"darkroom_{name}", html=frame, css=style, js=script)


_image = _component("image", '<div class="frame empty"><a target="_blank" rel="noopener"><img alt=""></a></div>')
_viewer = _component(
    "viewer",
    '<div class="viewer empty"><div class="view" tabindex="0" role="img"><img alt="" draggable="false"></div>'
    '<div class="bar" role="toolbar"><button data-do="fit"></button><button data-do="actual"></button>'
    '<button data-do="out">−</button><button data-do="in">+</button></div></div>',
)
_session = _component("session", '<div class="session" role="group"></div>')
_batch = _component("batch", '<div class="batch" role="group"></div>')
_draft = _component("draft", "<i></i>", keeps=True)
_live = _component("live", '<figure class="live" hidden><img><figcaption role="status"></figcaption><button>✕</button></figure>')
_skip = _component("skip", "<i></i>")
_pulse = _component(
    "pulse",
    '<div class="pulse"><div class="words"></div>'
    '<div class="bar"><i></i></div></div>',
)
_frame = _component("frame", "<i></i>", keeps=True)
_signals = _component(
    "signals",
    '<div class="signals"><label><input type="checkbox"><span></span></label>'
    '<label><input type="checkbox"><span></span></label><p role="alert"></p></div>',
    keeps=True,
)
_charts = _component("charts", '<div class="charts"></div>')
_words = _component(
    "words",
    '<div class="job"><img alt="" decoding="async"><div><p class="line"></p>'
    '<div class="bar"><i></i></div></div></div>',
)
_facts = _component("facts", '<div class="facts"></div>')
_gallery = _component("gallery", '<div class="gallery" role="group"></div>')
_zoom = _component(
    "zoom",
    '<div class="zoom" tabindex="0" role="img"><img alt=""></div>'
    '<dialog><div class="full" tabindex="0" role="img"><img alt=""></div><div class="bar" role="toolbar">'
    '<button data-do="before">‹</button><button data-do="after">›</button><button data-do="out">−</button>'
    '<button data-do="in">+</button><button data-do="actual">1:1</button><button data-do="close">✕</button></div></dialog>',
)
_places = _component("places", '<nav class="places"></nav>')
_chips = _component("chips", '<div class="chips" role="group"></div>')
_keys = _component("keys", '<div class="keys"></div>')
_undo = _component(
    "undo", '<div class="undo" role="status" hidden><span></span><button class="act"></button><button class="x">✕</button></div>'
)
_statistics = _component("statistics", '<div class="statistics"></div>')
_slider = _component(
    "slider", '<div class="slider"><img alt=""><img alt="" class="over"><input type="range"><i>1</i><i>2</i></div>'
)
_pair = _component("pair", '<div class="pair" role="group" tabindex="0"></div>')
_paste = _component("paste", '<div class="paste"><span></span><p role="alert"></p></div>')
_mask_editor = _component(
    "mask_editor",
    '<div class="editor"><div class="tools" role="toolbar"><button></button><button></button><button></button>'
    '<input type="range" min="2" max="50" value="14"><button></button><button></button><button></button></div>'
    '<div class="surface"><img alt=""><canvas></canvas><div class="frames"></div></div><p role="status"></p></div>',
)
_grid = _component("grid", '<div class="grid" role="group"><div class="space"></div></div>')


def quiet(words: str) -> None:
    """Show a small line of plain text, without Markdown, as it may come from a file or a library."""
    st.html(f'<p class="zd-quiet">{html.escape(words)}</p>')


def image(src: str, alt: str, size: tuple[int, int], *, key: str) -> None:
    """Show an image as large as fits."""
    data = {"src": src, "alt": alt, "width": size[0], "height": size[1], "forming": False, "job": ""}
    _image(key=key, data=data)


def viewer(src: str, alt: str, size: tuple[int, int], words: Mapping[str, str], *, key: str, forming: str = "") -> None:
    """Show an image that can be zoomed and moved; `forming` is the job of which it is a preview."""
    data = {"src": src, "alt": alt, "width": size[0], "height": size[1], "forming": bool(forming), "job": forming}
    _viewer(key=key, data={**data, "words": dict(words)})


def session_view(
    jobs: Sequence[Job], records: Sequence[ImageRecord], label: str, selected: str | None,
    *, key: str, on_pick: Callable[[str], None], on_job: Callable[[str], None],
) -> None:  # fmt: skip
    """Show jobs that have not ended with their progress, then images; new images of these jobs are added by themselves."""
    running = [
        {"id": job.id, "alt": job.request.prompt, "queued": job.state is JobState.QUEUED, **ui_pulse.shown(job)}
        for job in jobs
    ]
    images = [{"id": one.id, "src": thumbnail_url(one.id), "alt": one.request.prompt} for one in records]
    data = {"jobs": running, "items": images, "label": label, "selected": selected or ""}
    _session(
        key=key, data=data, on_picked_change=_on_trigger(key, "picked", on_pick), on_job_change=_on_trigger(key, "job", on_job)
    )


def batch(job: Job, total: int, label: str, selected: str | None, *, key: str, on_pick: Callable[[str], None]) -> None:
    """Show a place for each image of a job; the grid fills by itself while the job runs."""
    data = {"job": job.id, "images": list(job.image_ids), "total": total, "label": label, "alt": job.request.prompt}
    _batch(key=key, data={**data, "selected": selected or ""}, on_picked_change=_on_trigger(key, "picked", on_pick))


def draft(
    name: str, values: Mapping[str, Any], texts: Mapping[str, str],
    *, form: str, prefix: str = "", fresh: bool = True, fills: int = 0,
    on_restored: Callable[[Mapping[str, Any]], None], on_typed: Callable[[Mapping[str, Any]], None],
) -> None:  # fmt: skip
    """Keep a page's form in the browser's storage under `name`, and give it back once in a session.

    `form` is the CSS selector of the form, `texts` those of what holds its text fields, by key. The session
    key of any other field is its key in `values` after `prefix`. `on_restored` gets the form that
    the browser had kept, unless the program knows a newer one already (not `fresh`), `on_typed` words that were typed and did not
    arrive. `fills` changes when the page's program changes a text field.
    """

    def restored(kept: Mapping[str, Any]) -> None:
        if not draft_state.draft_asked(name):  # the browser asks again where it hears nothing
            draft_state.set_draft_asked(name)
            on_restored(kept)

    key = f"draft_{name}"
    data = {
        "name": name,
        "values": dict(values),
        "texts": dict(texts),
        "form": form,
        "prefix": prefix,
        "session": draft_state.draft_session(),
        "fresh": fresh and not draft_state.draft_asked(name),
        "fills": fills,
    }
    _draft(
        key=key, data=data,
        on_restored_change=_on_trigger(key, "restored", restored), on_typed_change=_on_trigger(key, "typed", on_typed),
    )  # fmt: skip


def live(
    order: Mapping[str, Any], fields: Sequence[Mapping[str, Any]], words: Mapping[str, str], language: str,
    *, form: str, job: str, released: str, key: str, on_release: Callable[[Mapping[str, Any]], None],
) -> None:  # fmt: skip
    """Show drafts of `order`, a body of /api/v1/drafts, while one of `fields` is moved in the form (a CSS selector).

    A field has a name, an option's key, the selector of its widget and its value; one that is an entry of a list its index
    and the texts around the number. `released` is the job of the last release, `job` the same while it is active, which the next
    move cancels. `on_release` gets what was moved, by key.
    """
    data = {"order": dict(order), "fields": [dict(field) for field in fields], "words": dict(words), "language": language}
    data |= {"form": form, "job": job, "released": released}
    _live(key=key, data=data, on_released_change=_on_trigger(key, "released", on_release))


def skip_link(label: str, field: str) -> None:
    """Give the keyboard a first stop that leads to the field with this CSS selector."""
    _skip(key="skip", data={"label": label, "field": field})


def _on_trigger(key: str, name: str, act: Callable[[Any], None]) -> Callable[[], None]:
    """Return the callback of a component's trigger that calls `act` with its value."""

    def on_change() -> None:
        value = st.session_state[key].get(name)
        if value is not None:
            act(value)

    return on_change


def pulse(mark: str, seconds: float, *, key: str, job: Job | None = None, images: bool = False) -> None:
    """Poll the progress of active jobs this often, and rerun the fragment once `mark` is old.

    With a job it is that job's progress bar, else nothing to be seen. `images`: the fragment is rerun with each of its images, too.
    """
    shown = {"job": job.id, **ui_pulse.shown(job)} if job else {"job": ""}
    mark = f"{mark}.{shown['image']}" if job and images and job.state is not JobState.QUEUED else mark
    _pulse(
        key=key,
        data={"url": ui_pulse.address(), "mark": mark, "seconds": seconds, "by_image": images, **shown},
        on_changed_change=_drawn_again,
    )


def frame(title: str, app: str, words: Mapping[str, str], *, queue: str) -> None:
    """Keep the window's title, the number of jobs beside the page `queue` in the navigation, and the end of the queue's signal.

    `words`: "done" of the notification, "count" of the number, with # for it.
    """
    data = {"title": title, "app": app, "words": dict(words), "queue": queue, "language": session.language()}
    _frame(key="frame", data={**data, "url": ui_pulse.address()})


def charts(shown: Sequence[Mapping[str, Any]], ago: str, none: str, *, key: str) -> None:
    """Show line charts of the last hour: each with name, unit, points (seconds ago, value), its text and the maximum or None.

    `ago` stands at the time axis, `none` where a chart has no line yet.
    """
    _charts(key=key, data={"charts": [dict(one) for one in shown], "ago": ago, "none": none})


def signals(sound: str, notify: str, denied: str, *, key: str) -> None:
    """Show two switches of this browser: sound and notification at the end of the queue; `denied` when the browser refuses."""
    _signals(key=key, data={"sound": sound, "notify": notify, "denied": denied})


def _drawn_again() -> None:
    """That there is someone to tell is what makes Streamlit run the fragment."""


def job_words(job: Job, *, key: str) -> None:
    """Show a job in work: its preview, where it is, its bar; kept up to date while there is a `pulse` on the page."""
    data = {"job": job.id, "title": t("job.progress", prompt=title(job.request, 80)), **ui_pulse.shown(job)}
    if job.image_ids:
        data["last"] = thumbnail_url(job.image_ids[-1])
    _words(key=key, data=data)


def facts(rows: Sequence[tuple[str, str, str]], hint: str, done: str, *, key: str) -> None:
    """Show (label, value, text to copy) in one line; `done` is shown after a copy."""
    _facts(key=key, data={"facts": [list(row) for row in rows], "hint": hint, "done": done})


def gallery(
    records: Sequence[ImageRecord],
    label: str,
    on_pick: Callable[[str], None],
    *,
    key: str,
    layout: str = "grid",
    selected: str | None = None,
) -> None:
    """Show thumbnails; `on_pick` gets the id of the selected one."""
    items = [{"id": record.id, "src": thumbnail_url(record.id), "alt": record.request.prompt} for record in records]

    def picked() -> None:
        image_id = st.session_state[key].get("picked")
        if image_id:
            on_pick(image_id)

    _gallery(
        key=key,
        data={"items": items, "label": label, "layout": layout, "selected": selected},
        on_picked_change=picked,
    )


def grid(
    query: HistoryQuery,
    page: HistoryPage,
    label: str,
    *,
    key: str,
    version: int,
    selection: tuple[int, ImageSelection],
    opened: str | None,
    tile: int,
    on_pick: Callable[[str], None],
    on_select: Callable[[list[str]], None],
) -> None:
    """Show all that `query` finds, as a gallery in which only the visible tiles exist; `page` is its beginning.

    `version` changes when what was found may look different; `selection` is (a number that changes when the page, and not
    the viewer, changed what is selected; what is selected). `on_select` gets the selected ids, or the exceptions while all are.
    `tile` is the least width of a tile in pixels.
    """
    selected = selection[1]
    everything = isinstance(selected, HistoryQuery)

    _grid(
        key=key,
        data={
            "query": write_query(query),
            "version": version,
            "total": page.total,
            "items": items(page),
            "label": label,
            "selection": selection[0],
            "all": everything,
            "marked": list(selected.without if isinstance(selected, HistoryQuery) else selected),
            "open": opened,
            "tile": tile,
        },
        on_picked_change=_on_trigger(key, "picked", on_pick),
        on_chosen_change=_on_trigger(key, "chosen", on_select),
    )


def zoom(record: ImageRecord, words: Mapping[str, str], *, key: str, on_step: Callable[[int], None]) -> None:
    """Show an image that can be zoomed, moved, and opened over the whole window; arrows call `on_step` with -1 or 1."""
    shown = {"id": record.id, "src": image_url(record.id), "alt": record.request.prompt, "ratio": record.width / record.height}
    size = {"width": record.width, "height": record.height}
    on_step_change = _on_trigger(key, "step", lambda step: on_step(int(step)))
    _zoom(key=key, data={**shown, **size, "words": dict(words)}, on_step_change=on_step_change)


def places(
    sections: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], words: Mapping[str, str], *, key: str,
    on_pick: Callable[[str], None],
) -> None:  # fmt: skip
    """Show places to go to, in sections with a title; each has an id, a label, a count, an icon and whether it is open.

    `on_pick` gets the id. One tab stop; arrows move.
    """
    data = {"sections": [{"title": title, "items": list(items)} for title, items in sections], "words": dict(words)}
    _places(key=key, data=data, on_picked_change=_on_trigger(key, "picked", on_pick))


def chips(
    labels: Sequence[tuple[str, str]], remove: str, clear: str,
    *, key: str, on_remove: Callable[[str], None], on_clear: Callable[[], None],
) -> None:  # fmt: skip
    """Show a chip for each (id, label) with an x, and, after them, a button that removes all. `remove` names the x."""
    _chips(
        key=key,
        data={"chips": [list(one) for one in labels], "remove": remove, "clear": clear},
        on_removed_change=_on_trigger(key, "removed", on_remove),
        on_cleared_change=_on_trigger(key, "cleared", lambda _: on_clear()),
    )


def keys(*, key: str, on_key: Callable[[Mapping[str, Any]], None]) -> None:
    """Hear the keys of the History page wherever nothing is typed.

    `on_key` gets `act` (escape, trash, rate, favourite, all), `value` (stars), `id` (of the tile with the focus, or "") and
    `open` (whether the key was pressed in the open image).
    """
    _keys(key=key, data={}, on_key_change=_on_trigger(key, "key", on_key))


def undo(number: int, words: str, label: str, close: str, *, key: str, on_undo: Callable[[], None]) -> None:
    """Show for some seconds what was done, with a button that undoes it; a higher `number` is another action."""
    data = {"number": number, "words": words, "label": label, "close": close}
    _undo(key=key, data=data, on_undone_change=_on_trigger(key, "undone", lambda _: on_undo()))


def statistics(
    days: Sequence[Mapping[str, Any]], groups: Sequence[Mapping[str, Any]], words: Mapping[str, str],
    *, key: str, on_pick: Callable[[str], None],
) -> None:  # fmt: skip
    """Show columns of images and a line of seconds by day, and bars by group; `on_pick` gets the id of what is clicked."""
    data = {"days": list(days), "groups": list(groups), "words": dict(words)}
    _statistics(key=key, data=data, on_picked_change=_on_trigger(key, "picked", on_pick))


def paste(label: str, language: str, *, key: str, on_kept: Callable[[str], None]) -> None:
    """Take an image that is pasted on the page or dropped here; `on_kept` gets the digest under which it is stored."""

    def kept() -> None:
        digest = st.session_state[key].get("kept")
        if digest:
            on_kept(str(digest))

    _paste(key=key, data={"label": label, "language": language}, on_kept_change=kept)


def mask_editor(
    image: str, mask: str, boxes: Sequence[Box], size: tuple[int, int], words: Mapping[str, str], language: str,
    *, key: str, on_mask: Callable[[str], None], on_boxes: Callable[[tuple[Box, ...]], None],
) -> None:  # fmt: skip
    """Show an input image, by digest, on which a mask is painted or boxes are drawn, in pixels of its `size`.

    `on_mask` gets the digest of the new mask, "" for none; `on_boxes` all boxes after one was drawn or removed.
    """

    def drawn(given: Sequence[Sequence[int]]) -> None:
        on_boxes(tuple(Box(left, top, left + width, top + height) for left, top, width, height in given))

    data = {
        "src": input_url(image),
        "mask": input_url(mask) if mask else "",
        "boxes": [[box.left, box.top, box.width, box.height] for box in boxes],
        "smallest": SMALLEST_BOX,
        "most": MOST_BOXES,
        "width": size[0],
        "height": size[1],
        "alt": words["tools"],
        "words": dict(words),
        "language": language,
    }
    _mask_editor(
        key=key, data=data, on_mask_change=_on_trigger(key, "mask", lambda digest: on_mask(str(digest))),
        on_boxes_change=_on_trigger(key, "boxes", drawn),
    )  # fmt: skip


def slider(images: Sequence[tuple[str, str]], ratio: float, label: str, *, key: str) -> None:
    """Show two images, each an address and its alternative text, on one another with a movable divider.

    One of another `ratio` (width / height) is cropped from the centre, as a source image is.
    """
    shown = [{"src": src, "alt": alt} for src, alt in images]
    _slider(key=key, data={"images": shown, "label": label, "ratio": ratio})


def pair(images: Sequence[tuple[str, str]], label: str, *, key: str) -> None:
    """Show two images side by side, each an address and its alternative text; a new pair takes the focus."""
    _pair(key=key, data={"images": [{"src": src, "alt": alt} for src, alt in images], "label": label})


def difference_url(one: str, other: str) -> str:
    """Return the URL of the difference map of two images."""
    return f"/api/differences/{one}/{other}"


def image_url(image_id: str) -> str:
    """Return the URL of a stored image."""
    return f"/api/images/{image_id}"


def input_url(digest: str) -> str:
    """Return the URL of an input image."""
    return f"/api/inputs/{digest}"


def thumbnail_url(image_id: str) -> str:
    """Return the URL of an image's thumbnail."""
    return f"/api/thumbnails/{image_id}"
