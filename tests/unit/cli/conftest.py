"""The command line in this process, over a real queue and worker that draw plain images without a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from core.cli import generate, main
from core.config.loader import Settings
from core.jobs.supervisor import WorkerSupervisor
from core.models.families import FAMILIES
from core.studio import Studio, bootstrap
from core.types import GenerationRequest
from tests.pipelines import Z_IMAGE

PARTS = FAMILIES[Z_IMAGE].parts
FAKE = "tests.integration.jobs.fake_generator:build_generator"


@dataclass(frozen=True)
class Said:
    """How a run ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """Return its one line of error."""
        assert self.out == ""
        assert self.err.count("\n") == 1 and self.err.endswith("\n"), self.err
        assert "Traceback" not in self.err
        return self.err.strip()


def _with_options(request: GenerationRequest, options: dict[str, Any]) -> GenerationRequest:
    return replace(request, options={**request.options, **options})


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Give the worker the fake generator; return a dictionary whose values reach it with the request."""
    options: dict[str, Any] = {}

    def build(settings: Settings) -> Studio:
        studio = bootstrap.build_studio(settings)
        queue: Any = studio.queue
        prepare = queue.prepare
        queue.prepare = lambda request: _with_options(prepare(request), options)
        return studio

    monkeypatch.setattr(bootstrap, "WorkerSupervisor", partial(WorkerSupervisor, generator=FAKE))
    monkeypatch.setattr(generate, "build_studio", build)
    return options


@pytest.fixture
def run(
    fakes: dict[str, Any], configs: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """`run("generate", ...)` as a user would, with folders of the test's own and a small model that is complete."""
    (configs / "config.yaml").write_text(json.dumps({"output_dir": str(tmp_path / "outputs"), "model": str(model)}))

    def run_one(*arguments: str) -> Said:
        capsys.readouterr()
        code = main.main(arguments, configs)
        return Said(code, *capsys.readouterr())

    return run_one


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a folder with all the files of a ZImagePipeline, each as small as can be."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model_index.json").write_text('{"_class_name": "ZImagePipeline"}')
    for component, part in PARTS.items():
        (folder / component).mkdir()
        (folder / component / part.config).write_text("{}")
    for component in FAMILIES[Z_IMAGE].weighty:
        save_file({"weight": np.ones((8, 8), np.float32)}, folder / component / "model.safetensors")
    return folder
