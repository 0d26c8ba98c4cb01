"""The time left: from past images of the same kind, then from the job's own."""

from dataclasses import replace

import pytest
from PIL import Image

from core.jobs.job_trace import EtaEstimator, Past
from core.types import GeneratedImage, GenerationRequest, Phase, Progress

REQUEST = GenerationRequest("x", seed=10, num_images=4)


def image(seconds: float, request: GenerationRequest = REQUEST) -> GeneratedImage:
    timings = {"text": 5.0, "steps": seconds, "decode": 0.0}
    return GeneratedImage(Image.new("RGB", (8, 8)), request, (8, 8), timings, {})


def always(seconds: float | None) -> Past:
    return lambda single: seconds


def at(image: int, step: int) -> Progress:
    return Progress(Phase.STEPS, step, 8, image, 4, eta_seconds=99.0)


def test_nothing_is_known_at_first() -> None:
    assert EtaEstimator(REQUEST, (), always(None)).left(at(1, 2)) == 99.0


def test_the_past_tells_before_the_first_step_and_the_job_itself_after_its_first_image() -> None:
    pace = EtaEstimator(REQUEST, (), always(2.0))
    assert pace.left(Progress(Phase.TEXT, steps=8, images=4)) == pytest.approx(8.0)
    assert pace.left(at(2, 4)) == pytest.approx(2 * 2.0 + 1.0)
    pace.learn(image(4.0))
    assert pace.left(at(2, 4)) == pytest.approx(2 * 4.0 + 2.0)
    assert pace.left(at(4, 8)) == 0.0


def test_images_that_are_there_need_no_time() -> None:
    assert EtaEstimator(REQUEST, {2, 4}, always(2.0)).left(at(1, 0)) == pytest.approx(4.0)


def test_images_of_a_batch_take_what_those_of_their_size_took() -> None:
    small = {"prompt": "b", "width": 128, "height": 128}
    batch = replace(REQUEST, images=({}, {"prompt": "c", "width": 512, "height": 512}, small, {**small, "seed": 3}))
    pace = EtaEstimator(batch, (), lambda single: {256: 2.0, 512: 10.0}.get(single.width))
    rate = 12.0 / (256**2 + 512**2)
    unknown = rate * 128**2
    assert pace.left(at(1, 0)) == pytest.approx(12.0 + 2 * unknown), "what is not known is judged by its pixels"
    pace.learn(image(1.0, batch.per_image_requests()[2]))
    assert pace.left(at(1, 4)) == pytest.approx(1.0 + 10.0 + 2 * 6.0), "its prompt is read again for each image"
