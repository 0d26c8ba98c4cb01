"""Training on a GPU, as far as a CPU can show it: what is rendered, what is kept of it, and that it fits the shipped model."""

import random
from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader

from core.demo.training import finetune, preview
from core.demo.training.diffusion import Batches, loss_of

SMALL = {(128, 128): 1, (160, 96): 1}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(finetune, "MIX", SMALL)
    monkeypatch.setattr(finetune, "CHUNK", 16 * 128 * 128)
    monkeypatch.setattr(finetune, "POOL_SIZE", 60)


def test_each_size_is_drawn_first_and_nothing_that_is_held_out(small):
    generated = list(islice(finetune.RenderedScenes(seed=1), 6))
    assert {size for size, _, _ in generated[:2]} == set(SMALL)
    for (width, height), images, selected in generated:
        assert images.shape == (16 * 128 * 128 // (width * height), height, width, 3)
        assert len(selected) == len(images)
        assert not any(scene.held_out for scene in selected)


@pytest.mark.slow
def test_the_pool_keeps_what_it_has_room_for_as_the_model_knows_it(small, plain):
    parts = preview.Parts.of(plain)
    pool = finetune.Pool(parts)
    for generated in islice(DataLoader(finetune.RenderedScenes(seed=1), batch_size=None), 8):
        pool.add(*generated)
    assert all(len(kept) <= finetune.POOL_SIZE for _, kept in pool.values())
    assert max(len(kept) for _, kept in pool.values()) == finetune.POOL_SIZE
    used = torch.cat([latents[: len(kept)].float().flatten() for latents, kept in pool.values()])
    assert abs(used.mean()) < 0.2
    assert abs(used.std() - 1) < 0.2
    torch.manual_seed(0)
    batch = Batches(pool, parts.tokenizer, parts.encoder, random.Random(1), tokens=1000).draw((128, 128))
    with torch.no_grad():
        shipped = loss_of(plain.transformer, *batch, None)
        told_nothing = loss_of(plain.transformer, batch[0], torch.zeros_like(batch[1]), *batch[2:], None)
    assert shipped < 0.9 * told_nothing
