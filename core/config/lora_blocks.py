"""Read `lbw=` of A1111's extension LoRA Block Weight: factors of a LoRA's weight, block by block of a U-Net.

`<lora:ink:0.8:lbw=1,0,0,...>` has a factor for the text encoders and one for each block, or the name of such a list. The number
of factors tells the model: 17 and 26 are those of SD 1.5, 12 and 20 those of SDXL, for LoRAs and LyCORIS files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

TEXT, MIDDLE = "BASE", "MID"
_SD = ("IN01", "IN02", "IN04", "IN05", "IN07", "IN08", MIDDLE, *(f"OUT{n:02}" for n in range(3, 12)))
_XL = ("IN04", "IN05", "IN07", "IN08", MIDDLE, *(f"OUT{n:02}" for n in range(6)))
_SD_ALL = (*(f"IN{n:02}" for n in range(12)), MIDDLE, *(f"OUT{n:02}" for n in range(12)))
_XL_ALL = (*(f"IN{n:02}" for n in range(9)), MIDDLE, *(f"OUT{n:02}" for n in range(9)))
BLOCKS = {len(names) + 1: (TEXT, *names) for names in (_SD, _XL, _SD_ALL, _XL_ALL)}
LISTS = {  # the extension's own, for SD 1.5
    "NONE": "00000000000000000", "ALL": "11111111111111111", "INS": "11100000000000000", "IND": "10001110000000000",
    "INALL": "11111110000000000", "MIDD": "10001111111100000", "OUTD": "10000000111100000", "OUTS": "10000000000011111",
    "OUTALL": "10000000111111111",
}  # fmt: skip
_LAYER = re.compile(r"(down|up)_blocks\.(\d+)\.(attentions|resnets|downsamplers|upsamplers)\.(\d+)\.")
SAMPLER = 2  # what a down- or upsampler counts as among the members of its block


def read_factors(text: str) -> dict[str, float] | None:
    """Return the factors by the names of BLOCKS; None for a text that is neither a list of them nor the name of one."""
    parts: Sequence[str] = LISTS.get(text.strip().upper(), "") or text.split(",")
    names = BLOCKS.get(len(parts))
    try:
        factors = [float(part) for part in parts]
    except ValueError:
        return None
    return dict(zip(names, factors, strict=True)) if names else None


def part_of(block: str) -> str | None:
    """Return the part of a LoRA's weight for a block of the U-Net, as diffusers counts; None for its first layer, IN00."""
    if block in (TEXT, MIDDLE):
        return {TEXT: "te", MIDDLE: "mid_block"}[block]
    number = int(block[-2:])
    if block.startswith("OUT"):
        return f"up_blocks.{number // 3}.{number % 3}"
    return f"down_blocks.{(number - 1) // 3}.{(number - 1) % 3}" if number else None


def member_of(layer: str) -> tuple[str, int, int] | None:
    """Return block, its index, and the member of it that a layer of a U-Net belongs to; None outside of these blocks.

    Member k is the k-th ResNet with the attention after it; a sampler is the last of them.
    """
    found = _LAYER.match(layer)
    if found is None:
        return None
    way, index, kind, member = found.groups()
    return f"{way}_blocks", int(index), SAMPLER if kind.endswith("samplers") else int(member)
