"""Choose how a model fits into memory: the tiers, what each needs, and the choice with its reasons.

A tier is a way of holding the model: quantised or not, offloaded or not, decoded in tiles or whole. It is named after the
GPU that it was made for with Z-Image; what it needs is computed from the model's own weights.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from core.config.schema import AUTO
from core.config.typed_settings import Options
from core.errors import UnavailableError
from core.i18n import localize
from core.types import Decision

Text = Mapping[str, str]

GIGA = 10**9
RESIDENT, STREAMED, VISITS = "resident", "streamed", "visits"  # where a part is held, see `place_parts`
FP8_STORAGE = "fp8_storage"  # in place of a quantisation whose package is missing
MEGA = 10**6  # options count in these, as GPUs and disks are sold
WEIGHT_BYTES = {  # of a parameter, with its scales
    "none": 2.0, "int8": 1.06, "int8_dynamic": 1.06, "fp8": 1.06, FP8_STORAGE: 1.07, "nf4": 0.5625, "gguf": 1.07,
}  # fmt: skip
QUANTISED = ("text_encoder", "transformer")  # the VAE is small and stays as it is
GROUP_SHARE = 0.15  # of the largest part that is on the GPU at once: an embedding table and two blocks, rounded up
SECOND_ROOM = 1.15  # times the weights of text encoders, on a GPU that has nothing else: a prompt takes little
# At the widest point of the decoder four maps of 256 channels and full size are alive, in 16 bits.
DECODE_BYTES = 4 * 256 * 2  # a pixel
# A step keeps three feed-forward and ten model-wide activations of a token (16 x 16 px): (3 x 10240 + 10 x 3840) x 2 bytes.
STEP_BYTES = 540  # a pixel


@dataclass(frozen=True)
class Tier:
    """A way to hold a model. `quantization` and `offload` are values of their options."""

    name: str
    quantization: str
    offload: str
    tiling: bool


TIERS = (  # from the fastest to the smallest
    Tier("24gb", "none", "none", False),
    Tier("16gb", "none", "model", False),
    Tier("12gb", "int8", "none", True),
    Tier("8gb", "int8", "model", True),
    Tier("6gb", "nf4", "model", True),
    Tier("4gb", "none", "group", True),
)
CPU = Tier("cpu", "none", "none", False)
CPU_SMALL = Tier("4gb", "none", "disk", True)
BY_NAME = {tier.name: tier for tier in (*TIERS, CPU)}


@dataclass(frozen=True)
class DeviceMemory:
    """Where the model goes. `free` and `host` (memory of the machine itself) in bytes; `missing` says what a kind of
    quantisation lacks here, or None."""

    device: str
    free: int
    host: int
    missing: Callable[[str], Text | None]


@dataclass(frozen=True)
class Plan:
    """The tier in effect, with the reason of each automatic choice."""

    tier: Tier
    decisions: tuple[Decision, ...]

    @property
    def implied(self) -> dict[str, Any]:
        """Return the values of the options that the tier decides."""
        held = {
            "memory.tier": self.tier.name,
            "memory.quantization": self.tier.quantization,
            "memory.offload": self.tier.offload,
        }
        return {**held, "vae.enable_tiling": True} if self.tier.tiling else held


def needed(tier: Tier, parameters: Mapping[str, int], pixels: int, stored: Mapping[str, int] | None = None) -> int:
    """Return the peak bytes on the GPU, in 16-bit arithmetic, for one image of `pixels`.

    `parameters` counts those of text_encoder, transformer and vae; `stored` has the bytes of parts that stay as in their file.
    """
    size = _sizes(tier, parameters, stored)
    vae = size.get("vae", 0.0)
    network = size.pop("controlnet", 0.0)  # it works in the same step as the transformer or U-Net, and stays beside it
    others = [value for name, value in size.items() if name != "vae"] or [0.0]
    step, decode = _step_and_decode(tier, pixels)
    if tier.offload == "none":
        return int(sum(others) + network + vae + max(step, decode))
    share = 1.0 if tier.offload == "model" else GROUP_SHARE
    return int(max(max(others) * share + network + step, vae + decode))


def expected(
    tier: Tier, parameters: Mapping[str, int], pixels: int, budget: int, stored: Mapping[str, int] | None = None
) -> int:
    """Return the peak bytes within `budget`: parts that are moved one by one stay on the GPU where they fit."""
    least = needed(tier, parameters, pixels, stored)
    if tier.offload != "model":
        return least
    sizes = {name: int(size) for name, size in _sizes(tier, parameters, stored).items()}
    encoders = [name for name in sizes if name.startswith("text_encoder")]
    placed = place_parts(sizes, encoders, budget, working(tier, pixels))
    resident = sum(size for name, size in sizes.items() if placed[name] == RESIDENT)
    return max(least, resident + working(tier, pixels)) if resident else least


def _sizes(tier: Tier, parameters: Mapping[str, int], stored: Mapping[str, int] | None) -> dict[str, float]:
    """Return the bytes of each part."""
    return {
        name: count * WEIGHT_BYTES[tier.quantization if name in QUANTISED else "none"]
        for name, count in parameters.items()
    } | {name: float(count) for name, count in (stored or {}).items()}


def working(tier: Tier, pixels: int) -> int:
    """Return the bytes that generating an image of so many pixels takes beside the weights."""
    return max(_step_and_decode(tier, pixels))


def _step_and_decode(tier: Tier, pixels: int) -> tuple[int, int]:
    return STEP_BYTES * pixels, (min(pixels, 512 * 512) if tier.tiling else pixels) * DECODE_BYTES


def place_parts(sizes: Mapping[str, int], encoders: Collection[str], budget: int, working: int) -> dict[str, str]:
    """Return where each part is held, by the bytes of its weights: resident, streamed or visits.

    Denoiser, ControlNet and VAE are resident if they fit `budget` together with what computing takes. Then each encoder, the
    smallest first, is resident if it fits as well, and else streamed block by block. Without memory for the denoiser beside the
    VAE every part visits: it is there alone while it works.
    """
    left = budget - working - sum(size for name, size in sizes.items() if name not in encoders)
    if left < 0:
        return dict.fromkeys(sizes, VISITS)
    placed = {name: RESIDENT for name in sizes if name not in encoders}
    for name in sorted(encoders, key=lambda one: sizes[one]):
        placed[name] = RESIDENT if sizes[name] <= left else STREAMED
        left -= sizes[name] if placed[name] == RESIDENT else 0
    return placed


def second_gpu(
    options: Mapping[str, Any],
    parameters: Mapping[str, int],
    pixels: int,
    free: int,
    others: Mapping[str, int],
    stored: Mapping[str, int] | None = None,
) -> Decision | None:
    """Keep the text encoders on another GPU where the model does not fit `free` bytes as a whole, and they fit there.

    `others`: free bytes of the other GPUs. None where the user has said how the model is held, or nothing is gained.
    """
    option = Options(options)
    sizes = _sizes(TIERS[0], parameters, stored)
    encoders = sum(size for part, size in sizes.items() if part.startswith("text_encoder"))
    said = {option.text_encoder.device, option.memory.tier, option.memory.quantization, option.memory.offload} != {AUTO}
    whole = needed(TIERS[0], parameters, pixels, stored)
    if said or option.memory.low_vram or not encoders or not others or whole <= free:
        return None
    best = max(others, key=lambda name: others[name])
    if others[best] < encoders * SECOND_ROOM:
        return None
    reason = localize(
        "inference.memory_tiers.second_gpu", whole=whole / GIGA, free=max(0, free) / GIGA, encoders=encoders / GIGA, gpu=best
    )
    return Decision("text_encoder.device", AUTO, best, reason)


def choose(
    options: Mapping[str, Any],
    machine: DeviceMemory,
    parameters: Mapping[str, int],
    pixels: int,
    failed: str | None = None,
    stored: Mapping[str, int] | None = None,
) -> Plan:
    """Return the tier of `memory.tier`, or the first that fits, adapted to the other options and the machine.

    `failed` is the tier that ran out of memory just now: the next one below is taken, whatever was asked for.
    UnavailableError when the user asked for what this machine can't do.
    """
    option = Options(options)
    reserved = option.memory.reserved_mb * MEGA
    if failed is not None:
        tier, decision = _below(failed, machine)
    elif option.memory.tier != AUTO:
        tier, decision = _named(options, machine), None
    else:
        tier, decision = _first_that_fits(
            replace(machine, free=machine.free - reserved), parameters, pixels, stored or {}
        )
    decisions = [decision] if decision else []
    tier = _overridden(tier, options, machine, failed is not None)
    if tier.quantization == FP8_STORAGE and option.memory.quantization == AUTO:
        decisions.append(Decision("memory.quantization", "int8", FP8_STORAGE, machine.missing("int8") or {}))
    tier, refused = _possible(tier, machine, sum(parameters.values()))
    return Plan(tier, (*decisions, *refused))


def ladder(machine: DeviceMemory) -> tuple[Tier, ...]:
    """Return the tiers that this machine supports, the fastest first."""
    if machine.device != "cuda":
        return (CPU, CPU_SMALL)
    return tuple(tier for tier in map(partial(_with_fallback, machine), TIERS) if _lacking(tier, machine) is None)


def _with_fallback(machine: DeviceMemory, tier: Tier) -> Tier:
    """Return the tier, with fp8 storage, which needs no package, where int8 is missing."""
    if tier.quantization != "int8" or _lacking(tier, machine) is None or machine.missing(FP8_STORAGE) is not None:
        return tier
    return replace(tier, quantization=FP8_STORAGE)


def _lacking(tier: Tier, machine: DeviceMemory) -> Text | None:
    return None if tier.quantization == "none" else machine.missing(tier.quantization)


def _first_that_fits(
    machine: DeviceMemory, parameters: Mapping[str, int], pixels: int, stored: Mapping[str, int]
) -> tuple[Tier, Decision]:
    candidates = ladder(machine)
    fitting = next((tier for tier in candidates if needed(tier, parameters, pixels, stored) <= machine.free), None)
    tier = fitting or candidates[-1]
    wants, free = needed(tier, parameters, pixels, stored) / GIGA, max(0, machine.free) / GIGA
    reason = localize("inference.memory_tiers.needs_gb_of_gb_free", part=_DOES[tier.offload], wants=wants, free=free)
    if fitting is None:
        reason = localize("inference.memory_tiers.none_smaller", reason=reason)
    return tier, Decision("memory.tier", AUTO, tier.name, _with_packages(reason, machine, tier, parameters, pixels))


def _with_packages(
    reason: Text, machine: DeviceMemory, tier: Tier, parameters: Mapping[str, int], pixels: int
) -> dict[str, str]:
    """Adds what would allow a faster tier, where a package is all that is missing."""
    names = [one.name for one in TIERS]
    faster = TIERS[: names.index(tier.name)] if machine.device == "cuda" else ()
    for other in (_with_fallback(machine, one) for one in faster):
        lacking = _lacking(other, machine)
        if lacking and needed(other, parameters, pixels) <= machine.free:
            return localize(
                "inference.memory_tiers.tier_would_fit_but", reason=reason, name=other.name, lacking=lacking
            )
    return dict(reason)


def _below(failed: str, machine: DeviceMemory) -> tuple[Tier, Decision]:
    """Return the next smaller tier; OutOfMemory is the caller's to raise when there is none (see `has_below`)."""
    tier = _smaller(failed, machine)[0]
    reason = localize("inference.memory_tiers.out_of_memory_at_tier_begun", failed=failed)
    return tier, Decision("memory.tier", failed, tier.name, reason)


def has_below(tier: str, machine: DeviceMemory) -> bool:
    """Return True if there is a lower tier."""
    return bool(_smaller(tier, machine))


def _smaller(name: str, machine: DeviceMemory) -> tuple[Tier, ...]:
    tiers = ladder(machine)
    names = [tier.name for tier in (CPU, CPU_SMALL) if machine.device != "cuda"] or [tier.name for tier in TIERS]
    place = names.index(name) if name in names else 0
    return tuple(tier for tier in tiers if names.index(tier.name) > place)


def _named(options: Mapping[str, Any], machine: DeviceMemory) -> Tier:
    """Return the tier that the user asked for; its quantisation must be possible, unless another one was asked for as well."""
    tier = _with_fallback(machine, BY_NAME[Options(options).memory.tier])
    if Options(options).memory.quantization == AUTO:
        _demand(tier.quantization, "memory.tier", tier.name, machine)
    return tier


def _demand(kind: str, key: str, value: str, machine: DeviceMemory) -> None:
    lacking = None if kind == "none" else machine.missing(kind)
    if lacking:
        raise UnavailableError(key=key, value=value, reason=lacking)


def _overridden(tier: Tier, options: Mapping[str, Any], machine: DeviceMemory, lowered: bool) -> Tier:
    """Let what the user set beside the tier win; not the offloading, once that has run out of memory."""
    option = Options(options)
    kind, offload = option.memory.quantization, option.memory.offload
    if kind != AUTO:
        _demand(kind, "memory.quantization", kind, machine)
        tier = replace(tier, quantization=kind)
    if option.memory.low_vram:
        tier = replace(tier, tiling=True, offload="model" if tier.offload == "none" else tier.offload)
    return tier if offload == AUTO or lowered else replace(tier, offload=offload)


def _possible(tier: Tier, machine: DeviceMemory, parameters: int) -> tuple[Tier, tuple[Decision, ...]]:
    """Leave out offloading where it has no effect, with the reason."""
    if machine.device != "cuda" and tier.offload in ("model", "group"):
        refused = Decision("memory.offload", tier.offload, "none", _NO_CARD)
        return replace(tier, offload="none"), (refused,)
    if tier.offload == "group" and parameters * WEIGHT_BYTES[tier.quantization] > machine.host:
        return replace(tier, offload="disk"), (Decision("memory.offload", "group", "disk", _NO_HOST),)
    return tier, ()


_DOES: Mapping[str, Text] = {
    "none": localize("inference.memory_tiers.does.none"),
    "model": localize("inference.memory_tiers.does.model"),
    "group": localize("inference.memory_tiers.does.group"),
    "disk": localize("inference.memory_tiers.does.disk"),
}
_NO_CARD = localize("inference.memory_tiers.no_gpu")
_NO_HOST = localize("inference.memory_tiers.no_host")
