"""`models` on the command line: the list, fetching from a stand-in hub, adding and removing; each error one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from core.models.model_paths import EMBEDDED
from tests.unit.cli.conftest import Said
from tests.unit.hub.conftest import hub, online, toy  # noqa: F401  # fixtures

Run = Callable[..., Said]


def allow_mirror(configs: Path, address: str) -> None:
    """Name an address of this machine in the settings: typed alone, only public ones are used."""
    (configs / "local.yaml").write_text(f"models: {{allowed_mirrors: ['{address}']}}\n")


def test_the_list_has_a_line_a_model(run: Run) -> None:
    said = run("models", "--lang", "en")
    assert said.code == 0
    lines = {line.split()[0]: line for line in said.out.splitlines()}
    assert "shipped" in lines["demo"] and "4gb" in lines["demo"]
    assert "32.9 GB" in lines["z-image-turbo"] and "20.5 GB" in lines["z-image-turbo"]


@pytest.mark.parametrize("source", ["huggingface", "modelscope"])
@pytest.mark.by_default("huggingface")
def test_a_model_is_fetched_once(run: Run, hub, configs: Path, tmp_path: Path, source: str) -> None:  # noqa: F811
    entry = "id: toy\npipeline: ZImagePipeline\nhuggingface: owner/toy\nmodelscope: owner/toy\n"
    (configs / "models" / "toy.yaml").write_text(entry)
    allow_mirror(configs, hub.address)
    said = run("models", "get", "toy", "--source", source, "--mirror", hub.address)
    folder = tmp_path / "outputs" / "models" / "toy"
    assert (said.code, said.out.strip()) == (0, str(folder))
    asked = len(hub.requests)
    assert run("models", "get", "toy").out.strip() == str(folder)
    assert len(hub.requests) == asked
    assert run("models", "remove", "toy").code == 0
    assert not folder.exists()


def test_what_an_own_entry_fetched_goes_before_the_entry(run: Run, hub, configs: Path, tmp_path: Path) -> None:  # noqa: F811
    entry = configs / "models" / "toy.local.yaml"
    entry.write_text("id: toy\npipeline: ZImagePipeline\nhuggingface: owner/toy\n")
    allow_mirror(configs, hub.address)
    assert run("models", "get", "toy", "--mirror", hub.address).code == 0
    assert run("models", "remove", "toy").code == 0
    assert not (tmp_path / "outputs" / "models" / "toy").exists() and entry.is_file()
    assert run("models", "remove", "toy").code == 0
    assert not entry.exists()


def test_add_and_remove(run: Run, configs: Path, tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED, tmp_path / "mine")
    assert run("models", "add", str(tmp_path / "mine"), "--id", "own").out.strip() == "own"
    assert "own path" in run("models", "--lang", "en").out
    assert run("models", "remove", "own").code == 0
    assert (tmp_path / "mine").is_dir()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("get",), "needs a model's id"),
        (("add",), "needs a path"),
        (("get", "nothing"), "There is no model nothing"),
        (("get", "z-image-turbo", "--source", "elsewhere"), "allowed: huggingface, modelscope"),
        (("get", "z-image-turbo", "--mirror", "ftp://x"), "cannot be used as a mirror"),
        (("remove", "demo"), "were not fetched by the studio"),
        (("add", "/nowhere/at/all"), "there is no such folder"),
        (("fetch", "x"), "invalid choice"),
    ],
)
def test_what_cannot_be_done_is_one_line(run: Run, arguments: tuple[str, ...], words: str) -> None:
    said = run("models", *arguments, "--lang", "en")
    assert words in said.line
    assert said.code in (1, 2)


def test_prepared_weights_are_listed_and_deleted(run: Run, tmp_path: Path) -> None:
    assert run("models", "prepared").out.strip() == "no prepared weights"
    folder = tmp_path / "outputs" / "models" / "prepared"
    folder.mkdir(parents=True)
    notes = {"model": "toy", "part": "transformer", "form": "bfloat16-int8"}
    save_file({"a": np.zeros(400_000, np.int8)}, folder / "transformer-bfloat16-int8-0-0.safetensors", notes)
    first, total = run("models", "prepared").out.splitlines()
    assert first.split()[:3] == ["toy", "transformer", "bfloat16-int8"] and total == "prepared weights: 0.4 MB"
    assert run("models", "forget-prepared", "other").code == 0 and len(list(folder.iterdir())) == 1
    assert run("models", "forget-prepared", "toy").out.strip() == "0.4 MB are free again"
    assert not list(folder.iterdir())


def test_only_downloads_are_shrunk(run: Run) -> None:
    assert "downloaded into the models folder" in run("models", "shrink", "demo").line
