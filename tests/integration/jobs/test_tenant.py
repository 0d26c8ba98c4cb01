"""A polite worker, with planted readings: it pauses within a step, gives the memory back, and continues with the same pixels."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from datetime import time as clock_time
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from core.errors import OptionError
from core.jobs import tenant
from core.jobs.generator_protocol import EXIT_IDLE
from core.jobs.tenant import HELD, MEGABYTE, Reading, Tenant, is_within, read_gpu, read_hours, read_memory
from core.jobs.worker import Worker
from core.jobs.worker_process import WorkerConfig
from core.types import JobState, Phase
from tests.integration.jobs.fake_generator import FakeGenerator
from tests.integration.jobs.harness import JobHarness, make_settings


class Planted:
    """A tenant whose readings and clock are the test's; each look is a new one."""

    def __init__(self, folder: Path, **values: Any) -> None:
        self.reading, self.now = Reading(8000 * MEGABYTE, 2000 * MEGABYTE, 50.0, 100.0), datetime(2026, 1, 5, 12)
        self.given_back = False
        self.settings = make_settings(folder, **values)
        self.tenant = self.made(folder)

    def made(self, folder: Path) -> Tenant:
        return Tenant(self.settings.values, folder, lambda: self.given_back, lambda: self.reading, lambda: self.now)

    def why(self) -> str:
        self.tenant._told = (-1.0, None)
        return (self.tenant.reason() or {"en": ""})["en"]


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[JobHarness]:
    harness = JobHarness(tmp_path)
    yield harness
    harness.database.close()


@pytest.mark.option("gpu.share")
@pytest.mark.option("gpu.keep_free_mb")
def test_a_crowded_device_is_left_until_there_is_room_for_what_was_given_back(tmp_path: Path) -> None:
    planted = Planted(tmp_path, **{"gpu.share": True, "gpu.keep_free_mb": 512})
    assert planted.why() == "" and not (tmp_path / HELD).exists()
    planted.reading = Reading(500 * MEGABYTE, 2000 * MEGABYTE)
    assert "500 MB free, 512 MB needed" in planted.why()
    planted.tenant = planted.made(tmp_path)
    planted.reading = Reading(2500 * MEGABYTE)
    assert "2500 MB free, 2512 MB needed" in planted.why(), "the new process knows what the one before gave back"
    planted.reading = Reading(2600 * MEGABYTE)
    assert planted.why() == "" and not (tmp_path / HELD).exists()
    assert Planted(tmp_path, **{"gpu.share": False}).why() == ""


@pytest.mark.option("gpu.max_temperature")
@pytest.mark.option("gpu.max_power")
def test_heat_and_power_have_limits(tmp_path: Path) -> None:
    planted = Planted(tmp_path, **{"gpu.max_temperature": 80, "gpu.max_power": 300})
    for reading, words in (
        (Reading(1, 0, 81.0, 200.0), "81 °C; allowed: 80"), (Reading(1, 0, 76.0, 200.0), "76 °C"), (Reading(1, 0, 75.0, 200.0), ""),
        (Reading(1, 0, 60.0, 301.0), "301 W; allowed: 300"), (Reading(1, 0, 60.0, 295.0), ""), (Reading(1, 0, None, None), ""),
    ):  # fmt: skip
        planted.reading = reading
        assert words in planted.why() and bool(words) == bool(planted.why()), reading


@pytest.mark.option("gpu.quiet_hours")
def test_quiet_hours_go_over_midnight(tmp_path: Path) -> None:
    planted = Planted(tmp_path, **{"gpu.quiet_hours": "22:00-07:00"})
    said = []
    for hour in (12, 22, 3, 7):
        planted.now = datetime(2026, 1, 5, hour)
        said.append(bool(planted.why()))
    assert said == [False, True, True, False]
    morning = (clock_time(8), clock_time(10))
    assert is_within(clock_time(9), morning) and not is_within(clock_time(10), morning)
    for wrong in ("22-7", "25:00-07:00", "22:00-22:00", "at night"):
        with pytest.raises(OptionError, match="22:00-07:00"):
            read_hours(wrong, "test")


def test_a_device_that_cannot_be_read_stops_nothing(tmp_path: Path) -> None:
    planted = Planted(tmp_path, **{"gpu.share": True})

    def broken() -> Reading:
        raise RuntimeError("driver was updated")

    planted.tenant._read = broken
    assert planted.why() == ""
    planted.given_back = True
    assert "given back" in planted.why()


def test_a_limit_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = Planted(tmp_path, **{"gpu.max_temperature": 80})
    assert planted.why() == "" and planted.tenant.unmeasured is None
    planted.reading = Reading(8000 * MEGABYTE)
    assert planted.why() == "" and "gpu.max_temperature has no effect" in (planted.tenant.unmeasured or {})["en"]
    values = planted.settings.values
    monkeypatch.setattr(tenant.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    missing = Tenant({**values, "model.device": "auto"}, tmp_path).unmeasured
    assert missing is not None and "nvidia-ml-py" in missing["en"] and "nvidia-ml-py" in missing["zh"]
    assert Tenant({**values, "model.device": "cpu"}, tmp_path).unmeasured is None
    asks_for_nothing = Tenant({**values, "model.device": "auto", "gpu.max_temperature": 0}, tmp_path)
    assert asks_for_nothing.unmeasured is None


def test_nvml_reads_the_gpu_that_cuda_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nvml:
        nvmlDeviceGetHandleByIndex = staticmethod(lambda index: index)
        nvmlDeviceGetHandleByUUID = staticmethod(lambda uuid: uuid)

    found = []
    for visible in ("", "2,GPU-5a", "GPU-5a,0"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        found.append([tenant._gpu_of(Nvml, index) for index in (0, 1)])
    assert found == [[0, 1], [2, "GPU-5a"], ["GPU-5a", 0]]


def test_a_worker_gives_the_gpu_back_within_a_step_and_continues_later(harness: JobHarness) -> None:
    """The real worker in this process; the model is a fake one, which looks at every step whether it is to stop."""
    planted = Planted(harness.directory)
    config = WorkerConfig("w", os.getpid(), harness.directory, harness.directory, planted.settings.values)
    worker = Worker(config, harness.database, FakeGenerator, Event(), planted.tenant)
    planted.tenant._is_given_back = harness.queue.is_given_back
    looks: list[int] = []
    report = worker._runner._report

    def seen(job_id: str, progress: Any, *more: Any) -> None:
        report(job_id, progress, *more)
        if progress.phase is Phase.STEPS:
            looks.append(progress.step)
            if len(looks) == 2:
                harness.queue.give_back(True)
                planted.tenant._told = (-1.0, None)

    worker._runner._report = seen  # type: ignore[method-assign]
    job = harness.submit()
    worker._turn()
    waiting = harness.queue.get(job)
    assert waiting.state is JobState.QUEUED and not waiting.held and not waiting.image_ids
    assert len(looks) <= 3, "at most one step more"
    assert worker._turn() == EXIT_IDLE, "the model leaves with its process"
    status = worker._status("yielding")
    assert "given back" in status.yields_to["en"] and "GPU 已让出" in status.yields_to["zh"]
    again = Worker(config, harness.database, FakeGenerator, Event(), planted.tenant)
    again._turn()
    assert harness.queue.get(job).state is JobState.QUEUED, "nothing begins meanwhile"
    harness.queue.give_back(False)
    planted.tenant._told = (-1.0, None)
    again._turn()
    assert harness.queue.get(job).state is JobState.DONE


def test_readings_of_nvml_and_of_the_memory() -> None:
    class Nvml:
        class NVMLError(Exception):
            pass

        NVML_TEMPERATURE_GPU = 0
        nvmlDeviceGetMemoryInfo = staticmethod(lambda handle: type("Info", (), {"free": 7})())
        nvmlDeviceGetTemperature = staticmethod(lambda handle, sensor: 61)
        own = type("One", (), {"pid": os.getpid(), "usedGpuMemory": 5})()
        nvmlDeviceGetComputeRunningProcesses = staticmethod(lambda handle: [Nvml.own])

        @staticmethod
        def nvmlDeviceGetPowerUsage(handle: object) -> int:
            raise Nvml.NVMLError("Not Supported")

    assert read_gpu(Nvml, None) == Reading(7, 5, 61, None)
    memory = read_memory()
    assert memory.free > 0 and memory.own > 0 and memory.temperature is None


@pytest.mark.option("cpu.niceness")
@pytest.mark.option("cpu.share")
def test_niceness_and_a_share_of_the_cores() -> None:
    """In a process of its own: neither can be taken back."""
    code = (
        "import os, psutil; from core.jobs.tenant import use_cpu_politely; before = len(psutil.Process().cpu_affinity());"
        "use_cpu_politely({'cpu.niceness': 7, 'cpu.share': 0.05});"
        "p = psutil.Process(); print(p.nice(), len(p.cpu_affinity()), os.environ['OMP_NUM_THREADS'], before)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    nice, cores, threads, before = told.split()
    assert int(nice) >= 7 and cores == threads == str(max(1, round(0.05 * int(before))))
