"""Write the trained edit model as a diffusers folder of ZImageOmniPipeline, with the embedded model's VAE."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import torch
from diffusers import ZImageTransformer2DModel
from transformers import Qwen2Tokenizer, Qwen3Model

from core.demo.training.edit_pairs import new_siglip
from core.demo.training.edit_text import SHIPPED
from core.demo.training.export import load_in_full

CLASSES = {
    "siglip": ["transformers", "Siglip2VisionModel"],
    "siglip_processor": ["transformers", "Siglip2ImageProcessor"],
}


def export(out: Path, transformer: ZImageTransformer2DModel) -> None:
    """Write `out`/exported: first beside it, so that a reader never sees half of one. Weights are in fp16."""
    target = out / "exported"
    fresh, old = target.with_name(target.name + ".new"), target.with_name(target.name + ".old")
    for folder in (fresh, old):
        shutil.rmtree(folder, ignore_errors=True)
    copy = ZImageTransformer2DModel.from_config(transformer.config)
    copy.load_state_dict(transformer.state_dict())
    copy.half().save_pretrained(fresh / "transformer")
    Qwen2Tokenizer.from_pretrained(out / "tokenizer").save_pretrained(fresh / "tokenizer")
    Qwen3Model.from_pretrained(out / "text_encoder", dtype=torch.float16).save_pretrained(fresh / "text_encoder")
    siglip, processor = new_siglip(out)
    siglip.half().save_pretrained(fresh / "siglip")
    processor.save_pretrained(fresh / "siglip_processor")
    for part in ("text_encoder", "siglip"):
        load_in_full(fresh / part / "config.json")
    shutil.copytree(SHIPPED / "scheduler", fresh / "scheduler")
    shutil.copytree(SHIPPED / "vae", fresh / "vae")
    shutil.copy(SHIPPED / "preview.safetensors", fresh)
    index = json.loads((SHIPPED / "model_index.json").read_text(encoding="utf-8"))
    index = {**index, "_class_name": "ZImageOmniPipeline", **CLASSES}
    (fresh / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    if target.exists():
        os.rename(target, old)
    os.rename(fresh, target)
    shutil.rmtree(old, ignore_errors=True)
