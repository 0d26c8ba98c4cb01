"""What the worker's process is told of threads and of the GPU's memory before torch starts."""

from __future__ import annotations

import time

import pytest

from core.config.options import SCHEMA
from core.jobs.worker_process import ALLOCATOR_VARIABLE, allocator_settings
from core.studio.bootstrap import build_studio
from tests.options import measured


def settings(given: str = "", platform: str = "linux", **changed: object) -> str:
    return allocator_settings({**SCHEMA.defaults(), **changed}, given, platform)


@pytest.mark.option("memory.max_split_size_mb", "memory.expandable_segments")
def test_the_allocators_line() -> None:
    assert settings() == "expandable_segments:True"
    assert settings(platform="win32") == ""
    assert settings(**{"memory.expandable_segments": "off"}) == ""
    both = settings(platform="win32", **{"memory.expandable_segments": "on", "memory.max_split_size_mb": 128})
    assert both == "expandable_segments:True,max_split_size_mb:128"
    assert settings("backend:cudaMallocAsync", **{"memory.max_split_size_mb": 128}) == "backend:cudaMallocAsync"


@pytest.mark.option("memory.max_split_size_mb", "memory.expandable_segments")
def test_it_is_in_the_workers_environment_and_in_its_report(make_settings, monkeypatch) -> None:
    monkeypatch.setattr("core.studio.bootstrap.WorkerSupervisor", _with_fake_generator)
    monkeypatch.delenv(ALLOCATOR_VARIABLE, raising=False)
    studio = build_studio(make_settings(**{"memory.max_split_size_mb": 256}))
    studio.start()
    try:
        deadline = time.monotonic() + 60
        while studio.worker.status().state in ("stopped", "starting") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert "max_split_size_mb:256" in studio.worker.status().allocator
    finally:
        studio.stop()
    measured("memory.max_split_size_mb", "in the worker's environment before torch is imported, and in its own report")
    measured(
        "memory.expandable_segments", "in the worker's environment before torch is imported, and in its own report"
    )


def _with_fake_generator(settings, database, worker_module):
    from core.jobs.supervisor import WorkerSupervisor

    return WorkerSupervisor(settings, database, "tests.integration.jobs.fake_generator:build_generator", worker_module)
