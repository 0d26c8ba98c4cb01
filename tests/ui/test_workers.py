"""The workers of a cluster on the System page: seen, added, drained."""

from __future__ import annotations

from dataclasses import replace

from core.types import ClusterNode, ClusterWorker, JobState, Phase, Progress
from tests.ui.conftest import all_text
from ui.formats import sentence
from ui.state import session

GIGA = 10**9
NODES = (
    ClusterNode("n1", "studio", 8, 0),
    ClusterNode("n2", "<b>tower</b>", 16, 2),
)


def with_cluster(studio, monkeypatch, *workers):
    status = replace(studio.worker.status(), nodes=NODES, workers=workers)
    monkeypatch.setattr(studio.worker, "status", lambda: status)


def test_each_machine_and_worker_is_shown_as_text(studio, open_page, monkeypatch):
    job = studio.queue.submit(studio.requests.new({"prompt": "a red house"}))
    with_cluster(
        studio,
        monkeypatch,
        ClusterWorker("tower:1", NODES[1].name, "busy", 7, "cuda", "NVIDIA H100", 80 * GIGA, 60 * GIGA, 20 * GIGA, "demo",
                      job.id, 41),
        ClusterWorker("tower:2", NODES[1].name, "draining", 8, "cuda", "NVIDIA H100", 80 * GIGA, 80 * GIGA, 0, None, None, 1),
    )  # fmt: skip
    page = open_page("system")
    assert "Workers · 2" in all_text(page)
    rows = "".join(element.proto.body for element in page.get("html"))
    for words in (
        "generating: a red house",
        "NVIDIA H100 · demo · uses 20.0 GB, 60.0 GB of 80.0 GB free · images in the last hour: 41",
        "finishing its image",
        "&lt;b&gt;tower&lt;/b&gt;",
        "16 cores · 2 GPUs<",
        "8 cores · no GPU<",
        "Machines: 2 · images in the last hour: 42",
    ):
        assert words in rows, words
    assert page.button(key="add_n2").disabled and not page.button(key="add_n1").disabled
    assert page.button(key="drain_tower:2").disabled


def test_a_worker_is_added_and_one_is_drained(studio, open_page, monkeypatch):
    with_cluster(studio, monkeypatch, ClusterWorker("studio:1", "studio", "idle"))
    page = open_page("system")
    page.button(key="add_n1").click().run()
    page.button(key="drain_studio:1").click().run()
    assert studio.worker.wishes == ["add n1", "drain studio:1"]


def test_with_a_local_worker_there_is_no_such_section(studio, open_page):
    page = open_page("system")
    assert "Workers ·" not in all_text(page) and not [b for b in page.button if str(b.key).startswith("add_")]


def test_where_images_and_history_are_is_said_when_they_are_elsewhere(studio, open_page, monkeypatch):
    def rows():
        return "".join(element.proto.body for element in open_page("system").get("html")).split("Free disk space")[0]

    assert "<dt>Images</dt>" not in rows() and "<dt>History</dt>" not in rows()
    places = {"storage.images": "s3://bucket/studio", "storage.database": "postgresql://studio@db/studio"}
    monkeypatch.setattr(studio, "settings", replace(studio.settings, values={**studio.settings.values, **places}))
    assert "<dt>Images</dt><dd>s3://bucket/studio</dd>" in rows()
    assert "<dt>History</dt><dd>postgresql://studio@db/studio</dd>" in rows()


def test_a_job_on_several_workers_says_on_how_many(studio):
    job = studio.queue.submit(studio.requests.new({"prompt": "a red house"}))
    generated = replace(job, state=JobState.RUNNING, progress=Progress(Phase.STEPS, 3, 8, 2, 12, workers=2))
    for language, words in (("en", "image 2 of 12 · on 2 workers"), ("zh", "第 2 / 12 张 · 2 个工作进程同时生成")):
        with session.speaking(language):
            assert words in sentence(generated)
            alone = sentence(replace(generated, progress=replace(generated.progress, workers=1)))
            assert "worker" not in alone and "工作进程" not in alone
