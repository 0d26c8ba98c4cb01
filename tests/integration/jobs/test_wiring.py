"""The studio as a page starts it: light, and whole."""

import subprocess
import sys
from pathlib import Path

import pytest

from core.config.loader import PROJECT_ROOT
from core.jobs.worker_process import LOG_FILE
from core.studio import Studio
from core.studio.bootstrap import build_studio
from core.studio.system import LOG_LINES, system_report
from core.types import WorkerStatus
from tests.integration.jobs.harness import make_settings

CODE = """
import sys
from core.studio.bootstrap import build_studio
from core.config.loader import load_settings
overrides = {"output.directory": sys.argv[1], "worker.executor": sys.argv[2]}
studio = build_studio(load_settings(overrides=overrides))
studio.queue.recent(), studio.worker.status(), studio.system.report()
heavy = {"torch", "diffusers", "transformers", "streamlit", "ray"} & set(sys.modules)
sys.exit(f"imported: {heavy}" if heavy else 0)
"""


@pytest.mark.by_default("ray")
@pytest.mark.parametrize("executor", ["local", "ray"])
@pytest.mark.slow
def test_the_page_starts_without_torch_and_without_ray(tmp_path: Path, executor: str) -> None:
    command = [sys.executable, "-c", CODE, str(tmp_path), executor]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_studio_that_is_built_runs_nothing(tmp_path: Path) -> None:
    studio = build_studio(make_settings(tmp_path))
    assert isinstance(studio, Studio)
    assert studio.worker.status().state == "stopped" and studio.queue.recent() == []


def test_the_machine_is_described(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    report = system_report(folder, WorkerStatus("idle"))
    assert report.python.startswith("3.") and report.cpu_count >= 1
    assert 0 < report.memory_available <= report.memory_total and report.disk_free > 0
    assert "torch" in report.versions and report.worker.state == "idle"
    assert report.output_directory == str(folder) and report.log_tail == ()


def test_the_log_tail_has_whole_lines(tmp_path: Path) -> None:
    log = tmp_path / LOG_FILE
    log.parent.mkdir()
    log.write_bytes("".join(f"line {n} 造相 {'x' * 2000}\n" for n in range(300)).encode() + b"\xff\n")
    tail = system_report(tmp_path, WorkerStatus("idle")).log_tail
    assert tail[-1] == "\ufffd" and len(tail) <= LOG_LINES
    assert all(line.startswith("line ") and line.endswith("x") for line in tail[:-1])
