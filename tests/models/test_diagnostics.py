"""Cancel within one step, and planted faults that are found and named."""

import pytest
import torch
from PIL import Image

from core.config.loader import PROJECT_ROOT
from core.errors import Cancelled, CorruptImageError, ModelFileError, OutOfMemoryError
from core.inference import precision
from core.inference.generator import build_generator
from core.types import Phase


def test_cancel_stops_within_one_step_and_does_not_decode(generator, request_of):
    seen = []

    def cancelled():
        return len([p for p in seen if p.phase is Phase.STEPS]) >= 2

    with pytest.raises(Cancelled):
        generator.generate(request_of(), on_progress=seen.append, is_cancelled=cancelled)
    assert max(p.step for p in seen) == 2
    assert all(p.phase is not Phase.DECODE for p in seen)


def test_images_finished_before_a_cancel_are_delivered(generator, request_of):
    finished = []
    with pytest.raises(Cancelled):
        generator.generate(request_of(num_images=3), is_cancelled=lambda: len(finished) == 2, on_image=finished.append)
    assert [image.request.seed for image in finished] == [7, 8]


def test_the_next_request_works_after_a_cancel(generator, request_of):
    with pytest.raises(Cancelled):
        generator.generate(request_of(), is_cancelled=lambda: True)
    assert generator.generate(request_of()).images[0].image.size == (128, 128)


@pytest.mark.by_default("nan-1", "inf-3")
@pytest.mark.parametrize("step", [1, 3, 4])
@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_poisoned_transformer_is_named_with_its_step(generator, request_of, monkeypatch, step, poison):
    generator.generate(request_of())
    transformer = generator.loaded.pipeline.transformer
    calls = []
    true_forward = transformer.forward

    def forward(*args, **kwargs):
        calls.append(1)
        (images,) = true_forward(*args, **kwargs)
        return ([image * poison for image in images] if len(calls) == step else images,)

    monkeypatch.setattr(transformer, "forward", forward)
    with pytest.raises(CorruptImageError, match=f"transformer gave NaN or Inf at step {step}"):
        generator.generate(request_of())


def test_poisoned_decoder_is_named(generator, request_of, monkeypatch):
    generator.generate(request_of())
    decoder = generator.loaded.pipeline.vae.decoder
    true_forward = decoder.forward
    monkeypatch.setattr(decoder, "forward", lambda *a, **k: true_forward(*a, **k) * float("nan"))
    with pytest.raises(CorruptImageError, match="vae gave NaN or Inf"):
        generator.generate(request_of())


def test_black_image_is_found(generator, request_of, monkeypatch):
    generator.generate(request_of())
    decoder = generator.loaded.pipeline.vae.decoder
    true_forward = decoder.forward
    monkeypatch.setattr(decoder, "forward", lambda *a, **k: true_forward(*a, **k) * 0 - 1)
    with pytest.raises(CorruptImageError, match="image of one color"):
        generator.generate(request_of())


def test_a_dark_image_with_something_in_it_passes():
    image = Image.new("RGB", (8, 8))
    image.putpixel((3, 3), (3, 0, 0))
    precision.check_image(image, 8)
    image.putpixel((3, 3), (0, 0, 0))
    with pytest.raises(CorruptImageError):
        precision.check_image(image, 8)


def test_out_of_memory_is_told_in_one_line_and_the_next_request_works(request_of, monkeypatch):
    generator = build_generator(PROJECT_ROOT / "configs")  # it remembers what ran out of memory

    def render(*args, **kwargs):
        raise torch.OutOfMemoryError("planted")

    with monkeypatch.context() as planted:
        planted.setattr("core.inference.generator.generate_image", render)
        with pytest.raises(OutOfMemoryError, match="128x128"):
            generator.generate(request_of())
    assert generator.generate(request_of(num_inference_steps=1)).images
    generator.unload()


def test_a_bad_folder_leaves_the_next_good_request_working(generator, request_of, tmp_path):
    with pytest.raises(ModelFileError):
        generator.generate(request_of(model=str(tmp_path)))
    assert generator.generate(request_of()).images
