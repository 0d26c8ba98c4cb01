"""`bench` on the embedded model: plain diffusers and the studio alike, each option's line, and what a machine cannot do."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from core.bench import campaign, compile_start, prepared
from core.bench.load import JOBS
from core.bench.overhead import PARTS
from core.bench.speed import variants, with_tiles
from core.cli import main
from core.config.loader import PROJECT_ROOT
from core.config.samplers import usable
from core.inference import prepared_weights, torch_compile


def bench(words, capfd):
    assert main.main(f"bench --runs 1 --side 64 --steps 1 {words}".split()) == 0
    lines = capfd.readouterr().out.splitlines()
    return json.loads(lines[-1]), "\n".join(lines[:-1])


def test_a_line_for_each_option_and_a_reason_where_there_is_none(capfd):
    said, table = bench("--only enable_tiling --only heun --only long --only sage --only _flash_3 --only offload=group", capfd)
    assert said["max_pixel_distance"] == 0 and {"text", "steps", "decode", "save", "total"} <= set(said["studio"])
    rows = said["variants"]
    assert "FlashAttention 3" in rows["transformer.attention_backend=_flash_3"]["refused"]
    assert "native" in rows["transformer.attention_backend=sage"]["refused"]
    assert "nothing to offload from" in rows["memory.offload=group"]["refused"]
    for name in ("vae.enable_tiling=true", "generation.sampler=heun", "long prompt"):
        assert rows[name]["total"] > 0 and rows[name]["largest_distance"] >= 0, name
    assert all(name in table for name in rows)


@pytest.mark.slow
def test_overhead_names_every_part(capfd):
    assert main.main(["bench", "overhead", "--runs", "1", "--side", "64", "--steps", "2"]) == 0
    *table, last = capfd.readouterr().out.splitlines()
    seconds = json.loads(last)["seconds"]
    assert set(seconds) == {*PARTS, "total", "overhead"} and all(value >= 0 for value in seconds.values())
    assert all(any(line.startswith(part) for line in table) for part in seconds)


@pytest.mark.slow
def test_editing_costs_a_line_for_each_upscaler_and_area(capfd):
    assert main.main(["bench", "editing", "--runs", "1", "--side", "64", "--steps", "2"]) == 0
    *table, last = capfd.readouterr().out.splitlines()
    rows = {row["name"]: row for row in json.loads(last)["rows"]}
    assert {"inpaint 128x128, area whole", "inpaint 128x128, area masked", "upscale x2 with detail"} <= set(rows)
    assert {"upscale x2, lanczos", "upscale x2, compact-x2"} <= set(rows)
    assert all(row["seconds"] > 0 and (row["pixels"] == 128 * 128) == ("upscale" in name) for name, row in rows.items())
    assert any("no ControlNet" in line for line in table)


@pytest.mark.slow
def test_random_weights_of_the_architecture_reach_a_share_of_the_peak(capfd):
    said, _ = bench("--architecture z-image-turbo --random-weights --only none", capfd)
    assert "random weights, scaled down" in said["model"] and said["max_pixel_distance"] == 0
    assert set(said["share_of_peak"]) == {"diffusers", "studio"} and said["tflop"] >= 0


def test_tiles_are_smaller_than_the_image():
    assert variants(["tiling_mode"]) == {
        "vae.tiling_mode=exact": {"vae.enable_tiling": True, "vae.tiling_mode": "exact"}
    }
    assert {name.partition("=")[2] for name in variants(["generation.sampler"])} == set(usable("flow"))
    assert "generation.sampler=ddim" in variants(prediction="diffusion")
    assert len(variants(["variation_strength=", "prompt_noise=", "short_prompt_steps=", "preview.enabled=", "long prompt"])) == 5
    assert variants(["resume"]) == {"resume.interval=1": {"resume.interval": 1}}, "the cost of a state after each step"
    assert with_tiles({"vae.enable_tiling": True}, 256)["vae.tile_sample_min_size"] == 128
    assert with_tiles({"vae.decoder_tiling": True}, 1024) == {"vae.decoder_tiling": True}


@pytest.mark.slow
def test_load_counts_every_call_and_loses_no_image(capfd):
    assert main.main(["bench", "load", "--clients", "2", "--runs", "1", "--side", "64", "--steps", "1"]) == 0
    *_, last = capfd.readouterr().out.splitlines()
    said = json.loads(last)
    assert said["errors"] == [] and said["images"] >= 2 * (JOBS - 1) + 2
    assert {"submit", "move", "cancel", "queue", "first event", "thumbnail", "image", "A1111"} <= set(said["kinds"])


@pytest.mark.slow
def test_prepared_weights_are_compared_with_their_original_and_a_plain_read(tmp_path, monkeypatch):
    monkeypatch.setattr(prepared_weights, "SMALLEST", 0)
    monkeypatch.setattr(prepared_weights, "SPARE", 0)
    shape = {"dim": 384, "n_heads": 3, "n_kv_heads": 3}
    said = prepared.measure(PROJECT_ROOT / "configs", tmp_path, 2, 1, shape)
    assert set(said["seconds"]) == {"read", "prepared", "original"} and all(one > 0 for one in said["seconds"].values())
    assert said["peak_to_weights"].keys() == {"prepared", "original"}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_second_start_compiles_nothing():
    if torch_compile.problem("cpu"):
        pytest.skip("no C++ compiler")
    first, second = compile_start.pair_of_starts(PROJECT_ROOT / "configs")
    assert first["misses"] > 0 == first["hits"] and second["misses"] == 0 and second["hits"] == first["misses"]


@pytest.mark.slow
def test_a_campaign_goes_on_where_its_budget_ended(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(campaign, "load_settings", lambda *_: SimpleNamespace(output_directory=tmp_path))
    monkeypatch.setitem(campaign.SIDES, "cpu", (64,))
    changes = {"int8": {"memory.quantization": "int8"}, "fp8": {"memory.quantization": "fp8"}}
    monkeypatch.setattr(campaign, "CHANGES", changes)
    answers = iter([True, True, False])
    with monkeypatch.context() as patch:
        patch.setattr(campaign.Budget, "allows", lambda self: next(answers))
        said, table = bench("campaign", capfd)
    assert said["left"] == ["64px fp8"] and "run the same command again" in table
    assert list(said["cells"]) == ["64px plain diffusers", "64px default", "64px int8"]
    assert said["cells"]["64px default"]["largest_distance"] == 0 < said["cells"]["64px int8"]["total"]
    before = said["cells"]["64px int8"]
    said, _ = bench("campaign", capfd)
    assert said["left"] == [] and said["cells"]["64px int8"] == before, "it is not measured again"
    assert "refused" in said["cells"]["64px fp8"]
    assert "| 64px int8 |" in (tmp_path / "campaign" / "table.md").read_text()
    assert "64px int8" in (tmp_path / "campaign" / "plot.svg").read_text()


def test_cells_of_another_machine_are_begun_anew(tmp_path, capfd):
    cells = campaign.Cells.open(tmp_path / "cells.json", {"device": "this"})
    cells.put("64px int8", {"refused": "no"})
    assert campaign.Cells.open(tmp_path / "cells.json", {"device": "this"}).found == {"64px int8": {"refused": "no"}}
    assert campaign.Cells.open(tmp_path / "cells.json", {"device": "another"}).found == {}


def test_a_budget_allows_what_the_longest_cell_would_still_fit_into(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(campaign, "time", SimpleNamespace(monotonic=lambda: now[0]))
    budget = campaign.Budget(100.0)
    assert budget.allows()
    now[0] = 40.0
    assert budget.allows(), "40 s are spent, and another 40 s fit"
    now[0] = 65.0
    assert not budget.allows(), "the longest took 40 s"
