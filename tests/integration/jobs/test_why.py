"""Why two images differ: planted pairs of the embedded model, whose changes are known to move the image less or more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from core.config.loader import PROJECT_ROOT
from core.errors import OptionError
from core.history.image_quality import distance
from core.inference.generator import build_generator
from core.jobs.generator_protocol import LazyGenerator
from core.jobs.runner import JobRunner
from core.models.lora_library import SHIPPED
from core.studio import Studio
from core.studio.bootstrap import build_studio
from core.types import GeneratedImage, GenerationRequest, JobState, WhyChange, WhyReport
from tests.integration.jobs.harness import make_settings

# From what moves the image least to what moves it most; tiles that one image does not need move nothing.
GRADES: Mapping[str, Any] = {"vae.enable_tiling": True, "scheduler.shift": 3.1, "num_inference_steps": 5, "seed": 1234}
SUBSETS = [[name for k, name in enumerate(GRADES) if mask & 1 << k] for mask in range(1, 16)]
DEFAULT = ("seed", "scheduler.shift+seed", "vae.enable_tiling+num_inference_steps+seed", "+".join(GRADES))
PAIRS = [("a red house, day", subset) for subset in SUBSETS] + [("a blue tent, night", subset) for subset in SUBSETS[10:]]
IDS = [f"{'' if prompt.startswith('a red') else 'tent:'}{'+'.join(subset)}" for prompt, subset in PAIRS]


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    studio = build_studio(make_settings(tmp_path_factory.mktemp("outputs")))
    yield studio
    studio._database.close()


@pytest.fixture(scope="module")
def work(studio: Studio) -> Any:
    """Run what waits, in this process."""
    generator = build_generator(PROJECT_ROOT / "configs")
    runner = JobRunner(
        "w", studio._database, studio.settings.output_directory, LazyGenerator(lambda: generator), lambda state: None, Event()
    )

    def run() -> None:
        while runner.run_next() is not None:
            pass

    return run


def request_of(studio: Studio, prompt: str, **fields: Any) -> GenerationRequest:
    values = {"prompt": prompt, "width": 64, "height": 64, "num_inference_steps": 4, "seed": 7, "scheduler.shift": 3.0}
    request = studio.requests.new({**values, "vae.enable_tiling": False})
    own = {name: value for name, value in fields.items() if "." not in name}
    options = {name: value for name, value in fields.items() if "." in name}
    return replace(request, **own, options={**request.options, **options})


def stored(studio: Studio, request: GenerationRequest, **effective: Any) -> str:
    """An image of the history that was made so; its pixels do not matter."""
    image = Image.new("RGB", (request.width, request.height))
    made = GeneratedImage(image, request, image.size, {"text": 0.0, "steps": 1.0, "decode": 0.0}, effective)
    return studio.history.add(made, None).id


def finished(studio: Studio, work: Any, one: str, other: str, **terms: Any) -> WhyReport:
    study = studio.why.start(one, other, **terms)
    work()
    return studio.why.report(study.id)


def names(report: WhyReport) -> list[str]:
    return [name for step in report.ranked for name in step.change.before]


@pytest.mark.by_default(*DEFAULT)
@pytest.mark.parametrize(("prompt", "subset"), PAIRS, ids=IDS)
@pytest.mark.by_default("scheduler.shift+seed", "vae.enable_tiling+scheduler.shift+num_inference_steps+seed")
def test_planted_changes_are_ranked(studio: Studio, work: Any, prompt: str, subset: list[str]) -> None:
    first = request_of(studio, prompt)
    second = request_of(studio, prompt, **{name: GRADES[name] for name in subset})
    report = finished(studio, work, stored(studio, first), stored(studio, second))
    assert names(report) == list(reversed(subset)), [(step.change.after, step.distance) for step in report.steps]
    assert (report.done, report.failed, report.active) == (len(subset) + 1, 0, False)
    assert (report.steps[0].distance == 0.0) == (subset[0] == "vae.enable_tiling")
    last = studio.history.get(report.steps[-1].image_id).request
    assert (last.seed, last.num_inference_steps) == (second.seed, second.num_inference_steps), "the strip ends at the second"


def test_conditions_of_the_machine_that_can_be_set_are_switched(studio: Studio) -> None:
    request = request_of(studio, "a red house")
    one = stored(studio, request, **{"model.dtype": "bfloat16", "versions": {"torch": "2.9"}})
    other = stored(studio, request, **{"model.dtype": "float32", "versions": {"torch": "2.13"}})
    plan = studio.why.plan(one, other)
    assert [(change.before, change.after, change.environment) for change in plan.changes] == [
        ({"model.dtype": "bfloat16"}, {"model.dtype": "float32"}, True)
    ]
    assert plan.fixed == (("versions.torch", "2.9", "2.13"),)


def test_a_lora_file_that_was_another_one_is_switched(tmp_path: Path) -> None:
    """Of a Regenerate after the file of a LoRA was replaced: both files are here, the one of then under another name."""
    outputs = tmp_path / "outputs"
    studio = build_studio(make_settings(outputs, **{"lora.folder": str(tmp_path / "loras")}))
    tensors, digests = load_file(SHIPPED / "ink-print.safetensors"), {}
    for name in ("house", "house-of-then"):
        (tmp_path / "loras").mkdir(exist_ok=True)
        with safe_open(SHIPPED / "ink-print.safetensors", "np") as shipped:
            notes = shipped.metadata()
        save_file(tensors, tmp_path / "loras" / f"{name}.safetensors", metadata={**notes, "made": name})
        digests[name] = studio.requests.file_hash("lora", name)
    request = request_of(studio, "a red house", **{"lora.use": ("house:0.5",)})
    then, now, gone = (
        stored(studio, request, **{"lora.files": [{"name": "house", "sha256": digest, "tensors_sha256": digest}]})
        for digest in (digests["house-of-then"], digests["house"], "0" * 64)
    )
    plan = studio.why.plan(then, now)
    assert [(change.before, change.after) for change in plan.changes] == [
        ({"lora.use": ("house-of-then:0.5",)}, {"lora.use": ("house:0.5",)})
    ]
    assert not plan.fixed and studio.why.plan(now, then).changes[0].after == {"lora.use": ("house-of-then:0.5",)}
    with pytest.raises(OptionError, match=r"lora\.house"):
        studio.why.plan(gone, now)
    studio._database.close()


def test_images_between_are_small_and_never_more_than_allowed(studio: Studio) -> None:
    first = replace(request_of(studio, "a red house"), width=768, height=512)
    second = replace(first, seed=9, prompt="a blue house", num_inference_steps=6, cfg_scale=2.0)
    one, other = stored(studio, first), stored(studio, second)
    before = studio.queue.count_active()
    plan = studio.why.plan(one, other, renders=3)
    assert plan.size == (256, 176) and plan.renders == 3
    assert set(plan.changes[0].before) == {"num_inference_steps", "cfg_scale", "prompt"} and set(plan.changes[1].before) == {"seed"}
    assert studio.why.plan(one, other, size=0).size == (768, 512) and studio.queue.count_active() == before
    with pytest.raises(OptionError, match="renders"):
        studio.why.plan(one, other, renders=1)


def test_changes_that_go_only_together_are_made_together(studio: Studio) -> None:
    first = request_of(studio, "a red house")
    second = replace(first, num_inference_steps=0, seed=8)
    with pytest.raises(OptionError, match="num_inference_steps"):
        studio.why.plan(stored(studio, first), stored(studio, second))
    changes = [
        WhyChange({name: getattr(first, name) for name in after}, after)
        for after in ({"num_inference_steps": 0}, {"num_inference_steps": 6, "seed": 8})
    ]
    made, requests = studio.why._path(first, changes)
    assert len(made) == 1 and len(requests) == 2 and made[0].after == {"num_inference_steps": 6, "seed": 8}


def test_a_study_of_equal_requests_is_refused_and_one_can_be_cancelled(studio: Studio, work: Any) -> None:
    first = request_of(studio, "a red house")
    one, other = stored(studio, first), stored(studio, first)
    with pytest.raises(OptionError, match="differs"):
        studio.why.start(one, other)
    study = studio.why.start(one, stored(studio, replace(first, seed=5)))
    report = studio.why.cancel(study.id)
    assert report.failed == 2 and not report.active and not report.ranked
    assert {studio.queue.get(job).state for job in study.jobs} == {JobState.CANCELLED}


def test_distance_of_images(tmp_path: Path) -> None:
    for name, colour, size in (("a", 10, (8, 8)), ("b", 30, (8, 8)), ("c", 30, (16, 16))):
        Image.fromarray(np.full((*reversed(size), 3), colour, np.uint8)).save(tmp_path / f"{name}.png")
    assert distance(tmp_path / "a.png", tmp_path / "b.png") == distance(tmp_path / "a.png", tmp_path / "c.png") == 20.0
