"""The comparison of SD, SDXL and the embedded model on the real parts: the table is measured, each model loaded once."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from core.benchmark.report import report
from core.cli import main
from core.config.loader import PROJECT_ROOT, load_settings
from core.studio.bootstrap import build_studio
from tests.models import tiny_models
from tests.models.test_studio import count_loads


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped settings and models with toys of SD 1.5 and SDXL beside them, over an output folder of its own."""
    folder = tmp_path_factory.mktemp("toys")
    tiny_models.stable_diffusion(folder / "sd")
    tiny_models.stable_diffusion_xl(folder / "xl")
    configs = tmp_path_factory.mktemp("configs")
    for name in ("models", "profiles"):
        (configs / name).mkdir()
        for path in (PROJECT_ROOT / "configs" / name).glob("*.yaml"):
            (configs / name / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    for name in ("sd", "xl"):
        entry = {"id": f"toy-{name}", "path": str(folder / name)}
        (configs / "models" / f"toy-{name}.yaml").write_text(json.dumps(entry))
    local = {"output.directory": str(folder / "outputs"), "model.preload": False}
    (configs / "local.yaml").write_text(json.dumps(local))
    return configs


@pytest.fixture(scope="module")
def compared(configs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """What `compare` printed of six columns, and the folder of its files: two prompts, one worker."""
    folder = tmp_path_factory.mktemp("files")
    columns = [
        ["demo"], ["toy-xl"], ["toy-sd"], ["demo", "steps=1"],
        ["demo", "lora.use=ink-print:0.75"], ["demo", "width=128", "height=128", "hires.enabled=true", "hires.scale=2"],
    ]  # fmt: skip
    words = [word for model, *values in columns for word in ("--model", model, *(w for v in values for w in ("--set", v)))]
    shared = [word for value in ("width=64", "height=64", "steps=2", "guidance_scale=0") for word in ("--set", value)]
    drawn = ["--prompt", "a red house on snow", "--prompt", "夜晚，蓝色的汽车", "--seed", "7"]
    files = ["--out", str(folder / "table.csv"), "--out", str(folder / "sheet.png")]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = main.main(["compare", "--lang", "en", *shared, *words, *drawn, *files], configs)
    assert code == 0, said.getvalue()
    return json.loads(said.getvalue().splitlines()[-1]), folder


def test_the_table_of_three_families_and_two_option_sets(configs: Path, compared: tuple[dict[str, Any], Path]) -> None:
    found, folder = compared
    assert [row["model"] for row in found["columns"]] == ["demo", "toy-xl", "toy-sd", "demo", "demo", "demo"]
    for row in found["columns"]:
        for name in ("load_seconds", "seconds", "steps_per_second", "peak_memory_bytes", "disk_bytes", "sharpness"):
            assert row[name] > 0, (row["column"], name)
        assert row["pictures"] == 2 and (row["attributes_asked"] or 0) == (6 if row["model"] == "demo" else 0)
    demo, xl, sd, quick, *others = found["columns"]
    assert {row["load_seconds"] for row in (quick, *others)} == {demo["load_seconds"]}, "one load served all"
    assert len({demo["load_seconds"], xl["load_seconds"], sd["load_seconds"]}) == 3
    assert demo["disk_bytes"] > xl["disk_bytes"] > sd["disk_bytes"]
    rows = list(csv.DictReader(io.StringIO((folder / "table.csv").read_text(encoding="utf-8-sig"))))
    assert [row["column"] for row in rows] == [row["column"] for row in found["columns"]]
    assert (folder / "sheet.png").read_bytes().startswith(b"\x89PNG")

    studio = build_studio(load_settings(configs))
    log = studio.system.report().log_tail
    assert count_loads(log) == 1 and sum("toy-" in line and "loaded in" in line for line in log) == 2
    assert studio.benchmarks.get(found["id"]).prompts == ("a red house on snow", "夜晚，蓝色的汽车")


def test_columns_with_a_lora_and_with_a_second_pass(configs: Path, compared: tuple[dict[str, Any], Path]) -> None:
    """What a column sets is drawn and recorded."""
    studio = build_studio(load_settings(configs))
    columns = report(studio, studio.benchmarks.get(compared[0]["id"])).columns
    demo, _, _, _, lora, hires = columns
    requests = [column.images[0].request for column in (demo, lora, hires)]
    assert [one.options["lora.use"] for one in requests] == [(), ("ink-print:0.75",), ()]
    assert [one.options["hires.enabled"] for one in requests] == [False, False, True]
    images = {studio.history.file(column.images[0].id).read_bytes() for column in columns}
    assert len(images) == len(columns)
