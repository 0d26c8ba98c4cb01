"""Live drafts: the worker draws them between two jobs; the latest of a client wins, and nothing is stored."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from PIL import Image

from core.errors import UnavailableError
from core.i18n import localize
from core.inference.generator import build_generator
from core.jobs.tenant import Tenant
from core.jobs.worker import Worker
from core.jobs.worker_commands import DONE, REPLACED, WAITING, DraftCommands
from core.jobs.worker_process import WorkerConfig
from core.studio import Studio
from core.studio.bootstrap import build_studio
from core.studio.drafts import LEAST_SIDE, STEPS, draft_of
from core.types import CONTROL, IMAGE, GenerationRequest, HistoryQuery, Phase
from tests.integration.jobs.fake_generator import FakeGenerator
from tests.integration.jobs.harness import JobHarness, make_request, make_settings


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[JobHarness]:
    shop = JobHarness(tmp_path)
    yield shop
    shop.database.close()


def worker_of(shop: JobHarness, generator: FakeGenerator, given_back: Callable[[], bool] = lambda: False) -> Worker:
    values = make_settings(shop.directory).values
    config = WorkerConfig("w", os.getpid(), shop.directory, shop.directory, values)
    tenant = Tenant(values, shop.directory, given_back)
    return Worker(config, shop.database, lambda: generator, Event(), tenant)


def test_a_draft_is_answered_and_stored_nowhere(shop: JobHarness) -> None:
    drafts, worker = DraftCommands(shop.directory), worker_of(shop, FakeGenerator())
    draft = drafts.ask("me", make_request(width=96))
    assert drafts.read("me", draft).state == WAITING
    worker._turn()
    answer = drafts.read("me", draft)
    assert answer.state == DONE and Image.open(io.BytesIO(answer.image)).size == (96, 64)
    assert not shop.queue.recent(9) and shop.history.search(HistoryQuery()).total == 0 and not list(shop.directory.rglob("*.png"))
    assert drafts.read("somebody else", draft).state == REPLACED, "an id alone shows nobody the draft of another"
    assert drafts.take() is None


def test_the_next_draft_of_a_client_stops_the_one_in_work(shop: JobHarness) -> None:
    drafts, steps = DraftCommands(shop.directory), []
    asked: list[str] = []

    class Interrupted(FakeGenerator):
        def generate(self, request: GenerationRequest, on_progress: Any, *rest: Any) -> Any:
            def told(progress: Any) -> None:
                on_progress(progress)
                if progress.phase is Phase.STEPS:
                    steps.append(request.seed)
                    if len(steps) == 1:
                        asked.append(drafts.ask("me", make_request(seed=2)))

            return super().generate(request, told, *rest)

    worker = worker_of(shop, Interrupted())
    first, of_another = drafts.ask("me", make_request(seed=1)), drafts.ask("you", make_request(seed=3))
    for _ in range(3):
        worker._turn()
    assert steps.count(1) == 1 and {2, 3} <= set(steps)
    assert drafts.read("me", first).state == REPLACED
    assert drafts.read("me", asked[0]).state == drafts.read("you", of_another).state == DONE


def test_a_draft_that_fails_or_has_no_gpu_is_told(shop: JobHarness) -> None:
    drafts, given_back = DraftCommands(shop.directory), [False]
    worker = worker_of(shop, FakeGenerator(), lambda: given_back[0])
    draft = drafts.ask("me", make_request(fake_fails="studio"))
    worker._turn()
    error = drafts.read("me", draft).error
    assert error is not None and error.code == "CorruptImageError"
    cancelled = drafts.ask("me", make_request())
    drafts.cancel("me", cancelled)
    worker._turn()
    assert drafts.read("me", cancelled).state == REPLACED
    given_back[0], late = True, drafts.ask("me", make_request())
    command = drafts.take()
    assert command is not None
    worker._tenant._told = (-1.0, None)
    worker._draw_draft(command)
    error = drafts.read("me", late).error
    assert error is not None and "given back" in error.message("en") and "GPU" in error.message("zh")


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    studio = build_studio(make_settings(tmp_path_factory.mktemp("outputs")))
    yield studio
    studio._database.close()


def test_a_draft_is_small_and_of_few_steps_with_the_seed_of_the_image(studio: Studio) -> None:
    request = studio.requests.new({"prompt": "a red house", "width": 768, "height": 512, "seed": 7, "num_inference_steps": 30})
    request = replace(request, num_images=3, options={**request.options, "hires.enabled": True})
    model = studio.catalog.find("demo")
    draft = draft_of(request, model)
    assert (draft.width, draft.height) == (LEAST_SIDE, 176) and (draft.num_inference_steps, draft.num_images) == (STEPS, 1)
    assert draft.seed == 7 and not draft.options["hires.enabled"]
    positions = draft_of(replace(request, options={**request.options, "transformer.rope_scaling": "ntk"}), model)
    source = replace(request, inputs={IMAGE: "x"}, options={**request.options, "img2img.denoising_strength": 0.1})
    assert (positions.width, draft_of(source, model).width) == (768, 768)
    assert draft_of(source, model).num_inference_steps == 10, "at 0.1 one of ten steps runs"
    assert draft_of(replace(request, num_inference_steps=2), model).num_inference_steps == 2


def test_what_can_have_no_draft_is_refused_with_the_reason(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    request = studio.requests.new({"prompt": "a red house", "seed": 7})
    for changed, words in (
        (replace(request, seed=-1), "random seed"),
        (replace(request, options={**request.options, "upscale.mode": "enlarge"}), "upscaling"),
    ):
        with pytest.raises(UnavailableError, match=words):
            studio.drafts.ask(changed, "me")
    status = replace(studio.worker.status(), yields_to=localize("jobs.tenant.given_back"))
    monkeypatch.setattr(studio.worker, "status", lambda: status)
    with pytest.raises(UnavailableError, match="given back"):
        studio.drafts.ask(request, "me")
    settings = make_settings(studio.settings.output_directory, **{"worker.executor": "ray"})
    monkeypatch.setattr(studio.drafts, "_settings", settings)
    assert "Ray" in (studio.drafts.problem() or {})["en"]


MOVES: dict[str, dict[str, Any]] = {
    "cfg": {"cfg_scale": 3.0},
    "shift": {"scheduler.shift": 6.0},
    "lora": {"lora.use": ("ink-print:1",)},
    "rope": {"transformer.rope_scaling": "ntk", "transformer.rope_factor": 2.0},
    "strength": {"img2img.denoising_strength": 0.9},
}


def drafted(worker: Worker, drafts: DraftCommands, request: GenerationRequest) -> bytes | None:
    """Return the image of the draft that the worker answers."""
    asked = drafts.ask("me", request)
    worker._turn()
    answer = drafts.read("me", asked)
    assert answer.error is None, answer.error
    return answer.image


@pytest.mark.by_default("shift")
@pytest.mark.parametrize("move", list(MOVES))
def test_what_is_moved_is_seen_in_the_draft(studio: Studio, tmp_path: Path, move: str) -> None:
    """On the embedded model; the same values give the same draft."""
    from core.config.loader import PROJECT_ROOT

    shop = JobHarness(tmp_path)
    worker = worker_of(shop, build_generator(PROJECT_ROOT / "configs"))
    inputs = {}
    if move == "strength":
        buffer = io.BytesIO()
        Image.linear_gradient("L").convert("RGB").resize((128, 128)).save(buffer, "PNG")
        inputs = {IMAGE: worker._runner._inputs.keep(buffer.getvalue(), "source.png")}
    values = {"prompt": "a red house", "seed": 7, "width": 128, "height": 128, "img2img.denoising_strength": 0.5}
    before = studio.requests.new(values)
    options = {**before.options, **{name: value for name, value in MOVES[move].items() if "." in name}}
    after = replace(before, options=options, **{name: value for name, value in MOVES[move].items() if "." not in name})
    drafts, made = DraftCommands(tmp_path), []
    for request in (before, before, after):
        made.append(drafted(worker, drafts, draft_of(replace(request, inputs=inputs), studio.catalog.find("demo"))))
    assert made[0] == made[1] != made[2]
    shop.database.close()


def test_the_weight_of_a_controlnet_is_seen_in_the_draft(tmp_path: Path) -> None:
    """On a tiny Stable Diffusion; the weight is the text that the page puts around the slider's value."""
    from core.config.loader import PROJECT_ROOT
    from core.inference.generator import Generator
    from core.models.catalog import Catalog
    from core.models.model_paths import ModelPaths
    from tests.models import tiny_models

    configs, store = tmp_path / "configs", tmp_path / "store"
    shutil.copytree(PROJECT_ROOT / "configs", configs)
    tiny_models.stable_diffusion(tmp_path / "sd15")
    tiny_models.sd15_network(store / "controlnet" / "lines")
    (configs / "models" / "sd15.yaml").write_text(f"id: sd15\npath: {tmp_path / 'sd15'}\n")
    catalog = Catalog(configs, ModelPaths(store))
    shop = JobHarness(tmp_path)
    worker = worker_of(shop, Generator(catalog))
    buffer = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((64, 64)).save(buffer, "PNG")
    control = worker._runner._inputs.keep(buffer.getvalue(), "control.png")
    drafts, made = DraftCommands(tmp_path), []
    for weight in ("0.4", "0.4", "1.2"):
        request = make_request(model="sd15", inputs={CONTROL: control})
        request = replace(request, options={**request.options, "controlnet.units": (f"lines:{weight}:preprocessor=none",)})
        draft = draft_of(request, catalog.find("sd15"))
        assert (draft.width, draft.height) == (request.width, request.height), "a control image fits its size alone"
        made.append(drafted(worker, drafts, draft))
    assert made[0] == made[1] != made[2]
    shop.database.close()
