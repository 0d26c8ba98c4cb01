"""List the names that a Qwen3 text encoder's weights have in files, and which weights it must have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

UNUSED = ("lm_head.weight", "rope_freqs.weight", "logit_scale", "rotary_emb.inv_freq")  # the encoder writes no text
_BLOCK = re.compile(r"^blk\.(\d+)\.(.*)$")
_LLAMA_CPP = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_ENDS = {
    "token_embd.weight": "embed_tokens.weight",
    "output_norm.weight": "norm.weight",
    "output.weight": "lm_head.weight",
}


def plain(name: str) -> str:
    """Return a name as Qwen3Model has it, for one whose prefix has been cut off."""
    return name


def from_llama_cpp(name: str) -> str:
    """Return transformers' name for one of llama.cpp's; an unknown one as it is."""
    block = _BLOCK.match(name)
    if block is None:
        return _ENDS.get(name, name)
    kind, _, ending = block[2].rpartition(".")
    return f"layers.{block[1]}.{_LLAMA_CPP.get(kind, kind)}.{ending}"


def expected(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return every weight of a Qwen3Model of this configuration with its shape."""
    width, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = head * config["num_attention_heads"], head * config["num_key_value_heads"]
    shapes: dict[str, tuple[int, ...]] = {"embed_tokens.weight": (config["vocab_size"], width), "norm.weight": (width,)}
    for index in range(config["num_hidden_layers"]):
        layer = f"layers.{index}"
        shapes |= {
            f"{layer}.self_attn.q_proj.weight": (queries, width),
            f"{layer}.self_attn.k_proj.weight": (keys, width),
            f"{layer}.self_attn.v_proj.weight": (keys, width),
            f"{layer}.self_attn.o_proj.weight": (width, queries),
            f"{layer}.self_attn.q_norm.weight": (head,),
            f"{layer}.self_attn.k_norm.weight": (head,),
            f"{layer}.mlp.gate_proj.weight": (inner, width),
            f"{layer}.mlp.up_proj.weight": (inner, width),
            f"{layer}.mlp.down_proj.weight": (width, inner),
            f"{layer}.input_layernorm.weight": (width,),
            f"{layer}.post_attention_layernorm.weight": (width,),
        }
    return shapes
