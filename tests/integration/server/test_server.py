"""Another studio that draws: for the command line, and for the queue of this one. Two live studios, real workers."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import core.remote.client as remote_client
from core.cli import main
from core.cli.console import ProgressLine
from core.errors import (
    CorruptImageError,
    ModelFileError,
    NoServerError,
    OptionError,
    ServerDeniedError,
    ServerRefusedError,
    ServerVersionError,
)
from core.remote.client import Remote
from core.remote.generator import SERVER
from core.storage.input_images import InputImages
from core.types import Job, JobState
from tests.integration.jobs.harness import JobHarness, wait_for
from tests.integration.server.live import Served, serving
from tests.options import measured

TOKEN = "a-token-of-24-characters"


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The studio that draws; it asks for its token."""
    with serving(tmp_path_factory.mktemp("far"), **{"access.token": TOKEN}) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_fakes(far: Served) -> Iterator[None]:
    yield
    far.fakes.clear()


@pytest.fixture(scope="module")
def near(far: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobHarness]:
    """A queue of this machine whose worker has `far` draw."""
    harness = JobHarness(tmp_path_factory.mktemp("near"), **{"remote.url": far.url + "/", "remote.token": TOKEN})
    harness.supervisor.start()
    yield harness
    harness.close()


@pytest.fixture
def run(far: Served, configs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable:
    """`run("generate", ...)` against `far`, with its token in the variable."""
    monkeypatch.setenv("ZDARKROOM_TOKEN", TOKEN)

    def run_one(*arguments: str, server: str = far.url) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main.main([*arguments, "--server", server, "--lang", "en"], configs)
        return (code, *capsys.readouterr())

    return run_one


# -- the command line --------------------------------------------------------------------------------------------------


def test_generate_on_a_server(far: Served, run: Callable, tmp_path: Path) -> None:
    out = tmp_path / "a.webp"
    flags = [
        "--width",
        "64",
        "--height",
        "65",
        "--steps",
        "3",
        "--seed",
        "9",
        "--num-images",
        "2",
        "--profile",
        "draft",
    ]
    code, said, problem = run("generate", "红房子", *flags, "--set", "use_rope=no", "--out", str(out))
    assert (code, problem) == (0, "")
    files = [tmp_path / "a-1.webp", tmp_path / "a-2.webp"]
    assert said.split() == [str(file) for file in files] and not list(tmp_path.glob(".*"))
    with Image.open(files[0]) as image:
        assert (image.format, image.size) == ("WEBP", (64, 65))
    request = far.studio.queue.recent(1)[0].request
    assert (request.prompt, request.seed, request.num_inference_steps) == ("红房子", 9, 3)
    assert request.options["transformer.use_rope"] is False


def test_without_a_file_the_addresses_are_printed(far: Served, run: Callable) -> None:
    code, said, _ = run("generate", "x", "--width", "64", "--height", "64", "--steps", "2")
    assert code == 0 and said.strip() == f"{far.url}/api/v1/images/{far.studio.queue.recent(1)[0].image_ids[0]}"


def test_a_image_to_draw_over_goes_along(far: Served, run: Callable, tmp_path: Path) -> None:
    Image.new("RGB", (80, 64), (1, 222, 3)).save(tmp_path / "old.png")
    out = tmp_path / "new.png"
    code, _, problem = run("generate", "x", "--steps", "3", "--image", str(tmp_path / "old.png"), "--out", str(out))
    assert (code, problem) == (0, "")
    with Image.open(out) as image:
        assert (image.size, image.getpixel((9, 9))) == ((80, 64), (1, 222, 3))
    code, _, problem = run("generate", "x", "--mask", str(tmp_path / "old.png"))
    assert code == 2 and "there is no image" in problem


def test_ctrl_c_cancels_there(far: Served, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(line: ProgressLine, job: Job) -> None:
        if job.state is JobState.RUNNING:
            raise KeyboardInterrupt

    far.fakes["fake.step_seconds"] = 0.2
    monkeypatch.setattr(ProgressLine, "show", press)
    assert run("generate", "x", "--steps", "100") == (130, "", "")
    assert far.studio.queue.recent(1)[0].state is JobState.CANCELLED


def test_what_went_wrong_is_one_line(
    far: Served, run: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, _, said = run("generate", "x", server="http://127.0.0.1:9")
    assert code == 2 and "No studio answers at http://127.0.0.1:9" in said
    code, _, said = run("generate", "x", "--steps", "101")
    assert code == 2 and "service.max_steps" in said and said.startswith(far.url)
    far.fakes["fake.fails"] = "studio"
    code, _, said = run("generate", "x", "--width", "64", "--height", "64")
    assert code == 1 and "NaN at step 2" in said
    far.fakes.clear()
    code, _, said = run("generate", "x", server="http://anna:secret@127.0.0.1:9")
    assert code == 2 and "secret" not in said
    monkeypatch.setattr(remote_client, "__version__", "9.9.0")
    code, _, said = run("generate", "x")
    assert code == 2 and "is Z Darkroom 0." in said and "Z Darkroom 9.9.0" in said
    monkeypatch.undo()
    code, _, said = run("generate", "x")  # the variable is gone with the others
    assert code == 2 and "does not accept this token" in said and "ZDARKROOM_TOKEN" in said


def test_a_token_from_a_file(run: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ZDARKROOM_TOKEN")
    (tmp_path / "token").write_text(f"{TOKEN}\nmore")
    small = ["--width", "64", "--height", "64", "--steps", "2"]
    assert run("generate", "x", *small, "--token-file", str(tmp_path / "token"))[0] == 0
    code, _, said = run("generate", "x", "--token-file", str(tmp_path / "none"))
    assert code == 2 and "--token-file" in said


# -- the queue of this machine -----------------------------------------------------------------------------------------


@pytest.mark.option("remote.url")
def test_a_job_is_generated_there_and_kept_here(far: Served, near: JobHarness) -> None:
    far.fakes["fake.step_seconds"] = 0.3
    job_id = near.submit(num_images=2, seed=20)
    near.until(job_id, lambda job: job.progress is not None and job.progress.step > 1)
    assert wait_for(lambda: near.queue.preview(job_id))[8:12] == b"WEBP"
    job = near.wait(job_id)
    assert (job.state, job.error, len(job.image_ids)) == (JobState.DONE, None, 2)
    record = near.history.get(job.image_ids[1])
    with Image.open(near.history.file(record.id)) as image:
        assert image.getpixel((0, 0)) == (21, 40, 80)
        kept = json.loads(image.info["zdarkroom"])
    measured(
        "remote.url", "two images were drawn at the other address and kept here, with its address in their record"
    )
    assert kept["resolved"][SERVER] == far.url and kept["resolved"]["model.device"] == "cpu"
    assert [one.option for one in record.decisions] == [SERVER]
    assert TOKEN not in json.dumps(kept) and TOKEN not in (near.directory / "logs/worker.log").read_text()
    status = near.supervisor.status()
    assert status.device == far.url.removeprefix("http://") and TOKEN not in str(status)


def test_each_image_of_a_batch_is_an_order_of_its_own(far: Served, near: JobHarness) -> None:
    images = ({"prompt": "a red tree", "seed": 5, "width": 64}, {"prompt": "a blue car", "seed": 5, "width": 80})
    before = len(far.studio.queue.recent(200))
    job = near.wait(near.submit(num_images=2, seed=5, images=images))
    assert (job.state, job.error) == (JobState.DONE, None)
    kept = [near.history.get(image_id) for image_id in job.image_ids]
    assert [(one.request.prompt, one.request.width, one.place) for one in kept] == [
        ("a red tree", 64, 1),
        ("a blue car", 80, 2),
    ]
    assert len(far.studio.queue.recent(200)) == before + 2


def test_input_images_go_along_and_keep_their_names(far: Served, near: JobHarness) -> None:
    file = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(file, "WEBP")
    named = {"image": InputImages(near.directory).keep(file.getvalue())}
    job = near.wait(near.submit(inputs=named, parent="a" * 32))
    assert (job.state, job.error) == (JobState.DONE, None)
    there = far.studio.queue.recent(1)[0].request
    assert (there.inputs, there.parent) == (named, ""), "what is seen has the same name everywhere"
    record = near.history.get(job.image_ids[0])
    assert (record.request.inputs, record.request.parent) == (named, "a" * 32)
    with (
        Image.open(near.history.file(record.id)) as generated,
        Image.open(InputImages(near.directory).file(named["image"])) as sent,
    ):
        assert generated.convert("RGB").tobytes() == sent.tobytes()


def test_the_format_asked_for_is_made_here(far: Served, near: JobHarness) -> None:
    options = {"output.format": "webp", "output.metadata": False}
    request = near.queue.get(near.submit()).request
    job_id = near.queue.submit(type(request)(**{**vars(request), "options": {**request.options, **options}})).id
    file = near.history.file(near.wait(job_id).image_ids[0])
    assert file.suffix == ".webp" and far.studio.queue.recent(1)[0].request.options["output.format"] == "png"


def test_cancel_reaches_it(far: Served, near: JobHarness) -> None:
    far.fakes["fake.step_seconds"] = 0.2
    job_id = near.submit(num_inference_steps=100)
    near.until(job_id, lambda job: job.progress is not None and job.progress.step > 1)
    near.queue.cancel(job_id)
    assert near.wait(job_id).state is JobState.CANCELLED
    wait_for(lambda: far.studio.queue.recent(1)[0].state is JobState.CANCELLED)
    far.fakes.clear()
    near.queue.retry(job_id)
    there = far.studio.queue.recent(1)[0].id
    wait_for(lambda: far.studio.queue.get(there).state in (JobState.RUNNING, JobState.QUEUED, JobState.LOADING))
    assert far.studio.queue.recent(1)[0].id == there, "the same order, running again"
    near.queue.cancel(job_id)
    assert near.wait(job_id).state is JobState.CANCELLED


def test_a_worker_that_dies_finds_its_order_again(far: Served, near: JobHarness) -> None:
    before = len(far.studio.queue.recent(200))
    far.fakes["fake.step_seconds"] = 0.3
    job_id = near.submit(num_images=3, seed=40)
    near.until(job_id, lambda job: len(job.image_ids) == 1)
    os.kill(near.worker_pid(), 9)
    job = near.wait(job_id)
    assert job.state is JobState.DONE and job.crashes == 1
    seeds = sorted(near.history.get(image_id).request.seed for image_id in job.image_ids)
    assert seeds == [40, 41, 42], "each once"
    assert len(far.studio.queue.recent(200)) == before + 1 and len(far.studio.queue.recent(1)[0].image_ids) == 3


def test_its_errors_are_this_jobs_errors(far: Served, near: JobHarness) -> None:
    far.fakes["fake.fails"] = "studio"
    assert isinstance(near.wait(near.submit()).error, CorruptImageError)
    refused = near.wait(near.submit(model="another")).error
    assert isinstance(refused, ServerRefusedError) and "no model another; known: demo" in refused.message("en")
    assert "没有模型" in refused.message("zh")


@pytest.mark.option("remote.token")
def test_a_wrong_token_is_told(far: Served, tmp_path: Path) -> None:
    harness = JobHarness(tmp_path, **{"remote.url": far.url, "remote.token": "not-the-token-at-all"})
    harness.supervisor.start()
    try:
        error = harness.wait(harness.submit()).error
        assert isinstance(error, ServerDeniedError) and "ZDARKROOM_REMOTE__TOKEN" in str(error)
        assert "not-the-token-at-all" not in str(error.to_dict())
        measured("remote.token", "a wrong one: the job fails, says which setting, and does not say the token")
    finally:
        harness.close()


# -- the client --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1:8501", "ftp://x", "http://", "http://a:b@c", "http://x:y", "http://x?a=b", "http://x y"]
)
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(OptionError) as caught:
        Remote(address)
    assert "a:b" not in str(caught.value)


def test_nobody_there() -> None:
    with pytest.raises(NoServerError):
        Remote("http://127.0.0.1:9").capabilities()


def test_something_else_is_there(tmp_path: Path) -> None:
    code = "import http.server; s = http.server.HTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)\n"
    code += "print(s.server_port, flush=True); s.serve_forever()"
    other = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert other.stdout is not None
        with pytest.raises(ServerVersionError, match="no Z Darkroom"):
            Remote(f"http://127.0.0.1:{other.stdout.readline().strip()}").capabilities()
    finally:
        other.kill()
        other.wait()
        other.stdout.close()


def test_the_models_are_those_of_the_server(far: Served, tmp_path: Path) -> None:
    from core.studio.bootstrap import build_studio
    from tests.integration.jobs.harness import make_settings

    given: dict[str, Any] = {"remote.url": far.url, "remote.token": TOKEN}
    studio = build_studio(make_settings(tmp_path, **given))
    assert [model.id for model in studio.catalog.models()] == [model.id for model in far.studio.catalog.models()]
    assert all(model.problem is None and model.path is None for model in studio.catalog.models())
    assert not any(model.base or model.sources or model.own for model in studio.catalog.models()), (
        "nothing is fetched for it here"
    )
    assert not studio.catalog.problems()
    with pytest.raises(ServerRefusedError, match="models are its own"):
        studio.catalog.add(str(tmp_path))
    with pytest.raises(ModelFileError):
        studio.models.remove("demo")
    away = build_studio(make_settings(tmp_path, **{"remote.url": "http://127.0.0.1:9"}))
    assert "demo" in [model.id for model in away.catalog.models()], "its own entries, while it does not answer"
