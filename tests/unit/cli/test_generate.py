"""`generate` goes the one way through queue and worker, and puts the images where they were asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from core.cli import generate
from core.cli.console import ProgressLine, choose_language, progress_text
from core.cli.generate import read_command
from core.cli.main import build_parser
from core.config.loader import PROJECT_ROOT
from core.errors import DiskFullError, OutOfMemoryError
from core.jobs.queue import JobQueue
from core.jobs.supervisor import WorkerSupervisor
from core.jobs.worker_process import DATABASE_FILE
from core.storage.database import Database
from core.studio import bootstrap, estimates
from core.studio.hardware import DeviceReader
from core.types import GenerationRequest, Job, JobState, Phase, Progress
from tests.integration.jobs.fake_generator import DEADLY
from tests.unit.cli.conftest import Said

Run = Callable[..., Said]


def order(*arguments: str) -> Any:
    return read_command(build_parser("en").parse_args(["generate", *arguments]))


# -- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.by_default("a.jpeg-JPEG")
@pytest.mark.parametrize(
    ("name", "form"), [("a.png", "PNG"), ("a.JPG", "JPEG"), ("a.jpeg", "JPEG"), ("b.webp", "WEBP")]
)
def test_the_format_follows_the_name(run: Run, tmp_path: Path, name: str, form: str) -> None:
    target = tmp_path / name
    said = run("generate", "红房子 👪", "--width", "72", "--height", "65", "--seed", "5", "--out", str(target))
    assert (said.code, said.out, said.err) == (0, f"{target}\n", "")
    with Image.open(target) as image:
        assert (image.format, image.size) == (form, (72, 65))
    assert not list(tmp_path.glob(".*.part"))


def test_a_dry_run_tells_the_cost_and_generates_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DeviceReader, "speed", lambda *asked: 1e11)
    said = run("generate", "a red house", "--dry-run", "--json", "--num-images", "2")
    told = json.loads(said.out)
    assert said.code == 0 and told["seconds"] > 0 and told["ram_mb"] > 0 and told["vram_mb"] == 0
    assert (told["fits"], told["tier"], told["measured"]) == (True, "cpu", 0)
    plain = run("generate", "a red house", "--dry-run")
    assert "It fits." in plain.out and "memory tier cpu" in plain.out
    assert run("generate", "a red house", "--json").code == 2, "without --dry-run it would do nothing"
    monkeypatch.setattr(estimates, "PROCESS_BYTES", 10**15)
    assert run("generate", "a red house", "--dry-run").code == 1


def test_several_images_get_numbers(run: Run, tmp_path: Path) -> None:
    said = run("generate", "x", "--num-images", "3", "--seed", "10", "--out", str(tmp_path / "a.b.png"))
    targets = [tmp_path / f"a.b-{k}.png" for k in (1, 2, 3)]
    assert said.out.split() == [str(path) for path in targets]
    assert [Image.open(path).getpixel((0, 0))[0] for path in targets] == [10, 11, 12]


def test_a_image_and_a_mask_go_along(run: Run, tmp_path: Path) -> None:
    for name, colour in (("old.webp", (9, 200, 7)), ("mask.png", (255, 255, 255))):
        Image.new("RGB", (96, 80), colour).save(tmp_path / name, lossless=True)
    target = tmp_path / "new.png"
    given = ["--image", str(tmp_path / "old.webp"), "--mask", str(tmp_path / "mask.png"), "--strength", "0.5"]
    said = run("generate", "x", *given, "--out", str(target))
    assert (said.code, said.err) == (0, "")
    with Image.open(target) as image:
        assert image.size == (96, 80), "the image's own, as no other was asked for"
        assert [image.getpixel((5, y)) for y in (5, 70)] == [(9, 200, 7), (255, 255, 255)]
    database = Database(tmp_path / "outputs" / DATABASE_FILE)
    request = JobQueue(database).recent(1)[0].request
    database.close()
    assert set(request.inputs) == {"image", "mask_image"} and request.options["img2img.denoising_strength"] == 0.5
    assert run("generate", "x", *given, "--width", "128", "--out", str(target)).code == 0
    with Image.open(target) as image:
        assert image.width == 128


def test_upscale_enlarges_a_file(run: Run, tmp_path: Path) -> None:
    Image.new("RGB", (96, 80), (9, 200, 7)).save(tmp_path / "old.webp", lossless=True)
    target = tmp_path / "new.png"
    said = run("upscale", str(tmp_path / "old.webp"), "--by", "1.5", "--upscaler", "nearest", "--out", str(target))
    assert (said.code, said.out, said.err) == (0, f"{target}\n", "")
    with Image.open(target) as image:
        assert image.size == (144, 120)
    said = run("upscale", str(tmp_path / "old.webp"), "--upscaler", "ESRGAN", "--out", str(target))
    assert said.code == 2 and "upscale.method: upscaler ESRGAN" in said.err


@pytest.mark.slow
def test_upscale_takes_several_files(run: Run, tmp_path: Path) -> None:
    for name in ("one", "two"):
        Image.new("RGB", (64, 48), "red").save(tmp_path / f"{name}.webp")
    folder = tmp_path / "large"
    files = [str(tmp_path / f"{name}.webp") for name in ("one", "two")]
    said = run("upscale", *files, "--upscaler", "nearest", "--out", str(folder))
    assert said.code == 2 and "--out" in said.err, "the folder must exist"
    folder.mkdir()
    said = run("upscale", *files, "--upscaler", "nearest", "--out", str(folder))
    assert (said.code, said.out) == (0, f"{folder / 'one.png'}\n{folder / 'two.png'}\n")
    with Image.open(folder / "two.png") as image:
        assert image.size == (128, 96)


def test_a_file_of_prompts_is_one_job(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text("prompt;seed;width\n红房子, 雪;10;72\na {b|c};20;\n", encoding="utf-8-sig")
    said = run(
        "generate", "--prompts-file", str(table), "--height", "64", "--width", "80", "--out", str(tmp_path / "p.png")
    )
    images = [Image.open(tmp_path / f"p-{k}.png") for k in (1, 2)]
    assert said.code == 0 and [image.size for image in images] == [(72, 64), (80, 64)]
    assert [image.getpixel((0, 0))[0] for image in images] == [10, 20]
    assert len(JobQueue(Database(tmp_path / "outputs" / DATABASE_FILE)).recent(5)) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("prompt,width\na,64\nb,9", "list.csv：有 1 处无法使用：第 3 行，width：值为 '9'"),
        (None, "--prompts-file"),
    ],
)
def test_a_file_of_prompts_that_cannot_be_used(run: Run, tmp_path: Path, content: str | None, words: str) -> None:
    table = tmp_path / "list.csv"
    if content is not None:
        table.write_text(content)
    said = run("generate", "--prompts-file", str(table), "--lang", "zh")
    assert said.code == 2 and words in said.line


def test_without_a_name_the_paths_under_outputs_are_printed(run: Run, tmp_path: Path) -> None:
    said = run("generate", "x", "--num-images", "2")
    paths = [Path(line) for line in said.out.splitlines()]
    assert len(paths) == 2
    assert all(path.is_relative_to(tmp_path / "outputs") and path.is_file() for path in paths)


def test_a_copy_that_fails_leaves_no_half_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a-2.png").mkdir()
    said = run("generate", "x", "--num-images", "2", "--out", str(tmp_path / "a.png"), "--lang", "en")
    assert said.code == 2
    assert "--out" in said.line and "a-2.png" in said.line
    assert not list(tmp_path.glob(".*.part"))


# -- how a run ends --------------------------------------------------------------------------------------------------


def test_a_failed_run_is_one_line_and_exit_code_1(run: Run, fakes: dict[str, Any]) -> None:
    fakes["fake.fails"] = "memory"
    said = run("generate", "x", "--lang", "zh", "--width", "128", "--height", "64")
    assert said.code == 1
    assert said.line == OutOfMemoryError(device="cpu", width=128, height=64).message("zh")


def test_ctrl_c_cancels_the_job(
    run: Run, fakes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(line: ProgressLine, job: Job) -> None:
        if job.state is JobState.RUNNING:
            raise KeyboardInterrupt

    fakes["fake.step_seconds"] = 0.3
    monkeypatch.setattr(ProgressLine, "show", press)
    said = run("generate", "x", "--steps", "200")
    assert (said.code, said.out, said.err) == (130, "", "")
    assert JobQueue(Database(tmp_path / "outputs" / DATABASE_FILE)).recent(1)[0].state is JobState.CANCELLED


@pytest.mark.by_default("get")
@pytest.mark.parametrize("method", ["submit", "get"])
def test_a_full_disk_ends_the_run_or_is_waited_for(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    plain, full = getattr(JobQueue, method), DiskFullError(path=tmp_path)

    def refuse(times: int) -> None:
        refusals = iter([full] * times)

        def on_a_full_disk(queue: JobQueue, *given: Any) -> Job:
            for refusal in refusals:
                raise refusal
            return plain(queue, *given)

        monkeypatch.setattr(JobQueue, method, on_a_full_disk)

    monkeypatch.setattr(generate, "WAIT_SECONDS", 0.01)
    refuse(1)
    said = run("generate", "x", "--lang", "en", "--width", "64", "--height", "64")
    assert (said.code, said.line) == (2, full.message("en"))
    refuse(3)
    said = run("generate", "x", "--lang", "en", "--wait", "--width", "64", "--height", "64")
    assert said.code == 0 and said.out.endswith(".png\n")
    assert said.err == f"{full.message('en')} Waiting; Ctrl+C ends it.\n"


@pytest.mark.slow
def test_what_a_full_disk_made_fail_is_queued_again(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain, full, queued_again = JobQueue.get, DiskFullError(path=tmp_path), list[str]()

    def failed_at_first(queue: JobQueue, job_id: str) -> Job:
        job = plain(queue, job_id)
        return replace(job, state=JobState.FAILED, error=full) if job.state is JobState.DONE and not queued_again else job

    def retry(queue: JobQueue, job_id: str) -> Job:
        queued_again.append(job_id)
        return plain(queue, job_id)

    monkeypatch.setattr(generate, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(JobQueue, "get", failed_at_first)
    monkeypatch.setattr(JobQueue, "retry", retry)
    said = run("generate", "x", "--lang", "en", "--wait", "--width", "64", "--height", "64")
    assert (said.code, len(queued_again)) == (0, 1) and said.err.startswith(full.message("en"))


def test_waiting_is_for_this_machine_alone(run: Run) -> None:
    said = run("generate", "x", "--wait", "--server", "http://127.0.0.1:9", "--lang", "en")
    assert said.code == 2 and "--wait" in said.line and "--server" in said.line


@pytest.mark.skipif(sys.platform == "win32", reason="kills with a POSIX signal")
@pytest.mark.slow
def test_a_worker_that_never_comes_up_ends_the_run(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deadly = partial(WorkerSupervisor, generator="tests.integration.jobs.fake_generator:build_killed")
    monkeypatch.setattr(bootstrap, "WorkerSupervisor", deadly)
    monkeypatch.setenv(DEADLY, "1")
    said = run("generate", "x", "--lang", "zh")
    assert said.code == 1
    assert "工作进程连续" in said.line and "信号 9" in said.line and "worker.out" in said.line
    assert JobQueue(Database(tmp_path / "outputs" / DATABASE_FILE)).recent(1)[0].state is JobState.CANCELLED


# -- the order -------------------------------------------------------------------------------------------------------


def test_every_flag_reaches_its_option() -> None:
    line = (
        "p --negative-prompt n --width 80 --height 90 --steps 4 --guidance 1.5 --seed -1 --num-images 2 --model m "
        "--low-vram --set use_rope=off --profile draft --no-progress"
    )
    given = order(*line.split())
    assert given.values == {
        "generation.prompt": "p",
        "generation.negative_prompt": "n",
        "generation.width": "80",
        "generation.height": "90",
        "generation.num_inference_steps": "4",
        "generation.guidance_scale": "1.5",
        "generation.seed": "-1",
        "generation.num_images": "2",
        "model.id": "m",
        "memory.low_vram": True,
        "use_rope": "off",
    }
    assert (given.profile, given.out, given.progress) == ("draft", None, False)


def test_the_name_of_the_file_wins_over_a_set_format(tmp_path: Path) -> None:
    assert order("p", "--out", str(tmp_path / "a.webp"), "--set", "output.format=png").values["output.format"] == "webp"


def test_set_reaches_the_request(run: Run, tmp_path: Path) -> None:
    said = run("generate", "x", "--set", "prompt=另一个", "--set", "width=100", "--set", "metadata=no")
    assert said.code == 0
    with Image.open(said.out.strip()) as image:
        assert image.width == 100
        assert not image.info.get("parameters")


# -- what is said ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "environment", "language"),
    [
        ([], {"LANG": "zh_CN.UTF-8"}, "zh"),
        ([], {"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ([], {"LANG": "de_DE"}, "en"),
        (["--lang", "zh"], {"LANG": "en_US"}, "zh"),
        (["--lang=en"], {"LANG": "zh_TW"}, "en"),
        (["generate", "--lang"], {"LANG": "zh_TW"}, "zh"),
        (["--lang", "fr"], {"LANG": "en_US"}, "en"),
    ],
)
def test_language(arguments: list[str], environment: dict[str, str], language: str) -> None:
    assert choose_language(arguments, environment) == language


def _job(progress: Progress | None, state: JobState = JobState.RUNNING, position: int | None = None) -> Job:
    return Job("j", state, GenerationRequest("x"), datetime.now(UTC), progress=progress, position=position)


def test_progress_line() -> None:
    assert progress_text(_job(None, JobState.QUEUED, 2), "en") == "queued #2"
    assert progress_text(_job(None, JobState.LOADING), "zh") == "正在加载模型"
    half = _job(Progress(Phase.STEPS, step=4, steps=8, image=1, images=1, eta_seconds=2.6))
    assert progress_text(half, "en") == "[############------------] generating, step 4/8, 3 s left"
    second = _job(Progress(Phase.STEPS, step=8, steps=8, image=2, images=2))
    assert progress_text(second, "zh") == "[########################] 正在生成 2/2，第 8/8"


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_phase_has_words(language: str) -> None:
    for phase in Phase:
        assert progress_text(_job(Progress(phase)), language)


def test_the_front_door_opens_without_torch_and_streamlit() -> None:
    """The page and the command line start in a second because only the worker imports the model's libraries.

    The command line has no use for the HTTP service's either.
    """
    code = "import sys, core.cli.main as cli, core.cli.generate; cli.build_parser('en'); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    heavy = {"torch", "diffusers", "transformers", "streamlit", "pandas", "fastapi", "starlette"}
    assert not heavy & set(modules.stdout.split())


# -- input images --------------------------------------------------------------------------------------------------


def test_a_control_image_is_stored_and_named_by_the_request(run: Run, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "lines.png")
    assert order("x", "--control-image", "lines.png").inputs == {"control_image": Path("lines.png")}
    said = run("generate", "x", "--control-image", str(tmp_path / "lines.png"), "--lang", "en")
    assert said.code == 2
    assert "takes no such image; select another model" in said.line
    said = run("generate", "x", "--control-image", str(tmp_path / "none.png"), "--lang", "en")
    assert said.code == 2
    assert "--control-image" in said.line and "No such file" in said.line
    (tmp_path / "no.png").write_text("no image")
    said = run("generate", "x", "--control-image", str(tmp_path / "no.png"), "--lang", "en")
    assert said.code == 2 and "no.png cannot be used" in said.line


@pytest.mark.slow
def test_a_preset_lies_under_what_is_typed(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "a.webp"
    said = run("generate", "x", "--preset", "draft", "--set", "output.quality=50", "--out", str(target))
    assert (said.code, said.err) == (0, "")
    said = run("generate", "x", "--preset", "no such preset")
    assert said.code != 0 and "draft" in said.err, "the ones that there are are named"
