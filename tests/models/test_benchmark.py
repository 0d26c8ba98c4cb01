"""The comparison of SD, SDXL and the embedded model on the real parts: the table is measured, each model loaded once."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

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


@pytest.mark.slow
def test_the_table_of_three_families_and_two_option_sets(
    configs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = ("--model", "demo", "--model", "toy-xl", "--model", "toy-sd", "--model", "demo", "--set", "steps=1")
    shared = ("--set", "width=64", "--set", "height=64", "--set", "steps=2", "--set", "guidance_scale=0")
    generated = ("--prompt", "a red house on snow", "--prompt", "夜晚，蓝色的汽车", "--seed", "7")
    files = ("--out", str(tmp_path / "table.csv"), "--out", str(tmp_path / "sheet.png"))
    code = main.main(["compare", "--lang", "en", *shared, *columns, *generated, *files], configs)
    said = capsys.readouterr()
    assert code == 0, said.err
    found = json.loads(said.out.splitlines()[-1])
    assert [row["model"] for row in found["columns"]] == ["demo", "toy-xl", "toy-sd", "demo"]
    for row in found["columns"]:
        for name in ("load_seconds", "seconds", "steps_per_second", "peak_memory_bytes", "disk_bytes", "sharpness"):
            assert row[name] > 0, (row["column"], name)
        assert row["generated"] == 2 and (row["attributes_asked"] or 0) == (6 if row["model"] == "demo" else 0)
    demo, xl, sd, quick = found["columns"]
    assert demo["load_seconds"] == quick["load_seconds"], "one load served both"
    assert len({demo["load_seconds"], xl["load_seconds"], sd["load_seconds"]}) == 3
    assert demo["disk_bytes"] > xl["disk_bytes"] > sd["disk_bytes"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text(encoding="utf-8-sig"))))
    assert [row["column"] for row in rows] == [row["column"] for row in found["columns"]]
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")

    studio = build_studio(load_settings(configs))
    log = studio.system.report().log_tail
    assert count_loads(log) == 1 and sum("toy-" in line and "loaded in" in line for line in log) == 2
    assert studio.benchmarks.get(found["id"]).prompts == ("a red house on snow", "夜晚，蓝色的汽车")


@pytest.mark.slow
def test_columns_with_a_lora_and_with_a_second_pass(
    configs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a column sets is drawn, told in its name and measured; and nothing is loaded again for it."""
    columns = [[], ["--set", "lora.use=ink-print:0.75"], ["--set", "hires.enabled=true", "--set", "hires.scale=2"]]
    shared = ["--set", "width=128", "--set", "height=128", "--set", "steps=1"]
    ordered = [*shared, *(word for column in columns for word in ("--model", "demo", *column))]
    files = ["--out", str(tmp_path / "sheet.png"), "--out", str(tmp_path / "table.csv")]
    code = main.main(
        ["compare", "--lang", "en", *ordered, "--prompt", "a red house, day", "--seed", "7", *files], configs
    )
    said = capsys.readouterr()
    assert code == 0, said.err
    found = json.loads(said.out.splitlines()[-1])
    assert len({row["load_seconds"] for row in found["columns"]}) == 1
    studio = build_studio(load_settings(configs))
    benchmark = studio.benchmarks.get(found["id"])
    requests = [measured.images[0].request for measured in report(studio, benchmark).columns]
    assert [one.options["lora.use"] for one in requests] == [(), ("ink-print:0.75",), ()]
    assert [one.options["hires.enabled"] for one in requests] == [False, False, True]
    images = [
        studio.history.file(measured.images[0].id).read_bytes() for measured in report(studio, benchmark).columns
    ]
    assert len(set(images)) == 3
    assert len(list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text(encoding="utf-8-sig"))))) == 3
