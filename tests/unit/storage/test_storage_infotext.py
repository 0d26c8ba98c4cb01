"""The A1111 text, written and read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import __version__
from core.history.importers import PARAMETERS, a1111
from core.storage.infotext import NEGATIVE, Infotext, read_infotext, read_lora_hashes, well_formed, write_infotext
from core.types import GenerationRequest

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=80)  # lone surrogates and control characters too
PROMPTS = ANY_TEXT.filter(lambda text: not any(line.lstrip().startswith(NEGATIVE) for line in text.split("\n")))


def test_the_lines_are_what_a1111_readers_expect() -> None:
    request = GenerationRequest("红色的房子，日落", "rain,\nblur", "demo", 256, 512, 8, 1.0, 42)
    effective = {"scheduler": "FlowMatchEulerDiscreteScheduler", "model_hash": "0123456789"}
    assert write_infotext(request, effective) == (
        "红色的房子，日落\nNegative prompt: rain,\nblur\n"
        "Steps: 8, Sampler: Euler, Schedule type: Simple, CFG scale: 1, Seed: 42, Size: 256x512, "
        f"Model: demo, Model hash: 0123456789, Version: Z Darkroom {__version__}"
    )


@pytest.mark.parametrize(("cfg", "text"), [(1.0, "1"), (5.0, "5"), (1.5, "1.5"), (1.1, "1.1")])
def test_cfg_scale_is_written_as_it_is(cfg: float, text: str) -> None:
    written = write_infotext(GenerationRequest("a", cfg_scale=cfg), {})
    assert read_infotext(written).fields["CFG scale"] == text


@given(PROMPTS, ANY_TEXT, ANY_TEXT.filter(lambda name: name.strip() == name and name))
def test_round_trip(prompt: str, negative: str, model: str) -> None:
    request = GenerationRequest(prompt, negative, model, seed=2**53 - 1)
    read = read_infotext(write_infotext(request, {}))
    assert (read.prompt, read.negative_prompt) == (well_formed(prompt), well_formed(negative))
    assert read.fields["Model"] == well_formed(model)
    assert read.fields["Seed"] == str(2**53 - 1)


@given(ANY_TEXT)
def test_any_text_is_read(text: str) -> None:
    assert isinstance(read_infotext(text), Infotext)


def test_text_of_other_programs() -> None:
    text = (
        "a cat, <lora:x:1>\nNegative prompt: bad: hands\nugly\n"
        'Steps: 20, Sampler: DPM++ 2M, CFG scale: 7, Seed: 1, Size: 512x512, Lora hashes: "x: 12, y: 34", Version: v1'
    )
    read = read_infotext(text)
    assert (read.prompt, read.negative_prompt) == ("a cat, <lora:x:1>", "bad: hands\nugly")
    assert read.fields["Lora hashes"] == "x: 12, y: 34"
    assert read_infotext("no parameters, here: at all") == Infotext("no parameters, here: at all")


def test_halves_of_characters_and_nul_become_the_replacement_character() -> None:
    assert well_formed("a\ud83db\0\ud83d\ude00") == "a\ufffdb\ufffd😀"


def test_loras_are_written_as_a1111_has_them() -> None:
    files = [
        {"name": "ink", "weight": 0.5, "sha256": "0" * 64, "tensors_sha256": "ab" * 32},
        {"name": "neon", "weight": 1.0, "sha256": "1" * 64, "tensors_sha256": "cd" * 32},
    ]
    request = GenerationRequest("a cat <lora:ink:0.5>", options={"lora.use": ("ink:1", "neon:1")})
    prompt, line = write_infotext(request, {"lora.files": files}).split("\n")
    assert prompt == "a cat <lora:ink:0.5><lora:neon:1>"
    assert 'Lora hashes: "ink: abababababab, neon: cdcdcdcdcdcd"' in line
    hashes = read_infotext(f"{prompt}\n{line}").fields["Lora hashes"]
    assert read_lora_hashes(hashes) == {"ink": "ab" * 6, "neon": "cd" * 6}
    assert "Lora" not in write_infotext(GenerationRequest("a cat", options={"lora.use": ()}), {})


def test_a_variation_is_written_as_a1111_has_it_and_read_from_its_images() -> None:
    varied = {"generation.variation_strength": 0.2, "generation.variation_seed": 5}
    line = write_infotext(GenerationRequest("a cat", options=varied), {}).split("\n")[1]
    assert "Variation seed: 5, Variation seed strength: 0.2" in line
    off = {**varied, "generation.variation_strength": 0.0}
    assert "Variation" not in write_infotext(GenerationRequest("a cat", options=off), {})
    found = a1111.read({PARAMETERS: f"a cat\n{line}"})
    assert found is not None and found.values.items() >= varied.items() and not found.unused.keys() & {"Variation seed"}
    alone = a1111.read({PARAMETERS: "a cat\nSteps: 4, Sampler: Euler, Seed: 3, Size: 64x64, Variation seed: 5"})
    assert alone is not None and alone.unused["Variation seed"] == "5" and varied.keys().isdisjoint(alone.values)


def test_the_tiny_decoder_is_written_as_a1111_has_it_and_read_back() -> None:
    line = write_infotext(GenerationRequest("a cat"), {"vae.decoder": "tiny"}).split("\n")[1]
    assert "VAE Decoder: TAESD" in line
    found = a1111.read({PARAMETERS: f"a cat\n{line}"})
    assert found is not None and found.values["vae.decoder"] == "tiny" and "VAE Decoder" not in found.unused
    assert "VAE Decoder" not in write_infotext(GenerationRequest("a cat"), {"vae.decoder": "full"})
    other = a1111.read({PARAMETERS: "a cat\nSteps: 4, Sampler: Euler, Seed: 3, Size: 64x64, VAE Decoder: other"})
    assert other is not None and other.unused["VAE Decoder"] == "other"


@given(ANY_TEXT)
def test_any_text_of_hashes_is_read(text: str) -> None:
    assert all(name and digest for name, digest in read_lora_hashes(text).items())
