"""Run the transformer on plain batches, for training, and the pipeline's sampler on the same.

`ZImageTransformer2DModel.forward` takes lists of images, pads each in Python and turns with complex numbers. Here
all images of a batch have one size and all captions one padded length, so tensors do; the same submodules are
called, and a test holds both forwards equal.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from diffusers import ZImageTransformer2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.normalization import RMSNorm
from diffusers.models.transformers.transformer_z_image import ZImageTransformerBlock
from torch import Tensor

from core.demo.training.text_encoder import WIDTH

PATCH = "2-1"
MULTIPLE = 32


def new_transformer(dim: int = 240, layers: int = 8) -> ZImageTransformer2DModel:
    """Return the class at toy size. Image positions reach 8192 px (512 tokens), prompts 1024 tokens and more."""
    model = ZImageTransformer2DModel(
        dim=dim,
        n_layers=layers,
        n_refiner_layers=1,
        n_heads=dim // 48,
        n_kv_heads=dim // 48,
        cap_feat_dim=WIDTH,
        axes_dims=[12, 18, 18],
        axes_lens=[1536, 512, 512],
        rope_theta=256.0,
    )
    torch.nn.init.normal_(model.x_pad_token, std=0.02)
    torch.nn.init.normal_(model.cap_pad_token, std=0.02)
    # The image starts as nothing and each block as the identity, which trains faster.
    torch.nn.init.zeros_(model.all_final_layer[PATCH].linear.weight)
    torch.nn.init.zeros_(model.all_final_layer[PATCH].linear.bias)
    for block in [*model.layers, *model.noise_refiner]:
        torch.nn.init.zeros_(block.adaLN_modulation[0].weight)
        torch.nn.init.constant_(block.adaLN_modulation[0].bias, 0.0)
        # tanh(0.3) of each branch is let through from the start: a gate of zero would learn late.
        block.adaLN_modulation[0].bias.data.view(4, dim)[1::2] = 0.3
    return model


def padded(length: int) -> int:
    """Return the length in tokens, rounded up to what the transformer pads to."""
    return -(-length // MULTIPLE) * MULTIPLE


def angles(model: ZImageTransformer2DModel, caption: int, height: int, width: int) -> Tensor:
    """Return cosines and sines (tokens, 2, head / 2) for the image's tokens, then the caption's."""
    device = model.device
    down, across = torch.arange(height, device=device), torch.arange(width, device=device)
    rows, columns = torch.meshgrid(down, across, indexing="ij")
    image = torch.stack([torch.full_like(rows, caption + 1), rows, columns], -1).reshape(-1, 3)
    fill = torch.zeros(padded(len(image)) - len(image), 3, dtype=torch.long, device=device)
    text = torch.zeros(caption, 3, dtype=torch.long, device=device)
    text[:, 0] = torch.arange(1, caption + 1, device=device)
    turned = model.rope_embedder(torch.cat([image, fill, text]))
    return torch.stack([turned.real, turned.imag], 1)


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Apply RoPE to `x`, (batch, heads, tokens, head), by cosines and sines from `angles`."""
    if x.is_cuda:  # one pass over memory, which is what a GPU waits for
        pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * torch.complex(*turn.unbind(-2))).flatten(-2)
    cos, sin = turn.to(x.dtype).unbind(-2)
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)


def norm(layer: RMSNorm, x: Tensor) -> Tensor:
    """Return the layer; on a GPU one kernel instead of six."""
    return F.rms_norm(x, x.shape[-1:], layer.weight.to(x.dtype), layer.eps)


def attend(attention: Attention, x: Tensor, turn: Tensor) -> Tensor:
    """Return self-attention of `x`, (batch, tokens, width), with RoPE by `turn`."""
    q, k, v = (
        layer(x).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        for layer in (attention.to_q, attention.to_k, attention.to_v)
    )
    q, k = rotate(norm(attention.norm_q, q), turn), rotate(norm(attention.norm_k, k), turn)
    q, k = q.to(v.dtype), k.to(v.dtype)
    if x.is_cuda or v.dtype == torch.float32:
        y = F.scaled_dot_product_attention(q, k, v)
    else:
        # Written out, in the layers' dtype: on a CPU, in bf16, at these sizes and heads of 48, it is two to four times
        # as fast as the fused kernel, forward and backward together; in fp32 the fused one is twice as fast.
        with torch.autocast("cpu", enabled=False):
            y = (q * q.shape[-1] ** -0.5 @ k.mT).softmax(-1) @ v
    return attention.to_out[0](y.transpose(1, 2).flatten(2))


def run_block(block: ZImageTransformerBlock, x: Tensor, turn: Tensor, time: Tensor | None) -> Tensor:
    """Run a transformer block on `x`, (batch, tokens, width); `time` modulates it, None for a context block."""
    if time is None:
        x = x + norm(block.attention_norm2, attend(block.attention, norm(block.attention_norm1, x), turn))
        return x + norm(block.ffn_norm2, block.feed_forward(norm(block.ffn_norm1, x)))
    scale_a, gate_a, scale_f, gate_f = block.adaLN_modulation(time).unsqueeze(1).chunk(4, dim=2)
    y = attend(block.attention, norm(block.attention_norm1, x) * (1 + scale_a), turn)
    x = x + gate_a.tanh() * norm(block.attention_norm2, y)
    y = block.feed_forward(norm(block.ffn_norm1, x) * (1 + scale_f))
    return x + gate_f.tanh() * norm(block.ffn_norm2, y)


def forward(model: ZImageTransformer2DModel, latents: Tensor, t: Tensor, caption: Tensor, lengths: Tensor) -> Tensor:
    """Return what the class returns for each latent (batch, 16, h, w): clean minus noise.

    `caption` is (batch, padded length, width), of which the first `lengths` tokens of each row count.
    """
    batch, channels, h, w = latents.shape
    rows, columns, long = h // 2, w // 2, caption.shape[1]
    turn = angles(model, long, rows, columns)
    time = model.t_embedder(t * model.t_scale)

    patches = (
        latents.view(batch, channels, rows, 2, columns, 2).permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, -1)
    )
    x = model.all_x_embedder[PATCH](patches).float()  # what runs through all blocks is kept in full, as in the class
    fill = padded(rows * columns) - rows * columns
    if fill:
        x = torch.cat([x, model.x_pad_token.to(x.dtype).expand(batch, fill, -1)], 1)
    count = x.shape[1]
    for block in model.noise_refiner:
        x = run_block(block, x, turn[:count], time)

    text = model.cap_embedder(caption)
    beyond = torch.arange(long, device=text.device) >= lengths.to(text.device)[:, None]
    text = torch.where(beyond[..., None], model.cap_pad_token.to(text.dtype), text)
    for block in model.context_refiner:
        text = run_block(block, text, turn[count:], None)

    x = torch.cat([x, text], 1)
    for block in model.layers:
        x = run_block(block, x, turn, time)
    x = model.all_final_layer[PATCH](x[:, : rows * columns], c=time)
    return x.view(batch, rows, columns, 2, 2, channels).permute(0, 5, 1, 3, 2, 4).reshape(batch, channels, h, w)


def pad_caption(features: Tensor, lengths: Tensor) -> Tensor:
    """Return features of any length, cut or filled to the padded length of the longest row."""
    long = padded(int(lengths.max()))
    return F.pad(features, (0, 0, 0, max(0, long - features.shape[1])))[:, :long]


@torch.no_grad()
def generate(
    model: ZImageTransformer2DModel, caption: Tensor, lengths: Tensor, noise: Tensor, steps: int = 8, shift: float = 3.0
) -> Tensor:
    """Run Euler steps as the pipeline does, without guidance; every row must have the same padded length."""
    plain = torch.linspace(1, 1 / steps, steps)
    sigmas = [*(shift * plain / (1 + (shift - 1) * plain)).tolist(), 0.0]
    x = noise
    for sigma, following in pairwise(sigmas):
        velocity = forward(model, x, torch.full((len(x),), 1 - sigma, device=x.device), caption, lengths).float()
        x = x + (sigma - following) * velocity
    return x
