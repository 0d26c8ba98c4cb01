"""Set VAE tiling, for encoder and decoder separately, with a consistent pair of pixel and latent sizes.

diffusers cuts the latents into tiles of `tile_latent_min_size`, decodes each, and pastes them at a stride that it computes
twice, once in latents and once in pixels, each time rounding down. Where the two disagree the image has the WRONG SIZE.
So the pair of sizes is always (8 n, n), and the overlap a whole number of latents. diffusers has one pair for encoder and
decoder: here each call sets the pair of its own side first.

Exact tiles run a VAE of the FLUX kind (AutoencoderKL) in bands of rows, equal to one piece except for rounding. Tiles that are
coded one by one see only themselves: each GroupNorm takes its statistics over the tile, so brightness and colour shift from
tile to tile. Here the network is walked layer by layer over the whole image. What lies between two layers waits in the
computer's memory; the device holds one band of rows at a time. A band brings the rows that its convolution touches above and
below; each GroupNorm uses statistics over the whole image, gathered while its input was made; the attention in the middle sees
all keys and takes the queries in parts. Each layer's values go to the device and back once, and a few rows are normalised
twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.vae import DecoderOutput
from torch import Tensor

from core.config.typed_settings import Options

SCALE = 8  # pixels to a latent


@dataclass(frozen=True)
class TilePlan:
    """`sample` and `latent`: the side of a tile in pixels and in latents.

    `overlap`: the share covered by a neighbour as well.

    A fraction, so that diffusers' roundings of `side * overlap` and `side * (1 - overlap)` have nothing to round.
    """

    sample: int
    latent: int
    overlap: Fraction


@dataclass(frozen=True)
class Tiles:
    """The tiles of encoder and decoder; None is no tiling. `exact`: bands of the whole image, else diffusers' tiles."""

    encoder: TilePlan | None = None
    decoder: TilePlan | None = None
    exact: bool = False

    @property
    def record(self) -> dict[str, Any] | None:
        """Return the decoder's tiles for the image's record."""
        if self.decoder is None:
            return None
        plan = {"sample": self.decoder.sample, "latent": self.decoder.latent}
        return {**plan, "mode": "exact"} if self.exact else {**plan, "overlap": float(self.decoder.overlap)}


def plan_tiles(tile_pixels: int, overlap_factor: float) -> TilePlan:
    """Return the nearest consistent plan: the tile rounded down to 8 px, the overlap to whole latents."""
    latent = max(1, tile_pixels // SCALE)
    shared = min(round(latent * overlap_factor), latent - 1)
    return TilePlan(latent * SCALE, latent, Fraction(shared, latent))


def wanted_tiles(options: Mapping[str, Any]) -> Tiles:
    """Return the tiles that the options set. The decoder's own size wins over the common one."""
    option = Options(options)
    overlap = option.vae.tile_overlap_factor
    tiled = option.vae.enable_tiling or option.memory.low_vram
    both = plan_tiles(option.vae.tile_sample_min_size, overlap) if tiled else None
    own = plan_tiles(option.vae.decoder_tile_size, overlap) if option.vae.decoder_tiling else None
    return Tiles(encoder=both, decoder=own or both, exact=option.vae.tiling_mode == "exact")


def apply(vae: Any, tiles: Tiles) -> None:
    """Set the tiles of both sides, or switch them off: then the VAE is diffusers' own again."""
    for method in ("_encode", "_decode"):
        vae.__dict__.pop(method, None)  # what an earlier call put over the class's own
    _set_pair(vae, tiles.decoder)
    if tiles.encoder or tiles.decoder:
        vae._encode = partial(_encode, vae, tiles.encoder, tiles.exact)
        vae._decode = partial(_decode, vae, tiles.decoder, tiles.exact)


def _set_pair(vae: Any, plan: TilePlan | None) -> None:
    vae.use_tiling = plan is not None
    if plan is not None and hasattr(vae, "tile_sample_stride_height"):  # a VAE for videos, whose tiles have strides
        stride = plan.sample - int(plan.latent * plan.overlap) * SCALE
        vae.enable_tiling(plan.sample, plan.sample, stride, stride)
    elif plan is not None:
        vae.tile_sample_min_size = plan.sample
        vae.tile_latent_min_size = plan.latent
        vae.tile_overlap_factor = plan.overlap


def _encode(vae: Any, plan: TilePlan | None, exact: bool, pixels: torch.Tensor) -> torch.Tensor:
    """Return (b, 3, h, w) -> moments (b, 2 c, h / 8, w / 8). In the place of the VAE's own `_encode`."""
    _set_pair(vae, plan)
    if plan is not None and exact and pixels.ndim == 4 and max(pixels.shape[-2:]) > plan.sample:
        return encode(vae, pixels, plan.sample)
    moments: torch.Tensor = type(vae)._encode(vae, pixels)
    return moments


def _decode(vae: Any, plan: TilePlan | None, exact: bool, latents: torch.Tensor, return_dict: bool = True) -> Any:
    """Return (b, c, h, w) -> (b, 3, 8 h, 8 w). In the place of the VAE's own `_decode`, with its answers."""
    _set_pair(vae, plan)
    if plan is not None and exact and latents.ndim == 4 and max(latents.shape[-2:]) > plan.latent:
        sample = decode(vae, latents, plan.sample)
        return DecoderOutput(sample=sample) if return_dict else (sample,)
    return type(vae)._decode(vae, latents, return_dict=return_dict)


SCORES = 2**24  # attention scores that may be on the device at once (64 MiB in float32)

Allocate = Callable[[tuple[int, int, int], torch.dtype], Tensor]


class Layer:
    """The output of a layer of one image: (rows, columns, channels) in host memory, and its statistics."""

    def __init__(self, values: Tensor) -> None:
        self.values = values
        self._count = 0
        self._mean = torch.zeros(values.shape[2], dtype=torch.float64)
        self._squares = torch.zeros(values.shape[2], dtype=torch.float64)  # sum of squared distances from the mean

    def write(self, top: int, band: Tensor) -> None:
        """Keep a band (rows, columns, channels) that begins at row `top`."""
        self.values[top : top + band.shape[0]].copy_(band)
        variance, mean = torch.var_mean(band.float(), dim=(0, 1), unbiased=False)
        count, mean, variance = band.shape[0] * band.shape[1], mean.cpu().double(), variance.cpu().double()
        total, gap = self._count + count, mean - self._mean
        # Chan, Golub and LeVeque (1979): two sets' moments from each one's, without the cancellation of a sum of squares.
        self._squares += variance * count + gap.square() * (self._count * count / total)
        self._mean += gap * (count / total)
        self._count = total

    def affine(self, norm: torch.nn.GroupNorm, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return GroupNorm over the whole image as scale and shift of x, each (channels,) in float32."""
        means = self._mean.view(norm.num_groups, -1)
        variances = (self._squares / self._count).view(norm.num_groups, -1)
        mean = means.mean(1, keepdim=True)
        variance = (variances + (means - mean).square()).mean(1, keepdim=True)
        per_group = torch.rsqrt(variance + norm.eps)
        weight, bias = (p.detach().cpu().double().view(norm.num_groups, -1) for p in (norm.weight, norm.bias))
        scale = weight * per_group
        shift = bias - mean * scale
        return scale.flatten().float().to(device), shift.flatten().float().to(device)


class Walk:
    """The pass of one image through the network. `area`: maximum pixels of a layer on the device at once."""

    def __init__(self, device: torch.device, area: int, allocate: Allocate) -> None:
        self._device = device
        self._area = area
        self._allocate = allocate

    def begin(self, image: Tensor) -> Layer:
        """Return a new layer with the values of (channels, rows, columns)."""
        values = image.permute(1, 2, 0)
        layer = Layer(self._allocate(tuple(values.shape), image.dtype))
        layer.write(0, values)
        return layer

    def convolve(
        self,
        source: Layer,
        conv: torch.nn.Conv2d,
        norm: torch.nn.GroupNorm | None = None,
        double: bool = False,
        halve: bool = False,
        plus: tuple[Layer, Any] | None = None,
        into: Tensor | None = None,
    ) -> Layer:
        """Convolve `source`, normalised and through SiLU if there is a `norm`, doubled or halved in size, with `conv`.

        `plus`: a layer to add, through its own 1 x 1 convolution when there is one. `into`: where to write.
        """
        rows, columns = source.values.shape[:2]
        rows, columns = (rows * 2, columns * 2) if double else (rows // 2, columns // 2) if halve else (rows, columns)
        if into is None:
            into = self._allocate((rows, columns, conv.out_channels), source.values.dtype)
        made = Layer(into)
        affine = source.affine(norm, self._device) if norm is not None else None
        step = max(1, self._area // columns)
        for top in range(0, rows, step):
            bottom = min(top + step, rows)
            out = self._band(source, conv, affine, top, bottom, double, halve)
            if plus is not None:
                out += self._shortcut(plus, top, bottom)
            made.write(top, out)
        return made

    def _band(
        self,
        source: Layer,
        conv: torch.nn.Conv2d,
        affine: tuple[Tensor, Tensor] | None,
        top: int,
        bottom: int,
        double: bool,
        halve: bool,
    ) -> Tensor:
        """Return rows `top` to `bottom` of the convolution's output: (rows, columns, channels)."""
        if conv.kernel_size == (1, 1):
            return _conv(source.values[top:bottom].to(self._device, copy=True), conv)
        if halve:  # diffusers pads below and to the right only, and takes every second place
            window = self._window(source, 2 * top, 2 * bottom + 1, (0, 1), affine, double)
            return _conv(window, conv, stride=2)
        return _conv(self._window(source, top - 1, bottom + 1, (1, 1), affine, double), conv)

    def _window(
        self,
        source: Layer,
        first: int,
        last: int,
        sides: tuple[int, int],
        affine: tuple[Tensor, Tensor] | None,
        double: bool,
    ) -> Tensor:
        """Return rows `first` to `last` of the source on the device; zero where they, or `sides` columns, lie outside of it.

        With `double` these are rows of the source at twice its size.
        """
        scale = 2 if double else 1
        rows, columns, channels = source.values.shape
        begin, end = max(first, 0), min(last, rows * scale)
        window = torch.zeros(
            (last - first, columns * scale + sum(sides), channels), dtype=source.values.dtype, device=self._device
        )
        inside = window[begin - first : end - first, sides[0] : sides[0] + columns * scale]
        if double:
            self._copy_doubled(source.values, begin, inside)
        else:
            inside.copy_(source.values[begin:end])
        if affine is not None:
            _normalise(inside, *affine)
            F.silu(inside, inplace=True)
        return window

    def _copy_doubled(self, values: Tensor, begin: int, inside: Tensor) -> None:
        """Copy the image doubled (nearest neighbours), from row `begin` on, without a second copy on the device."""
        band = values[begin // 2 : (begin + inside.shape[0] + 1) // 2].to(self._device, copy=True)
        for odd in (0, 1):
            places = inside[(odd - begin) % 2 :: 2]
            start = (begin + (odd - begin) % 2) // 2 - begin // 2
            for column in (0, 1):
                places[:, column::2].copy_(band[start : start + places.shape[0]])

    def _shortcut(self, plus: tuple[Layer, Any], top: int, bottom: int) -> Tensor:
        layer, conv = plus
        band = layer.values[top:bottom].to(self._device, copy=True)
        return band if conv is None else _conv(band, conv)

    def resnet(self, x: Layer, block: Any) -> Layer:
        """Apply a ResnetBlock2D without time embedding. Overwrites `x` where the channels allow it."""
        hidden = self.convolve(x, block.conv1, block.norm1)
        into = x.values if block.conv_shortcut is None else None
        return self.convolve(hidden, block.conv2, block.norm2, plus=(x, block.conv_shortcut), into=into)

    def attend(self, x: Layer, attention: Any) -> Layer:
        """Apply self-attention over the smallest layer, with the queries in parts. Overwrites `x`."""
        rows, columns, channels = x.values.shape
        tokens = x.values.to(self._device, copy=True).view(1, rows * columns, channels)
        _normalise(tokens, *x.affine(attention.group_norm, self._device))
        key, value = (_heads(layer(tokens), attention.heads) for layer in (attention.to_k, attention.to_v))
        made = Layer(x.values)
        step = max(1, SCORES // (rows * columns * columns * attention.heads))
        for top in range(0, rows, step):
            part = tokens[:, top * columns : (top + step) * columns]
            mixed = F.scaled_dot_product_attention(_heads(attention.to_q(part), attention.heads), key, value)
            out = attention.to_out[0](mixed.transpose(1, 2).reshape(part.shape))
            band = x.values[top : top + step].to(self._device, copy=True)
            made.write(top, (out.view(band.shape) + band) / attention.rescale_output_factor)
        return made

    def middle(self, x: Layer, block: Any) -> Layer:
        """Apply a UNetMidBlock2D."""
        x = self.resnet(x, block.resnets[0])
        for attention, resnet in zip(block.attentions, block.resnets[1:], strict=True):
            if attention is not None:
                x = self.attend(x, attention)
            x = self.resnet(x, resnet)
        return x


def _normalise(values: Tensor, scale: Tensor, shift: Tensor) -> None:
    """In place; computed in float32 and rounded once, as GroupNorm does in 16 bits."""
    if values.dtype == torch.float32:
        values.mul_(scale).add_(shift)
    else:
        values.copy_(values.float().mul_(scale).add_(shift))


def _conv(band: Tensor, conv: torch.nn.Conv2d, stride: int = 1) -> Tensor:
    """Return (rows, columns, channels) through the convolution's weights, without its padding. Channels stay last in memory."""
    bias = None if conv.bias is None else conv.bias.to(band.device)
    out = F.conv2d(band.permute(2, 0, 1)[None], conv.weight.to(band.device), bias, stride=stride)
    return out[0].permute(1, 2, 0)


def _heads(x: Tensor, heads: int) -> Tensor:
    """Return (1, tokens, channels) -> (1, heads, tokens, channels / heads)."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def decode(vae: Any, latents: Tensor, tile: int, allocate: Allocate | None = None) -> Tensor:
    """Decode (b, c, h, w) latents to (b, 3, 8 h, 8 w), in bands of at most tile^2 pixels on the latents' device."""
    return torch.stack([_decode_one(vae, one, _walk(latents, tile, allocate)) for one in latents])


def _decode_one(vae: Any, latents: Tensor, walk: Walk) -> Tensor:
    decoder = vae.decoder
    x = walk.begin(latents)
    if vae.post_quant_conv is not None:
        x = walk.convolve(x, vae.post_quant_conv)
    x = walk.middle(walk.convolve(x, decoder.conv_in), decoder.mid_block)
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            x = walk.resnet(x, resnet)
        for upsampler in block.upsamplers or ():
            x = walk.convolve(x, upsampler.conv, double=True)
    x = walk.convolve(x, decoder.conv_out, decoder.conv_norm_out)
    return x.values.permute(2, 0, 1).to(latents.device).contiguous()


def encode(vae: Any, pixels: Tensor, tile: int, allocate: Allocate | None = None) -> Tensor:
    """Encode (b, 3, h, w) to moments (b, 2 c, h / 8, w / 8), in bands of at most tile^2 pixels on the pixels' device."""
    return torch.stack([_encode_one(vae, one, _walk(pixels, tile, allocate)) for one in pixels])


def _encode_one(vae: Any, pixels: Tensor, walk: Walk) -> Tensor:
    encoder = vae.encoder
    x = walk.convolve(walk.begin(pixels), encoder.conv_in)
    for block in encoder.down_blocks:
        for resnet in block.resnets:
            x = walk.resnet(x, resnet)
        for downsampler in block.downsamplers or ():
            x = walk.convolve(x, downsampler.conv, halve=True)
    x = walk.convolve(walk.middle(x, encoder.mid_block), encoder.conv_out, encoder.conv_norm_out)
    if vae.quant_conv is not None:
        x = walk.convolve(x, vae.quant_conv)
    return x.values.permute(2, 0, 1).to(pixels.device).contiguous()


def _walk(image: Tensor, tile: int, allocate: Allocate | None) -> Walk:
    def in_memory(shape: tuple[int, int, int], dtype: torch.dtype) -> Tensor:
        # Locked pages, or a GPU would copy each band twice; the allocator keeps them for the next layer.
        return torch.empty(shape, dtype=dtype, pin_memory=image.device.type == "cuda")

    return Walk(image.device, tile * tile, allocate or in_memory)
