"""Where the parts of a model are held on GPUs of different sizes. The bytes that move are counted in FamilyContract."""

import pytest
import torch
from torch import nn

from core.inference import memory_tiers
from core.inference.memory_tiers import RESIDENT, STREAMED, VISITS, place_parts
from core.inference.residency import Residency

GIB, PIXELS = 2**30, 1024 * 1024
BF16 = {"transformer": 12_309_817_472, "text_encoder": 8_040_000_000, "vae": 167_639_366}
FP8 = {"transformer": 6_585_000_000, "text_encoder": 4_301_000_000, "vae": 167_639_366}
WHOLE, TILED = memory_tiers.BY_NAME["16gb"], memory_tiers.BY_NAME["8gb"]


@pytest.mark.option("memory.offload")
@pytest.mark.parametrize(
    ("sizes", "tier", "gigabytes", "pixels", "transformer", "encoder"),
    [
        (BF16, WHOLE, 16, PIXELS, RESIDENT, STREAMED),
        (BF16, WHOLE, 24, PIXELS // 4, RESIDENT, RESIDENT),
        (BF16, WHOLE, 16, 4 * PIXELS, VISITS, VISITS),
        (FP8, TILED, 8, PIXELS, RESIDENT, STREAMED),
        (FP8, TILED, 6, PIXELS, VISITS, VISITS),
    ],
)
def test_what_works_in_every_step_stays_if_it_fits(sizes, tier, gigabytes, pixels, transformer, encoder):
    room = int(gigabytes * GIB * 0.93)
    placed = place_parts(sizes, ["text_encoder"], room, memory_tiers.working(tier, pixels))
    assert (placed["transformer"], placed["text_encoder"]) == (transformer, encoder)
    resident = sum(size for name, size in sizes.items() if placed[name] == RESIDENT)
    assert resident + memory_tiers.working(tier, pixels) <= room or transformer == VISITS


def test_the_expected_peak_counts_what_stays():
    parameters = {"transformer": 6_154_908_736, "text_encoder": 4_020_000_000, "vae": 83_819_683}
    room = int(16 * GIB * 0.93)
    found = memory_tiers.expected(WHOLE, parameters, PIXELS, room)
    assert found == BF16["transformer"] + BF16["vae"] + memory_tiers.working(WHOLE, PIXELS)
    least = memory_tiers.needed(WHOLE, parameters, PIXELS)
    assert memory_tiers.expected(WHOLE, parameters, PIXELS, least) == least


def test_the_smaller_of_two_encoders_stays():
    sizes = {"unet": 50, "vae": 5, "text_encoder": 3, "text_encoder_2": 20}
    placed = place_parts(sizes, ["text_encoder", "text_encoder_2"], 70, 10)
    assert (placed["text_encoder"], placed["text_encoder_2"]) == (RESIDENT, STREAMED)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Linear(4, 4)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embedding(x)
        for layer in self.layers:
            x = layer(x)
        return x


def test_an_encoder_is_streamed_block_by_block_and_whole_on_request():
    encoder, denoiser, x = Encoder(), nn.Linear(4, 4), torch.ones(1, 4)
    right, one = encoder(x), 4 * (4 * 4 + 4)
    held = Residency({"text_encoder": encoder, "transformer": denoiser}, "cpu", one, lambda pixels: 0)
    held.plan_for(1)
    assert held.placed == {"transformer": RESIDENT, "text_encoder": STREAMED}
    there = []
    encoder.layers[1].register_forward_hook(lambda *_: there.append(len(held._parts["text_encoder"]._host)))
    denoiser(x)
    for _ in range(2):
        assert torch.equal(encoder(x), right)
    assert held.moved == {"text_encoder": 8 * one, "transformer": one}
    assert there == [2, 2] and not held._parts["text_encoder"]._host, "the embedding; the blocks before it have left"
    with held.whole(encoder):
        encoder(x), encoder(x)
    assert held.moved["text_encoder"] == 12 * one, "copied once for both"


def test_weights_cast_while_they_are_there_keep_their_format():
    part = nn.Linear(4, 4)
    held = Residency({"vae": part, "unet": nn.Linear(4, 4)}, "cpu", 0, lambda pixels: 0)
    held.plan_for(1)
    held.enter("vae")
    part.to(torch.float64)
    held.enter("unet")
    assert part.weight.dtype is torch.float64


def test_tensors_that_were_taken_out_are_let_go():
    part = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    held = Residency({"unet": part}, "cpu", 10**6, lambda pixels: 0)
    held.plan_for(1)
    part(torch.ones(1, 4))
    assert len(held._parts["unet"]._host) == 4
    del part[1]
    held.plan_for(1)
    assert len(held._parts["unet"]._host) == 2
