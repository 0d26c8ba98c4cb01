"""Weight files of any size on paper: a header with its tensors in a sparse file, which takes no room on the disk."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

BYTES = {"F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "U8": 1}


def write_header(path: Path, tensors: Mapping[str, Sequence[int]], dtype: str = "BF16", **dtypes: str) -> Path:
    """Write a safetensors file of zeros. `dtypes` are those of single tensors, by the end of their names."""
    header: dict[str, object] = {}
    end = 0
    for name, shape in tensors.items():
        own = next((kind for ending, kind in dtypes.items() if name.endswith(ending)), dtype)
        size = math.prod(shape) * BYTES[own]
        header[name] = {"dtype": own, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return path


def write_gguf(path: Path, tensors: Mapping[str, Sequence[int]], kind: Callable[[str], int], architecture: str) -> Path:
    """Write a GGUF file of zeros; `kind` gives the number of a tensor's type: 0 F32, 2 Q4_0, 8 Q8_0."""
    blocks = {0: (1, 4), 2: (32, 18), 8: (32, 34)}  # values and bytes of a block

    def text(words: str) -> bytes:
        return struct.pack("<Q", len(words)) + words.encode()

    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 1)
    head += text("general.architecture") + struct.pack("<I", 8) + text(architecture)
    end = 0
    for name, shape in tensors.items():
        number = kind(name)
        values, width = blocks[number]
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), number, end)
        end += -(-math.prod(shape) // values * width // 32) * 32
    head += bytes(-len(head) % 32)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + end)
    return path


LORA_OF = {  # a family -> layers of its LoRAs as trainers name them, with the width of their input
    "FLUX": [
        ("transformer.single_transformer_blocks.0.attn.to_q", 3072),
        ("lora_unet_single_blocks_0_linear1", 3072),
        ("diffusion_model.double_blocks.0.img_attn.qkv", 3072),
    ],
    "Wan": [
        ("diffusion_model.blocks.0.self_attn.q", 5120),
        ("lora_unet_blocks_0_cross_attn_k_img", 5120),
        ("transformer.blocks.0.attn1.to_q", 1536),
    ],
    "LTX": [
        ("diffusion_model.transformer_blocks.0.attn1.to_q", 2048),
        ("transformer.transformer_blocks.0.attn2.to_k", 4096),
    ],
    "LTX-2": [("diffusion_model.transformer_blocks.0.audio_attn1.to_q", 2048)],
    "HunyuanVideo": [("lora_unet_double_blocks_0_img_mlp_fc1", 3072)],
    "Lumina 2": [("diffusion_model.layers.0.attention.qkv", 2304)],
    "Stable Diffusion 3": [
        ("diffusion_model.joint_blocks.0.x_block.attn.qkv", 2432),
        ("transformer.transformer_blocks.0.attn.to_q", 1536),
    ],
    "PixArt or Sana": [("transformer.transformer_blocks.0.attn1.to_q", 1152)],
    "Stable Diffusion 2": [("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k", 1024)],
}
