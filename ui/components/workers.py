"""Show the machines and workers of a Ray cluster, what each is doing, and buttons to add or drain one."""

from __future__ import annotations

import html

import streamlit as st

from core.errors import NotFoundError
from core.studio import Studio
from core.types import ClusterNode, ClusterWorker, WorkerStatus
from ui import formats
from ui.actions import studio_calls
from ui.components import custom_components
from ui.i18n import t
from ui.job_words import title
from ui.state import session

SHOWN = 64  # workers of a machine: each has a row and a button


def draw(studio: Studio, status: WorkerStatus) -> None:
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
            for worker in own[:SHOWN]:
                _row(studio, worker)
            if not own:
                st.caption(t("workers.none"))


def _head(studio: Studio, node: ClusterNode, workers: int) -> None:
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
            disabled=not session.is_admin() or (bool(node.gpus) and workers >= node.gpus),
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
