"""Turn the layers of a LoRA file into modules beside the layers of a loaded network.

Every algorithm becomes a peft LoRA layer: a product of two matrices as it is, LoKr, LoHa and full differences as one module that
computes its product and an identity. So adapters of all kinds work together, on quantised layers too, and each is removed alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from torch.nn import functional

from core.models.lora_match import Match, Network, Target
from core.models.lora_metadata import FULL, LOHA, LOKR, LORA, Layer

FULL_PRECISION = (torch.float32, torch.float16, torch.bfloat16)
Tensors = Mapping[str, torch.Tensor]  # of one layer, by role


def network_of(pipeline: Any, parts: tuple[str, ...]) -> Network:
    """Return the linear layers and convolutions of a loaded pipeline's parts, by name, with the shapes of their weights."""
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for part in parts:
        module = getattr(pipeline, part, None)
        if isinstance(module, nn.Module):
            found[part] = {
                name.replace(".base_layer", ""): _shape(layer)
                for name, layer in module.named_modules()
                if isinstance(layer, (nn.Linear, nn.Conv2d)) and ".lora_" not in name
            }
    return found


def _shape(layer: nn.Module) -> tuple[int, ...]:
    """Of the weight before it was quantised, which may be packed."""
    if isinstance(layer, nn.Linear):
        return layer.out_features, layer.in_features
    assert isinstance(layer, nn.Conv2d)
    return layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size


# -- deltas as modules -------------------------------------------------------------------------------------------------


class _Delta(nn.Module):
    """Multiplies by a weight that `delta` computes: (out, in) or, for a convolution, (out, in, height, width)."""

    def __init__(self, base: nn.Module, rows: tuple[int, int] | None, **factors: torch.Tensor) -> None:
        super().__init__()
        self._rows = slice(*rows) if rows else slice(None)
        self._shape = (-1, *_shape(base)[1:])
        self._convolution = {
            key: getattr(base, key)
            for key in ("stride", "padding", "dilation", "groups")
            if isinstance(base, nn.Conv2d)
        }
        for name, factor in factors.items():
            self.register_parameter(name, nn.Parameter(factor, requires_grad=False))

    @property
    def weight(self) -> torch.Tensor:
        """Return a factor: peft brings the input to its dtype."""
        return next(self.parameters())

    def delta(self) -> torch.Tensor:
        """Return the whole weight, in any shape that holds its rows one after the other."""
        raise NotImplementedError

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        weight = self.delta().reshape(self._shape)[self._rows]
        if self._convolution:
            return functional.conv2d(inputs, weight, **self._convolution)
        return functional.linear(inputs, weight)


class _Full(_Delta):
    def delta(self) -> torch.Tensor:
        return self.diff  # type: ignore[no-any-return,has-type]


class _Hadamard(_Delta):
    """LoHa: (w1_a w1_b) * (w2_a w2_b), element by element."""

    def delta(self) -> torch.Tensor:
        return (self.w1_a @ self.w1_b) * (self.w2_a @ self.w2_b)  # type: ignore[no-any-return,has-type]


class _Kronecker(_Delta):
    """LoKr: the Kronecker product of w1 (a, b) and w2 (c, d). A linear layer never forms it."""

    def delta(self) -> torch.Tensor:
        w1, w2 = self.w1, self.w2
        return torch.kron(w1, w2.flatten(1)) if w2.dim() == 2 else torch.kron(w1[..., None, None], w2.contiguous())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self._convolution:
            return super().forward(inputs)
        w1, w2 = self.w1, self.w2.flatten(1)
        blocks = inputs.unflatten(-1, (w1.shape[1], w2.shape[1]))
        product = w1 @ (blocks @ w2.T)  # (..., a, c)
        return product.flatten(-2)[..., self._rows]


def _linear(weight: torch.Tensor, bias: torch.Tensor | None = None) -> nn.Module:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer


def _convolution(weight: torch.Tensor, bias: torch.Tensor | None = None, **more: Any) -> nn.Module:
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:], bias=bias is not None, device="meta", **more)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer


@dataclass(frozen=True)
class _Pair:
    """What stands for peft's two matrices, and the numbers that it scales by. `magnitude` is DoRA's."""

    down: nn.Module
    up: nn.Module
    alpha: float
    rank: int
    magnitude: torch.Tensor | None = None


def _pair(layer: Layer, tensors: Tensors, rows: tuple[int, int] | None, base: nn.Module) -> _Pair:
    if layer.algorithm == LORA:
        return _lora(layer, tensors, rows, base)
    alpha, rank = _scale(layer, tensors)
    if layer.algorithm == LOKR:
        w1, w2 = _kronecker_factors(tensors, base)
        return _Pair(_Kronecker(base, rows, w1=w1, w2=w2), nn.Identity(), alpha, rank)
    if layer.algorithm == LOHA:
        return _Pair(_Hadamard(base, rows, **_hadamard_factors(tensors)), nn.Identity(), alpha, rank)
    assert layer.algorithm == FULL
    return _Pair(_Full(base, rows, diff=tensors["diff"]), nn.Identity(), alpha, rank)


def _scale(layer: Layer, tensors: Tensors) -> tuple[float, int]:
    """Return (alpha, rank): the layer counts alpha / rank times, once where the file has no alpha or no rank."""
    scalar = float(tensors["scalar"]) if "scalar" in tensors else 1.0  # LyCORIS with use_scalar
    if not layer.rank:
        return scalar, 1
    alpha = float(tensors["alpha"]) if "alpha" in tensors else layer.alpha
    if alpha is None:
        return scalar * layer.rank, layer.rank
    return scalar * (alpha * math.sqrt(layer.rank) if layer.root else alpha), layer.rank


def _lora(layer: Layer, tensors: Tensors, rows: tuple[int, int] | None, base: nn.Module) -> _Pair:
    down, up = tensors["down"], tensors["up"]
    if "mid" in tensors:
        down = torch.einsum("jkhw,ki->jihw", tensors["mid"], down.flatten(1))
    part = slice(*rows) if rows else slice(None)
    up, bias, magnitude = up[part], tensors.get("up_bias"), tensors.get("magnitude")
    bias = bias[part] if bias is not None else None
    magnitude = magnitude.flatten()[part] if magnitude is not None else None
    alpha, rank = _scale(layer, tensors)
    if isinstance(base, nn.Conv2d):
        down = down.reshape(down.shape[0], *_shape(base)[1:])
        how = {key: getattr(base, key) for key in ("stride", "padding", "dilation", "groups")}
        return _Pair(
            _convolution(down, **how), _convolution(up.reshape(*up.shape[:2], 1, 1), bias), alpha, rank, magnitude
        )
    return _Pair(_linear(down.flatten(1)), _linear(up.flatten(1), bias), alpha, rank, magnitude)


def _kronecker_factors(tensors: Tensors, base: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    w1 = tensors["lokr_w1"] if "lokr_w1" in tensors else tensors["lokr_w1_a"] @ tensors["lokr_w1_b"]
    if "lokr_w2" in tensors:
        w2 = tensors["lokr_w2"]
    elif "lokr_t2" in tensors:
        w2 = torch.einsum("ijhw,jd,ic->cdhw", tensors["lokr_t2"], tensors["lokr_w2_b"], tensors["lokr_w2_a"])
    else:
        w2 = tensors["lokr_w2_a"] @ tensors["lokr_w2_b"].flatten(1)
    w1 = w1.reshape(w1.shape[0], w1.shape[1])
    if isinstance(base, nn.Conv2d):
        w2 = w2.reshape(w2.shape[0], -1, *base.kernel_size)
    return w1, w2


def _hadamard_factors(tensors: Tensors) -> dict[str, torch.Tensor]:
    """Return the four factors; with a core for the kernel, each half is formed here, as a product with an identity."""
    found: dict[str, torch.Tensor] = {}
    for half in ("1", "2"):
        left, right = tensors[f"hada_w{half}_a"], tensors[f"hada_w{half}_b"]
        core = tensors.get(f"hada_t{half}")
        if core is not None:
            right = torch.einsum("ijhw,jd->idhw", core, right)  # (rank, in, height, width)
            left = left.T
        found |= {f"w{half}_a": left, f"w{half}_b": right.flatten(1)}
    return found


# -- into the network --------------------------------------------------------------------------------------------------


def inject(pipeline: Any, file: Path, layers: Mapping[str, Layer], matched: Match, slot: str) -> None:
    """Put a LoRA's acting layers beside those of the loaded pipeline, under the adapter name `slot`."""
    pairs = _by_module(file, layers, matched)
    with _without_offloading(pipeline):
        for part in sorted({target.part for target, _, _ in pairs}):
            own = {target.module: (target, layer, tensors) for target, layer, tensors in pairs if target.part == part}
            _inject_part(getattr(pipeline, part), own, slot)


def _by_module(file: Path, layers: Mapping[str, Layer], matched: Match) -> list[tuple[Target, Layer, Tensors]]:
    """Return what acts on each layer of the network. Raises ValueError when two layers of the file differ about one."""
    found: dict[tuple[str, str], tuple[Target, Layer, Tensors]] = {}
    with safe_open(file, framework="pt") as opened:
        names = sorted(
            matched.acting, key=lambda name: len(matched.acting[name])
        )  # layers of their own before stacked ones
        for name in names:
            tensors = {role: opened.get_tensor(tensor) for role, tensor in layers[name].tensors.items()}
            if not all(torch.isfinite(tensor.float()).all() for tensor in tensors.values()):
                raise ValueError(f"{name} holds values that are not finite; download the file again")
            for target in matched.acting[name]:
                before = found.setdefault((target.part, target.module), (target, layers[name], tensors))
                if before[2] is not tensors and not _same_delta(before, (target, layers[name], tensors)):
                    raise ValueError(f"two layers of the file act on {target.part}.{target.module} and differ")
    return list(found.values())


def _same_delta(one: tuple[Target, Layer, Tensors], other: tuple[Target, Layer, Tensors]) -> bool:
    """Tell whether both hold the same matrices, as files do that repeat a layer under another name."""
    if one[1].algorithm != LORA or other[1].algorithm != LORA:
        return False
    base = nn.Linear(one[1].columns, 1, device="meta")
    first, second = (_lora(layer, tensors, target.rows, base) for target, layer, tensors in (one, other))
    scales = [pair.alpha / pair.rank for pair in (first, second)]
    deltas = [
        pair.up.weight.float() @ pair.down.weight.float() * scale
        for pair, scale in zip((first, second), scales, strict=True)
    ]
    return deltas[0].shape == deltas[1].shape and torch.allclose(deltas[0], deltas[1], rtol=1e-3, atol=1e-6)


def _inject_part(module: nn.Module, own: Mapping[str, tuple[Target, Layer, Tensors]], slot: str) -> None:
    """Make peft's layers in one part and fill them. DoRA's are an adapter of their own, as peft has it for all or none."""
    for dora in (False, True):
        names = [name for name, (_, layer, _) in own.items() if ("magnitude" in layer.tensors) is dora]
        if names:
            _make_slots(module, names, dora_slot(slot) if dora else slot, dora)
            for name in names:
                target, layer, tensors = own[name]
                _fill(module.get_submodule(name), dora_slot(slot) if dora else slot, layer, tensors, target, module)


def dora_slot(slot: str) -> str:
    """Return the adapter name of a file's DoRA layers."""
    return f"{slot}_dora"


def _make_slots(module: nn.Module, names: list[str], slot: str, dora: bool) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(r=1, lora_alpha=1, target_modules=names, use_dora=dora, init_lora_weights=False)
    keys = dict.fromkeys((f"{name}.lora_A.weight" for name in names), torch.empty(0))  # layers by name, no pattern
    inject_adapter_in_model(config, module, slot, low_cpu_mem_usage=True, state_dict=keys)
    module._hf_peft_config_loaded = True  # type: ignore[assignment]  # as diffusers and transformers mark it


def _fill(adapted: Any, slot: str, layer: Layer, tensors: Tensors, target: Target, module: nn.Module) -> None:
    base = adapted.get_base_layer()
    weight = getattr(base, "weight", None)
    dtype = weight.dtype if isinstance(weight, torch.Tensor) and weight.dtype in FULL_PRECISION else _dtype_of(module)
    device = weight.device if isinstance(weight, torch.Tensor) else next(module.parameters()).device
    ready = {
        role: tensor if role in ("alpha", "scalar") else tensor.to(device, dtype) for role, tensor in tensors.items()
    }
    pair = _pair(layer, ready, target.rows, base)
    adapted.lora_A[slot], adapted.lora_B[slot] = pair.down, pair.up
    adapted.r[slot], adapted.lora_alpha[slot] = pair.rank, pair.alpha
    if pair.magnitude is not None:
        if dtype == torch.float16 and base._forward_pre_hooks:  # its input is scaled, which would change DoRA's norm
            raise ValueError("DoRA does not act on this layer in float16; set transformer.dtype to bfloat16 or float32")
        size = (1, -1, 1, 1) if isinstance(base, nn.Conv2d) else (-1,)
        holder = adapted.lora_magnitude_vector[slot]
        holder.weight = nn.Parameter(pair.magnitude.reshape(size), requires_grad=False)


def _dtype_of(module: nn.Module) -> torch.dtype:
    return next((weight.dtype for weight in module.parameters() if weight.dtype in FULL_PRECISION), torch.float32)


@contextmanager
def _without_offloading(pipeline: Any) -> Iterator[None]:
    """Take the hooks of offloading off while layers are added, as diffusers does it, and put them back."""
    from diffusers.hooks.group_offloading import _maybe_remove_and_reapply_group_offloading
    from diffusers.loaders.lora_base import _func_optionally_disable_offloading

    whole, sequential, grouped = _func_optionally_disable_offloading(_pipeline=pipeline)
    try:
        yield
    finally:
        if whole:
            pipeline.enable_model_cpu_offload()
        elif sequential:
            pipeline.enable_sequential_cpu_offload()
        elif grouped:
            for component in pipeline.components.values():
                if isinstance(component, nn.Module):
                    _maybe_remove_and_reapply_group_offloading(component)


# -- weights and removal -----------------------------------------------------------------------------------------------


def set_weights(pipeline: Any, parts: tuple[str, ...], weights: Mapping[str, Any]) -> None:
    """Let exactly these adapters act, in this order. `weights` maps a slot to a function of (part, layer) -> weight."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    slots = [name for slot in weights for name in (slot, dora_slot(slot))]
    for part in parts:
        module = getattr(pipeline, part, None)
        if not isinstance(module, nn.Module):
            continue
        for name, layer in module.named_modules():
            if isinstance(layer, BaseTunerLayer):
                layer.set_adapter([slot for slot in slots if slot in layer.scaling])
                for slot, weight in weights.items():
                    for one in (slot, dora_slot(slot)):
                        layer.set_scale(one, weight(part, name))


def remove(pipeline: Any, parts: tuple[str, ...], slots: set[str], everything: bool) -> None:
    """Delete adapters; with `everything` the original layers are put back, too."""
    from diffusers.hooks.group_offloading import _maybe_remove_and_reapply_group_offloading
    from diffusers.utils import delete_adapter_layers, recurse_remove_peft_layers

    for part in parts:
        module = getattr(pipeline, part, None)
        if not isinstance(module, nn.Module) or not getattr(module, "peft_config", None):
            continue
        if everything:
            recurse_remove_peft_layers(module)
            del module.peft_config
            module._hf_peft_config_loaded = False  # type: ignore[assignment]
            _maybe_remove_and_reapply_group_offloading(module)
            continue
        for slot in sorted(slots):
            for one in (slot, dora_slot(slot)):
                if one in module.peft_config:  # type: ignore[operator]
                    delete_adapter_layers(module, one)
