"""`compare` on the command line: columns in the order in which they are typed, the table, the JSON line, files, errors."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from core.cli.benchmark import FORMATS
from core.jobs import queue
from core.jobs.supervisor import WorkerSupervisor
from core.studio import bootstrap
from tests.unit.cli.conftest import FAKE, Said

Run = Callable[..., Said]
SHARED = ("compare", "--lang", "en", "--set", "width=64", "--set", "height=64", "--no-progress")
TWO = (*SHARED, "--model", "demo", "--model", "demo", "--set", "steps=4", "--profile", "draft")
DRAWN = ("--prompt", "=1+1, a red house", "--prompt", "红色的房子", "--seed", "7", "--seed", "8")


@pytest.fixture(autouse=True)
def small(configs: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded model's entry is the small folder, and the worker draws plain images."""
    (configs / "models").mkdir(exist_ok=True)
    (configs / "models" / "demo.yaml").write_text(json.dumps({"id": "demo", "path": str(model)}))
    monkeypatch.setattr(bootstrap, "WorkerSupervisor", partial(WorkerSupervisor, generator=FAKE))


def test_the_table_the_line_and_the_files(run: Run, tmp_path: Path) -> None:
    outs = [tmp_path / f"a{suffix}" for suffix in FORMATS]
    said = run(*TWO, *DRAWN, *(part for out in outs for part in ("--out", str(out))))
    assert said.code == 0, said.err
    *table, line = said.out.splitlines()
    found: dict[str, Any] = json.loads(line)
    assert [row["column"] for row in found["columns"]] == ["demo", "demo · draft · num_inference_steps 4"]
    assert found["columns"][1]["settings"] == {
        "profile": "draft", "generation.width": 64, "generation.height": 64, "generation.num_inference_steps": 4,
    }  # fmt: skip
    assert found["complete"] and [len(row["images"]) for row in found["columns"]] == [4, 4]
    assert len(table) == 3 and "4/4" in table[1] and "image s" in table[0]
    rows = list(csv.DictReader(outs[0].read_text(encoding="utf-8-sig").splitlines(keepends=True)))
    assert len(rows) == 2 and float(rows[0]["seconds"]) > 0 and "width: 64" in rows[0]["settings"]
    with Image.open(outs[1]) as sheet:
        assert sheet.size[0] > 2 * 64 and sheet.size[1] > 4 * 64
    assert json.loads(outs[2].read_text())["id"] == found["id"]
    assert list(tmp_path.glob(".*.part")) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*SHARED, "--model", "demo", *DRAWN), "columns = 1 cannot be used; allowed: 2 - 8"),
        ((*TWO, "--seed", "7"), "prompts = 0 cannot be used"),
        ((*TWO, "--prompt", "a"), "seeds = 0 cannot be used"),
        ((*TWO, *DRAWN, "--set", "prompt=b"), "the same in every column"),
        ((*TWO, *DRAWN, "--set", "stepps=4"), "column 2: there is no option stepps"),
        ((*TWO, *DRAWN, "--set", "steps"), "write --set KEY=VALUE"),
        ((*TWO, *DRAWN, "--set", "server.port=1"), "there is no option server.port"),
        ((*TWO, *DRAWN, "--profile", "nothing"), "there is no option nothing"),
        ((*TWO, *DRAWN, "--seed", "x"), "generation.seed = 'x' cannot be used"),
        ((*TWO, *DRAWN, "--model", "nothing"), "There is no model nothing"),
        ((*TWO, *DRAWN, "--out", "a.pdf"), "allowed: *.csv, *.png, *.json"),
        ((*TWO, *DRAWN, "--out", "/nowhere/a.csv"), "cannot be written"),
    ],
)
def test_what_cannot_be_used_is_one_line(run: Run, arguments: tuple[str, ...], words: str) -> None:
    said = run(*arguments)
    assert said.code == 2 and words in said.line


def test_a_column_that_fails_is_told_and_the_others_are_measured(
    run: Run, fakes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:

    add = queue.add_job
    failing = {"fake.fails": "memory"}

    def add_job(connection: Any, request: Any, terms: Any) -> str:
        if request.num_inference_steps == 4:
            request = replace(request, options={**request.options, **failing})
        return add(connection, request, terms)

    monkeypatch.setattr(queue, "add_job", add_job)
    said = run(*TWO, *DRAWN)
    found = json.loads(said.out.splitlines()[-1])
    assert said.code == 1 and "demo · draft · num_inference_steps 4: Out of memory" in said.err
    assert [row["state"] for row in found["columns"]] == ["done", "failed"]
    assert found["columns"][1]["seconds"] is None and found["columns"][0]["generated"] == 4
