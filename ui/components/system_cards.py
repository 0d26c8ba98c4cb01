"""Show the cards of the System page: faults with their cures, charts of the last hour, workers of a cluster, users."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import streamlit as st

from core.errors import NotFoundError
from core.studio import Studio
from core.studio.diagnostics import Issue
from core.studio.hardware import GpuSample, Sample
from core.types import USER_CLIENT, ClusterNode, ClusterWorker, HistoryQuery, ImageRecord, Usage, WorkerStatus
from ui import formats
from ui.actions import generate as generate_actions
from ui.actions import studio_calls
from ui.components import custom_components, error_card
from ui.formats import title
from ui.i18n import t
from ui.state import session

CHART_SECONDS = 10.0  # as often as samples are taken
HOUR = timedelta(hours=1)
WINDOW = timedelta(minutes=10)  # over which images are counted
MOST_IMAGES = 500  # of the last hour that are looked at
GB = 1e9

Point = tuple[float, float]  # seconds ago, value


def charts(studio: Studio) -> None:
    """Show all charts that this machine has values for."""
    now = datetime.now(UTC)
    samples = studio.gauges.samples()
    records = studio.history.search(HistoryQuery(since=now - HOUR, limit=MOST_IMAGES)).records
    shown = [_memory(samples, now), *_gpu(samples, now), _step_time(records, now), _pace(records, now)]
    custom_components.charts(shown, t("charts.ago"), t("charts.none"), key="charts")


def _memory(samples: Sequence[Sample], now: datetime) -> dict[str, Any]:
    points = [(_ago(one.at, now), one.memory_used / GB) for one in samples]
    whole = samples[-1].memory_total if samples else 0
    words = t("cost.of", peak=_gb(points), total=formats.size_of(whole)) if samples else "–"
    return _chart("ram", "GB", points, words, whole / GB or None)


def _gpu(samples: Sequence[Sample], now: datetime) -> list[dict[str, Any]]:
    """Memory, load and temperature of the first GPU; nothing without one."""

    def points(value: Callable[[GpuSample], float | None]) -> list[Point]:
        return [(_ago(one.at, now), measured) for one in samples if one.gpus and (measured := value(one.gpus[0])) is not None]

    memory = points(lambda gpu: gpu.memory_used and gpu.memory_used / GB)
    load, heat = points(lambda gpu: gpu.load), points(lambda gpu: gpu.temperature)
    whole = samples[-1].gpus[0].memory_total if samples and samples[-1].gpus else None
    found = []
    if memory:
        words = t("cost.of", peak=_gb(memory), total=formats.size_of(whole))
        found.append(_chart("vram", "GB", memory, words, (whole or 0) / GB or None))
    if load:
        found.append(_chart("load", "%", load, f"{load[-1][1]:.0f} %", 100.0))
    if heat:
        found.append(_chart("temperature", "°C", heat, f"{heat[-1][1]:.0f} °C", 100.0))
    return found


def _step_time(records: Sequence[ImageRecord], now: datetime) -> dict[str, Any]:
    """Return seconds per denoising step of each image, oldest first."""
    timed = [one for one in reversed(records) if one.timings.get("steps") and one.request.num_inference_steps]
    points = [(_ago(one.created_at, now), one.timings["steps"] / one.request.num_inference_steps) for one in timed]
    return _chart("step", "s", points, formats.seconds(points[-1][1]) if points else "–")


def _pace(records: Sequence[ImageRecord], now: datetime) -> dict[str, Any]:
    """Return images per hour at each minute, counted over the minutes before it."""
    made = [one.created_at for one in records if one.timings]
    points = []
    for minute in range(60, -1, -1):
        end = now - timedelta(minutes=minute)
        count = sum(end - WINDOW < moment <= end for moment in made)
        points.append((60.0 * minute, count * (HOUR / WINDOW)))
    words = t("charts.images", count=sum(now - HOUR < moment for moment in made))
    return _chart("pace", t("charts.per_hour"), points if made else [], words)


def _chart(name: str, unit: str, points: Sequence[Point], now: str, most: float | None = None) -> dict[str, Any]:
    return {"name": t(f"charts.{name}"), "unit": unit, "points": [list(one) for one in points], "now": now, "most": most}


def _ago(moment: datetime, now: datetime) -> float:
    return round(max(0.0, (now - moment).total_seconds()), 1)


def _gb(points: Sequence[Point]) -> str:
    return formats.size_of(int(points[-1][1] * GB))


def issues(studio: Studio) -> None:
    """Show a card for each fault; one line when there is none."""
    found = studio.system.faults()
    if not found:
        st.success(t("fault.none"), icon=":material/health_and_safety:")
        return
    for fault in found:
        _issue(studio, fault)


def _issue(studio: Studio, fault: Issue) -> None:
    with st.container(border=True, key=f"fault_{fault.kind}"):
        words = t(f"fault.{fault.kind}_text", **fault.found)
        if fault.error is not None:
            words = f"{words} {fault.error.message(session.language())}"
        error_card.block(t(f"fault.{fault.kind}"), words)
        cure = ", ".join(f"{key.removeprefix('generation.')} = {formats.plain(v)}" for key, v in fault.cure.items())
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                t("error.cure" if fault.request else "fault.set", what=cure),
                key=f"cure_{fault.kind}",
                type="primary",
                icon=":material/healing:",
                on_click=generate_actions.cure,
                args=(studio, fault),
            )


def users(studio: Studio) -> None:
    """Show the card of users; nothing where there are no users."""
    viewer, usage = studio.viewer, studio.usage
    if not viewer.private:
        return
    with st.container(border=True, key="users_card"):
        st.subheader(t("users.title") if viewer.admin else t("users.own"))
        if viewer.admin:
            st.caption(t("users.counts_only"))
            shown = {unquote(name.removeprefix(USER_CLIENT)): use for name, use in usage.all().items()}
            st.table([{t("users.name"): name, **_usage(use)} for name, use in shown.items()] or [{t("users.name"): "–"}])
        else:
            st.table([_usage(usage.own(), usage.quota.images_per_hour, usage.quota.megapixels_per_hour, usage.quota.disk_mb)])


def _usage(use: Usage, images: int = 0, megapixels: int = 0, disk_mb: int = 0) -> dict[str, str]:
    return {
        t("users.images"): str(use.images),
        t("users.disk"): _used_of(formats.size_of(use.disk_bytes), formats.size_of(disk_mb * 1_000_000) if disk_mb else ""),
        t("users.last_hour"): _used_of(str(use.images_last_hour), str(images) if images else ""),
        t("users.megapixels"): _used_of(f"{use.megapixels_last_hour:g}", str(megapixels) if megapixels else ""),
    }


def _used_of(used: str, allowed: str) -> str:
    return f"{used} / {allowed}" if allowed else used


SHOWN_WORKERS = 64  # workers of a machine: each has a row and a button


def workers(studio: Studio, status: WorkerStatus) -> None:
    """Show nothing when the worker is a local process."""
    if not status.nodes:
        return
    an_hour = sum(worker.images_hour for worker in status.workers)
    st.subheader(f"{t('workers.title')} · {len(status.workers)}")
    custom_components.quiet(t("workers.sum", machines=len(status.nodes), images=an_hour))
    for node in status.nodes:
        own = [worker for worker in status.workers if worker.node == node.name]
        with st.container(border=True, key=f"node_{node.id[:12]}"):
            _head(studio, node, len(own))
            for worker in own[:SHOWN_WORKERS]:
                _row(studio, worker)
            if not own:
                st.caption(t("workers.none"))


def _head(studio: Studio, node: ClusterNode, count: int) -> None:
    gpus = t("workers.gpus", count=node.gpus) if node.gpus else t("workers.no_gpu")
    facts = t("workers.machine", cores=node.cpus, gpus=gpus)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.html(
            f'<section class="zd-worker"><b>{html.escape(node.name)}</b><small>{html.escape(facts)}</small></section>'
        )
        st.button(
            t("workers.add"),
            key=f"add_{node.id}",
            icon=":material/add:",
            help=t("workers.add_full") if node.gpus else t("workers.add_help"),
            disabled=not session.is_admin() or (bool(node.gpus) and count >= node.gpus),
            on_click=studio_calls.ask,
            args=(studio.worker.add_worker, node.id),
        )


def _row(studio: Studio, worker: ClusterWorker) -> None:
    """Show a worker, all of it as text: names of machines, models and prompts come from outside."""
    facts = [worker.gpu or (worker.device or "").upper(), worker.model or t("workers.no_model")]
    if worker.memory_total:
        free, total = formats.size_of(worker.memory_free), formats.size_of(worker.memory_total)
        facts.append(t("workers.memory", own=formats.size_of(worker.memory_own), free=free, total=total))
    facts.append(t("workers.pace", images=worker.images_hour))
    shown = html.escape(" · ".join(fact for fact in facts if fact))
    doing = t(f"worker.{worker.state}")
    if worker.job:
        doing = t("workers.doing", state=doing, what=_title(studio, worker.job))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.html(
            f'<section class="zd-worker"><span><i class="{worker.state}"></i>{html.escape(doing)}</span>'
            f"<small>{html.escape(worker.id)} · {shown}</small></section>"
        )
        st.button(
            t("workers.drain"),
            key=f"drain_{worker.id}",
            icon=":material/logout:",
            type="tertiary",
            help=t("workers.drain_help"),
            disabled=not session.is_admin() or worker.state == "draining",
            on_click=studio_calls.ask,
            args=(studio.worker.drain_worker, worker.id),
        )


def _title(studio: Studio, job_id: str) -> str:
    try:
        return title(studio.queue.get(job_id).request, 60)
    except NotFoundError:
        return job_id
