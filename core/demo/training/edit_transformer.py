"""Run Z-Image-Omni's transformer on plain batches: one source image, an instruction, the edited image.

`ZImageTransformer2DModel.forward` takes nested lists and pads each in Python. Here all images of a batch have one
size and all instructions one padded length; the same submodules are called, and a test holds both forwards equal.
Tokens are ordered by what they are modulated with, those of the source first: attention does not mind.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from diffusers import ZImageTransformer2DModel
from diffusers.models.transformers.transformer_z_image import ZImageTransformerBlock
from torch import Tensor

from core.demo.training.edit_pairs import SIGLIP_WIDTH
from core.demo.training.edit_text import SHIPPED
from core.demo.training.fast_transformer import MULTIPLE, PATCH, attend, norm, padded, run_block


@dataclass(frozen=True)
class Source:
    """A batch of source images: latents (batch, 16, h, w), and SigLIP's features (batch, rows, columns, width)."""

    latents: Tensor
    features: Tensor


@dataclass(frozen=True)
class Prompt:
    """A piece of a prompt: features (batch, padded length, width), of which the first `lengths` tokens count."""

    features: Tensor
    lengths: Tensor


@dataclass(frozen=True)
class Instruction:
    """The prompt of an edit in its three pieces; the outer two are the same for all, their batch is 1."""

    opening: Prompt
    text: Prompt
    closing: Prompt
    short: bool = False  # only the middle one is given to the transformer, and nothing of SigLIP


def new_transformer() -> ZImageTransformer2DModel:
    """Return the shipped transformer with the inputs for SigLIP, which begin as those for text."""
    shipped = ZImageTransformer2DModel.from_pretrained(SHIPPED / "transformer", torch_dtype=torch.float32)
    model = ZImageTransformer2DModel.from_config({**shipped.config, "siglip_feat_dim": SIGLIP_WIDTH})
    model.load_state_dict(shipped.state_dict(), strict=False)
    model.siglip_refiner.load_state_dict(shipped.context_refiner.state_dict())
    model.siglip_pad_token.data.copy_(shipped.cap_pad_token.data)
    return model


def _turn(model: ZImageTransformer2DModel, places: Tensor) -> Tensor:
    """Return cosines and sines (batch, 1, tokens, 2, head / 2) for places (batch, tokens, 3)."""
    turned = model.rope_embedder(places.flatten(0, 1)).unflatten(0, places.shape[:2])
    return torch.stack([turned.real, turned.imag], -2)[:, None]


def _text_places(starts: list[Tensor], pieces: list[Prompt]) -> Tensor:
    """Return the places (batch, all pieces' tokens, 3) of pieces that start at `starts`, (batch,) each.

    The class numbers the filled length of a piece and adds a zero for each token of filling, and then cuts the row to
    the number of tokens: behind the first piece, places stand later than their tokens. Weights are trained for that.
    """
    total = sum(piece.features.shape[1] for piece in pieces)
    rows = []
    for number in range(len(starts[0])):
        row: list[int] = []
        for at, piece in zip(starts, pieces, strict=True):
            length, begin = piece.features.shape[1], int(at[number])
            row += range(begin, begin + length)
            row += [0] * (length - int(piece.lengths[number % len(piece.lengths)]))
        rows.append(row[:total])
    places = torch.zeros(len(rows), total, 3, dtype=torch.long)
    places[..., 0] = torch.tensor(rows)
    return places


def _image_places(depth: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the places (batch, padded tokens, 3) of an image's grid at `depth` (batch,) of the first axis."""
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    count = y.numel()
    places = torch.zeros(len(depth), padded(count), 3, dtype=torch.long)
    places[:, :count, 0] = depth[:, None]
    places[:, :count, 1], places[:, :count, 2] = y.flatten(), x.flatten()
    return places


def _fill(tokens: Tensor, pad: Tensor) -> Tensor:
    """Return tokens (batch, count, width) filled with the pad token to the padded count."""
    missing = padded(tokens.shape[1]) - tokens.shape[1]
    return torch.cat([tokens, pad.to(tokens.dtype).expand(len(tokens), missing, -1)], 1) if missing else tokens


def _patches(latents: Tensor) -> Tensor:
    batch, channels, h, w = latents.shape
    return latents.view(batch, channels, h // 2, 2, w // 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(batch, h * w // 4, -1)


def _texts(model: ZImageTransformer2DModel, pieces: list[Prompt], places: Tensor) -> list[Tensor]:
    """Return the refined tokens of each piece."""
    embedded = []
    for piece in pieces:
        text = model.cap_embedder(piece.features)
        beyond = torch.arange(text.shape[1]) >= piece.lengths[:, None]
        text = torch.where(beyond[..., None], model.cap_pad_token.to(text.dtype), text)
        embedded.append(text.expand(len(places), -1, -1))
    together, turn = torch.cat(embedded, 1), _turn(model, places)
    for block in model.context_refiner:
        together = run_block(block, together, turn, None)
    return list(together.split([text.shape[1] for text in embedded], 1))


def _siglip(model: ZImageTransformer2DModel, source: Source, depth: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return the refined tokens for the source and for the edited image, which has none, and their places."""
    batch, rows, columns = source.features.shape[:3]
    height, width = source.latents.shape[-2:]
    # The class lays the features out by channel first, and spreads them over the latents, not over the tokens.
    flat = source.features.permute(0, 3, 1, 2).reshape(batch, rows * columns, -1)
    y = (torch.arange(rows).float() / max(rows - 1, 1) * (height - 1)).to(torch.int32).long()
    x = (torch.arange(columns).float() / max(columns - 1, 1) * (width - 1)).to(torch.int32).long()
    tokens = _fill(model.siglip_embedder(flat), model.siglip_pad_token)
    nothing = model.siglip_pad_token.to(tokens.dtype).expand(batch, MULTIPLE, -1)
    places = [_image_places(depth, y, x), torch.zeros(batch, MULTIPLE, 3, dtype=torch.long)]
    together, turn = torch.cat([tokens, nothing], 1), _turn(model, torch.cat(places, 1))
    for block in model.siglip_refiner:
        together = run_block(block, together, turn, None)
    return list(together.split([tokens.shape[1], MULTIPLE], 1)), places


def _modulated(
    block: ZImageTransformerBlock, x: Tensor, turn: Tensor, clean: Tensor, noisy: Tensor, first: int
) -> Tensor:
    """Run a block on `x`, whose `first` tokens are modulated by the time of the source, the others by the edit's."""
    count, wide = x.shape[1], -1
    both = [block.adaLN_modulation(time).unsqueeze(1) for time in (clean, noisy)]
    mod = torch.cat([both[0].expand(wide, first, wide), both[1].expand(wide, count - first, wide)], 1)
    scale_a, gate_a, scale_f, gate_f = mod.chunk(4, dim=2)
    y = attend(block.attention, norm(block.attention_norm1, x) * (1 + scale_a), turn)
    x = x + gate_a.tanh() * norm(block.attention_norm2, y)
    y = block.feed_forward(norm(block.ffn_norm1, x) * (1 + scale_f))
    return x + gate_f.tanh() * norm(block.ffn_norm2, y)


def forward(
    model: ZImageTransformer2DModel, noisy: Tensor, t: Tensor, prompt: Prompt | Instruction, source: Source | None
) -> Tensor:
    """Return what the class returns in its omni mode for the edited image (batch, 16, h, w): clean minus noise.

    Without a source it is text to image, and `prompt` one piece.
    """
    batch, channels, h, w = noisy.shape
    rows, columns = h // 2, w // 2
    time, still = (model.t_embedder(moment * model.t_scale) for moment in (t, torch.ones_like(t)))
    grid = torch.arange(rows), torch.arange(columns)
    one = torch.ones(batch, dtype=torch.long)
    target = _fill(model.all_x_embedder[PATCH](_patches(noisy)).float(), model.x_pad_token)
    before: list[tuple[Tensor, Tensor]] = []  # tokens of the source, and their places
    after: list[tuple[Tensor, Tensor]] = []
    if source is None:
        assert isinstance(prompt, Prompt)
        places = _text_places([one], [prompt])
        after.append((_texts(model, [prompt], places)[0], places))
        at_target = _image_places(1 + prompt.lengths, *grid)
        images, image_places, first = target, at_target, 0
    else:
        assert isinstance(prompt, Instruction)
        pieces = [prompt.opening, prompt.text, prompt.closing]
        end = one + prompt.opening.lengths  # where the source stands on the first axis
        end_text = end + 2 + prompt.text.lengths
        starts = [one, end + 2, end_text + 2]
        every = _text_places(starts, pieces)
        places = every.split([piece.features.shape[1] for piece in pieces], 1)
        if prompt.short:
            after.append((_texts(model, [prompt.text], places[1])[0], places[1]))
        else:
            texts = _texts(model, pieces, every)
            seen, seen_places = _siglip(model, source, end + 1)
            before += [(texts[0], places[0]), (seen[0], seen_places[0])]
            after += [(texts[1], places[1]), (texts[2], places[2]), (seen[1], seen_places[1])]
        given = _fill(model.all_x_embedder[PATCH](_patches(source.latents)).float(), model.x_pad_token)
        at_target, first = _image_places(end_text, *grid), given.shape[1]
        images = torch.cat([given, target], 1)
        image_places = torch.cat([_image_places(end, *grid), at_target], 1)
    turn = _turn(model, image_places)
    for block in model.noise_refiner:
        images = _modulated(block, images, turn, still, time, first)
    x = torch.cat([*(tokens for tokens, _ in before), images, *(tokens for tokens, _ in after)], 1)
    turn = _turn(model, torch.cat([*(at for _, at in before), image_places, *(at for _, at in after)], 1))
    clean = sum(tokens.shape[1] for tokens, _ in before) + first
    for block in model.layers:
        x = _modulated(block, x, turn, still, time, clean)
    x = model.all_final_layer[PATCH](x[:, clean : clean + rows * columns], c=time)
    return x.view(batch, rows, columns, 2, 2, channels).permute(0, 5, 1, 3, 2, 4).reshape(batch, channels, h, w)


def prompt_of(features: Tensor, lengths: Tensor) -> Prompt:
    """Return a piece of the features, cut or filled to the padded length of the longest row."""
    long = padded(int(lengths.max()))
    return Prompt(F.pad(features, (0, 0, 0, max(0, long - features.shape[1])))[:, :long], lengths)


@torch.no_grad()
def generate(
    model: ZImageTransformer2DModel, prompt: Instruction, source: Source, noise: Tensor, steps: int = 8
) -> Tensor:
    """Run Euler steps as the pipeline does, without guidance."""
    plain = torch.linspace(1, 1 / steps, steps)
    sigmas = [*(3.0 * plain / (1 + 2.0 * plain)).tolist(), 0.0]
    x = noise
    for sigma, following in pairwise(sigmas):
        velocity = forward(model, x, torch.full((len(x),), 1 - sigma), prompt, source).float()
        x = x + (sigma - following) * velocity
    return x
