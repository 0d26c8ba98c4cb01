"""What can't be used is said in one line that tells what to do, with exit code 2; the next good request works."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from core.cli.main import build_parser
from tests.unit.cli.conftest import Said

Run = Callable[..., Said]
ICON = Path(__file__).parents[3] / "docs" / "screenshots" / "generate.webp"

TABLE = [
    ("empty prompt", ["generate", ""], "The prompt has 0 characters; allowed: 1 - 10000"),
    ("blank prompt", ["generate", " \n\t "], "The prompt has 4 characters"),
    ("no prompt", ["generate"], "there is no prompt"),
    ("long prompt", ["generate", "a" * 100_000], "at most 10000 characters"),
    ("long negative prompt", ["generate", "x", "--negative-prompt", "啊" * 100_000], "at most 10000 characters"),
    ("width 0", ["generate", "x", "--width", "0"], "generation.width = '0'"),
    ("width -1", ["generate", "x", "--width", "-1"], "from 64 to 8192 px"),
    ("height 8", ["generate", "x", "--height", "8"], "from 64 to 8192 px"),
    ("width 100000", ["generate", "x", "--width", "100000"], "from 64 to 8192 px"),
    ("width in words", ["generate", "x", "--width", "wide"], "'wide'"),
    ("steps 0", ["generate", "x", "--steps", "0"], "from 1 to 200"),
    ("steps 10000", ["generate", "x", "--steps", "10000"], "from 1 to 200"),
    ("guidance nan", ["generate", "x", "--guidance", "nan"], "from 0 to 30"),
    ("guidance inf", ["generate", "x", "--guidance", "inf"], "from 0 to 30"),
    ("guidance 31", ["generate", "x", "--guidance", "31"], "from 0 to 30"),
    ("seed 2**64", ["generate", "x", "--seed", str(2**64)], "from -1 to 9007199254740991"),
    ("seed -2", ["generate", "x", "--seed", "-2"], "from -1 to"),
    ("65 images", ["generate", "x", "--num-images", "65"], "from 1 to 64"),
    ("unknown model", ["generate", "x", "--model", "dall-e"], "known: demo"),
    ("absent folder", ["generate", "x", "--model", "/no/such/folder"], "there is no such folder"),
    ("endless folder", ["generate", "x", "--model", "/" + "a" * 400], "File name too long"),
    ("unknown key", ["generate", "x", "--set", "vae.enable_tilling=true"], "the nearest is vae.enable_tiling"),
    ("bad value", ["generate", "x", "--set", "vae.enable_tiling=2"], "allowed: true, false"),
    ("no value", ["generate", "x", "--set", "vae.enable_tiling"], "KEY=VALUE"),
    ("unknown profile", ["generate", "x", "--profile", "fast"], "draft, guide, low_memory"),
    ("profile by set", ["generate", "x", "--set", "profile=fast"], "draft, guide, low_memory"),
    ("bad extension", ["generate", "x", "--out", "a.gif"], "*.png, *.jpg, *.jpeg, *.webp"),
    ("no extension", ["generate", "x", "--out", "png"], "*.png"),
    ("empty file name", ["generate", "x", "--out", ""], "*.png"),
    ("absent folder of out", ["generate", "x", "--out", "/no/such/folder/a.png"], "--out /no/such/folder/a.png"),
    ("absent image", ["generate", "x", "--image", "/no/such.png"], "--image /no/such.png cannot be read"),
    ("folder as image", ["generate", "x", "--image", "/"], "--image / cannot be read"),
    ("no image", ["generate", "x", "--image", __file__], "not a PNG, JPEG or WebP image"),
    ("mask alone", ["generate", "x", "--mask", str(ICON)], "there is no image"),
    ("strength 2", ["generate", "x", "--strength", "2"], "from 0 to 1"),
    ("strength 0", ["generate", "x", "--image", str(ICON), "--strength", "0"], "none would be run"),
    ("unknown flag", ["generate", "x", "--hieght", "64"], "--hieght"),
    ("abbreviated flag", ["generate", "x", "--neg", "y"], "--neg"),
    ("flag without value", ["generate", "x", "--width"], "--width"),
    ("unknown command", ["paint", "x"], "paint"),
    ("no command", [], "COMMAND"),
    ("bench in words", ["bench", "--runs", "many"], "many"),
]


@pytest.mark.parametrize(("arguments", "words"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_bad_input(run: Run, arguments: list[str], words: str) -> None:
    english, chinese = run(*arguments, *_language("en", arguments)), run(*arguments, *_language("zh", arguments))
    assert (english.code, chinese.code) == (2, 2)
    assert words in english.line
    assert english.line != chinese.line
    assert any("\u4e00" <= letter <= "\u9fff" for letter in chinese.line)
    assert len(english.line) < 1200


def _language(name: str, arguments: list[str]) -> list[str]:
    return ["--lang", name] if arguments[-1:] != ["--width"] else [f"--lang={name}"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1, 2", "cannot be read: line 1"),
        ("vae:\n\tenable_tiling: true", "not with a tab"),
        ("generation: {steps: 8}", "there is no option generation.steps; the nearest is"),
        ("steps: lots", "generation.num_inference_steps = 'lots'"),
    ],
)
def test_bad_local_settings(run: Run, configs: Path, text: str, words: str) -> None:
    (configs / "local.yaml").write_text(text)
    said = run("generate", "x", "--lang", "en")
    assert said.code == 2
    assert said.line.startswith("configs/local.yaml: ")
    assert words in said.line


def _remove(model: Path) -> None:
    (model / "vae" / "config.json").unlink()


def _truncate(model: Path) -> None:
    path = model / "transformer" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def _pickle(model: Path) -> None:
    for weights in (model / "vae").glob("*.safetensors"):  # beside good safetensors a .bin is not read
        weights.unlink()
    (model / "vae" / "pytorch_model.bin").write_bytes(pickle.dumps([1]))


def _disguise(model: Path) -> None:
    (model / "vae" / "model.safetensors").write_bytes(pickle.dumps([1]))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_remove, "vae/config.json: the file is missing"),
        (_truncate, "transformer/model.safetensors: the file is shorter"),
        (_pickle, "vae/*.safetensors: its weights are there only as a pickle, which can run code and is not opened"),
        (_disguise, "vae/model.safetensors: pickle files can run code"),
    ],
)
def test_model_folders_that_cannot_be_used(run: Run, model: Path, harm: Callable[[Path], None], words: str) -> None:
    harm(model)
    said = run("generate", "x", "--model", str(model), "--lang", "en")
    assert said.code == 2
    assert words in said.line


def test_outputs_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")  # in the way also for root, whom permissions do not stop
    said = run("generate", "x", "--set", f"output.directory={tmp_path / 'file' / 'outputs'}", "--lang", "en")
    assert said.code == 2
    assert "not writable" in said.line
    assert "output.directory" in said.line


def test_a_good_request_works_after_bad_ones(run: Run, configs: Path, tmp_path: Path) -> None:
    assert run("generate", "").code == 2
    (configs / "local.yaml").write_text("a: [1, 2")
    assert run("generate", "x").code == 2
    (configs / "local.yaml").unlink()
    said = run("generate", "x", "--out", str(tmp_path / "a.png"))
    assert (said.code, said.err) == (0, "")
    assert (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["models", "check", "--verify", "a", "b"], "more", ["b"]),
        (["models", "get", "--source", "modelscope", "z"], "target", "z"),
        (["queue", "pause", "--lang", "zh", "abc"], "job", "abc"),
        (["inspect", "a.png", "--json", "b.png"], "files", ["a.png", "b.png"]),
        (["generate", "--steps", "4", "a house", "--wait"], "prompt", "a house"),
    ],
)
def test_flags_may_stand_between_arguments(arguments: list[str], name: str, value: object) -> None:
    assert vars(build_parser("en").parse_args(arguments))[name] == value
