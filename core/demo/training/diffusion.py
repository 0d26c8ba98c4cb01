"""Train the transformer as a rectified flow on the pool of latents, the way ZImagePipeline samples it.

A point between image and noise is x = (1 - sigma) * clean + sigma * noise; the pipeline passes t = 1 - sigma and
negates the output, so the model learns clean - noise. Each batch has one size and captions of one padded length,
and about the same number of tokens. Small images come first: colours and places are learned there four times
faster; the rest of the time is mostly 256x256 and 512 px, with every other ratio mixed in.

The last part teaches the model to generate without guidance what it generated with it, because Turbo's own setting is
guidance 0: the target gets `GUIDANCE` times what the caption adds, as a frozen copy of the model says it
(classifier-free guidance distilled into the weights, as in arXiv:2210.03142). Without a caption nothing is added.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import torch
import torch.distributed as distributed
from diffusers import ZImageTransformer2DModel
from torch import Tensor
from transformers import Qwen2Tokenizer, Qwen3Model

from core.demo import captions, renderer, scenes
from core.demo.training import fast_transformer, latents, text_encoder
from core.demo.training.optim import Average, Optimizers, curve, load_checkpoint, save_checkpoint

TOKENS = 3200
EMPTY = 0.1
SHIFT = 3.0
CELESTIAL_WEIGHT = 6.0
SMALL = {(128, 128): 5, (160, 96): 1.5, (96, 160): 1.5, (256, 256): 2}
MIXED = {
    (256, 256): 24, (128, 128): 1, (160, 96): 1, (96, 160): 1, (192, 192): 2, (256, 144): 1, (144, 256): 1,
    (320, 208): 1, (208, 320): 1, (384, 384): 4, (512, 288): 20, (288, 512): 20, (512, 512): 42,
}  # fmt: skip
SMALL_UNTIL = 0.2
GUIDED_FROM, GUIDANCE = 0.9, 1.0


Size = tuple[int, int]  # width, height
Pool = Mapping[Size, tuple[Tensor, list[scenes.Scene]]]  # latents, and their scenes


class Batches:
    """Draws scenes of the pool with fresh captions, and hands out batches that need no mask, where the encoder is."""

    def __init__(
        self, pool: Pool, tokenizer: Qwen2Tokenizer, encoder: Qwen3Model, rng: random.Random, tokens: int
    ) -> None:
        # Captions that wait for others of the same size and padded length.
        self._waiting: dict[tuple[tuple[int, int], int], list[tuple[int, str]]] = defaultdict(list)
        self._pool, self._tokenizer, self._encoder, self._rng, self._tokens = pool, tokenizer, encoder, rng, tokens

    def draw(self, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return latents, caption features, caption lengths and the weight of each latent in the loss."""
        tokens = fast_transformer.padded(size[0] * size[1] // 256)
        while True:
            for (waiting_size, long), rows in self._waiting.items():
                count = max(1, self._tokens // (tokens + long))
                if waiting_size == size and len(rows) >= count:
                    self._waiting[size, long] = rows[count:]
                    return self._batch(size, rows[:count])
            self._add(size, 32)

    def _add(self, size: tuple[int, int], count: int) -> None:
        rows = []
        for index in self._rng.sample(range(len(self._pool[size][1])), count):
            empty = self._rng.random() < EMPTY
            rows.append((index, "" if empty else captions.caption(self._pool[size][1][index], self._rng)[0]))
        ids = self._tokenizer(text_encoder.template([text for _, text in rows])).input_ids
        for row, tokens in zip(rows, ids, strict=True):
            self._waiting[size, fast_transformer.padded(len(tokens))].append(row)

    @torch.no_grad()
    def _batch(self, size: tuple[int, int], rows: list[tuple[int, str]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        features, lengths = text_encoder.encode(self._tokenizer, self._encoder, [text for _, text in rows])
        latent, selected = self._pool[size]
        clean = latent[torch.tensor([index for index, _ in rows], device=latent.device)].float()
        height, width = clean.shape[-2:]
        weight = torch.stack([weights(selected[index], height, width, latent.device) for index, _ in rows])
        return clean, fast_transformer.pad_caption(features, lengths), lengths, weight


def weights(scene: scenes.Scene, height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Return how much each latent counts, (1, height, width): sun and moon are small, and would be learned last."""
    if scene.celestial == scenes.NONE:
        return _weights(None, height, width, device)
    return celestial_weights(scene, height, width, device)


def celestial_weights(
    scene: scenes.Scene, height: int, width: int, device: torch.device | str = "cpu"
) -> Tensor:
    """Return the same, with the weight of sun and moon where they would stand if there are none."""
    return _weights(renderer.celestial_centre(scene), height, width, device)


@cache  # sun and moon have a handful of places
def _weights(centre: tuple[float, float] | None, height: int, width: int, device: torch.device | str) -> Tensor:
    weight = torch.ones(1, height, width)
    if centre is not None:
        x, y = centre
        rows, columns = torch.arange(height)[:, None] + 0.5 - y * height, torch.arange(width)[None] + 0.5 - x * width
        reach = 1.4 * renderer.CELESTIAL_RADIUS * min(height, width)
        weight[0, rows.square() + columns.square() < reach**2] = CELESTIAL_WEIGHT
    return weight.to(device)


def sigmas(count: int, tokens: int, device: torch.device | str = "cpu") -> Tensor:
    """Return `count` logit-normal noise levels, shifted as the scheduler does, one from each of `count` equal slices.

    An image of more tokens shows its layout at higher noise, because noise averages out over its pixels: beyond
    256 tokens the shift grows with the side (arXiv:2403.03206, section 5.3.2).
    """
    u = (torch.arange(count, device=device) + torch.rand(count, device=device)) / count
    plain = torch.sigmoid(torch.special.ndtri(u.clamp(1e-4, 1 - 1e-4)))
    # A tenth is uniform: the first step starts from noise alone, where the bell has almost no weight.
    uniform = torch.rand(count, device=device)
    plain = torch.where(torch.rand(count, device=device) < 0.1, uniform, plain)
    shift = SHIFT * max(1.0, tokens / 256) ** 0.5
    return shift * plain / (1 + (shift - 1) * plain)


class Teacher:
    """What the caption adds to a prediction: a frozen average of the model, asked with the caption and without."""

    def __init__(self, model: ZImageTransformer2DModel, tokenizer: Qwen2Tokenizer, encoder: Qwen3Model) -> None:
        self._model = model.requires_grad_(False)
        features, self._length = text_encoder.encode(tokenizer, encoder, [""])
        self._nothing = fast_transformer.pad_caption(features, self._length)

    @torch.no_grad()
    def adds(self, noisy: Tensor, t: Tensor, caption: Tensor, lengths: Tensor) -> Tensor:
        """Return prediction with the caption minus prediction without, like `noisy`."""
        count = len(noisy)
        with torch.autocast(noisy.device.type, torch.bfloat16):
            guided = fast_transformer.forward(self._model, noisy, t, caption, lengths)
            untold = fast_transformer.forward(
                self._model, noisy, t, self._nothing.expand(count, -1, -1), self._length.expand(count)
            )
        return guided.float() - untold.float()


def loss_of(
    model: ZImageTransformer2DModel, clean: Tensor, caption: Tensor, lengths: Tensor, weight: Tensor,
    teacher: Teacher | None,
) -> Tensor:  # fmt: skip
    """Return the weighted squared error of the predicted velocity at random noise levels; scalar."""
    sigma = sigmas(len(clean), clean.shape[-2] * clean.shape[-1] // 4, clean.device)
    noise = torch.randn_like(clean)
    at = sigma.view(-1, 1, 1, 1)
    noisy, wanted = (1 - at) * clean + at * noise, clean - noise
    if teacher:
        wanted = wanted + GUIDANCE * teacher.adds(noisy, 1 - sigma, caption, lengths)
    with torch.autocast(clean.device.type, torch.bfloat16):
        guess = fast_transformer.forward(model, noisy, 1 - sigma, caption, lengths)
    return ((guess.float() - wanted).square() * weight).mean()


def load_text(out: Path) -> tuple[Qwen2Tokenizer, Qwen3Model]:
    """Return the trained tokenizer, and the text encoder in float32, frozen."""
    tokenizer = Qwen2Tokenizer.from_pretrained(out / "tokenizer")
    encoder = Qwen3Model.from_pretrained(out / "text_encoder", dtype=torch.float32).eval().requires_grad_(False)
    return tokenizer, encoder


class Together:
    """Two or more processes that each train on a part of the batch and average their gradients.

    A process with one thread each meets the others once a step; one process with two threads meets itself thousands
    of times, which costs most of its speed as soon as anything else runs on the machine.
    """

    def __init__(self, rank: int, processes: int, out: Path) -> None:
        self.rank, self._processes = rank, processes
        meeting = out / "meeting"
        distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=processes)

    def average(self, model: torch.nn.Module, *numbers: float) -> list[float]:
        """Average the gradients in place over all processes, and return the averages of `numbers`."""
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([g.flatten() for g in grads] + [torch.tensor(numbers)])
        distributed.all_reduce(flat)
        flat /= self._processes
        parts = flat.split([g.numel() for g in grads] + [len(numbers)])
        for grad, part in zip(grads, parts, strict=False):
            grad.copy_(part.view_as(grad))
        return parts[-1].tolist()


def train(
    rank: int, processes: int, out: Path, minutes: float, preview: Callable[[ZImageTransformer2DModel], None],
    every: float = 10.0, seed: int = 3,
) -> None:  # fmt: skip
    """Train for `minutes` by the clock, earlier calls included; `preview` gets the average every `every` minutes."""
    torch.set_num_threads(1)
    together = Together(rank, processes, out)
    # What is missing of the pool is shared out first, so that all processes then see the same sizes.
    missing = [job for job in latents.jobs(out) if not latents.shard(job).exists()]
    distributed.barrier()
    for job in missing[rank::processes]:
        latents.encode_shard(job)
    distributed.barrier()
    torch.manual_seed(seed)
    checkpoint = out / "transformer.pt"
    model = fast_transformer.new_transformer()
    optimizers = new_optimizers(model)
    average = Average(model, 0.998)
    used, step = 0.0, 0
    if checkpoint.exists():
        used, step = load_checkpoint(checkpoint, model, average, optimizers)
    torch.manual_seed(seed + 1000 * step + rank)
    # All draw the same sizes, so that none waits for another, and each its own scenes.
    text = load_text(out)
    batches = Batches(latents.load(out), *text, random.Random(seed + 1000 * step + rank), TOKENS // processes)
    teacher: Teacher | None = None
    sizes = random.Random(seed + step)
    began, shown, losses, progress = time.monotonic() - used, used, [], used / (minutes * 60)
    while progress < 1:
        if progress >= GUIDED_FROM and teacher is None:
            teacher = Teacher(frozen(out / "teacher.pt", average.model, rank), *text)
        loss = loss_of(model, *batches.draw(choose_size(progress, sizes)), teacher)
        loss.backward()
        seconds, mean = together.average(model, time.monotonic() - began, loss.item())
        progress = seconds / (minutes * 60)
        optimizers.step(curve(progress, warmup=0.01, hold=0.7))
        step += 1
        losses.append(mean)
        if rank:
            continue
        average.update(model)
        if step % 50 == 0:
            print(f"diffusion step {step} minute {seconds / 60:.1f} loss {sum(losses) / len(losses):.4f}", flush=True)
            losses = []
        if seconds - shown > every * 60 or progress >= 1:
            shown = seconds
            save_checkpoint(checkpoint, model, average, optimizers, seconds, step)
            preview(average.model)


def frozen(path: Path, average: ZImageTransformer2DModel, rank: int) -> ZImageTransformer2DModel:
    """Return the same teacher for all processes, and for a training that is taken up again: rank 0's average, kept once."""
    if rank == 0 and not path.exists():
        torch.save(average.state_dict(), path)
    distributed.barrier()
    model = fast_transformer.new_transformer().eval()
    model.load_state_dict(torch.load(path, weights_only=True))
    return model


def choose_size(progress: float, rng: random.Random) -> tuple[int, int]:
    """Return a random size of the mix that is trained at `progress` (0 to 1)."""
    return one_of(SMALL if progress < SMALL_UNTIL else MIXED, rng)


def one_of(mix: Mapping[Size, float], rng: random.Random) -> Size:
    """Return a size of the mix, each as often as its share says."""
    return rng.choices(list(mix), list(mix.values()))[0]


def new_optimizers(model: ZImageTransformer2DModel) -> Optimizers:
    """Return Muon for the transformer's matrices, AdamW for embeddings, modulation, the final layer and the rest."""
    return Optimizers(model, muon_lr=2e-3, adamw_lr=1.5e-3, by_adamw=("embed", "adaLN", "final", "pad_token"))
