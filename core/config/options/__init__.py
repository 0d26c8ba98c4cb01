"""Declare every option of the studio, once.

To add one: declare it in one of these files, apply it where it acts, test its effect.
"""

from __future__ import annotations

from itertools import chain

from core.config.options.general import BATCH, GENERATION, OUTPUT, STORAGE
from core.config.options.img2img import CONTROL, HIRES, IMG2IMG, UPSCALE
from core.config.options.inpaint import DETECT, INPAINT, OUTPAINT
from core.config.options.models import LORA, LORA_FOLDER, MODEL, MODELS
from core.config.options.performance import COMPILATION, GUARD, MEMORY, RESUME, SPEED
from core.config.options.pipeline import PREVIEW, SIZE, TEXT_ENCODER, TRANSFORMER, VAE
from core.config.options.sampling import CFG, SAMPLING
from core.config.options.service import ACCESS, QUOTA, SERVER, SERVICE, UI
from core.config.options.worker import QUEUE_END, REMOTE, SHARING, WEBHOOK, WORKER
from core.config.schema import Schema

_REQUESTS = (
    GENERATION,
    BATCH,
    MODEL,
    OUTPUT,
    STORAGE,
    MODELS,
    LORA_FOLDER,
    SAMPLING,
    SIZE,
    IMG2IMG,
    INPAINT,
    DETECT,
    OUTPAINT,
    CONTROL,
    HIRES,
    UPSCALE,
    LORA,
)
_PIPELINE = (TEXT_ENCODER, TRANSFORMER, CFG, VAE, GUARD, RESUME, SPEED, COMPILATION, MEMORY)
_STUDIO = (PREVIEW, UI, WORKER, SHARING, REMOTE, SERVER, ACCESS, QUOTA, QUEUE_END, WEBHOOK, SERVICE)
SCHEMA = Schema(tuple(chain(*_REQUESTS, *_PIPELINE, *_STUDIO)))
FIELDS = tuple(  # keys of what a request has as fields of its own, cfg_scale as another way to say one
    key for key, option in SCHEMA.options.items() if key.startswith("generation.") and option.panel != "advanced"
)

GROUPS: dict[str, dict[str, str]] = {
    "sampling": {"en": "Sampling", "zh": "采样"},
    "lora": {"en": "LoRA", "zh": "LoRA"},
    "size": {"en": "Resolution", "zh": "分辨率"},
    "img2img": {"en": "Img2img / Inpaint", "zh": "图生图 / 局部重绘"},
    "inpaint": {"en": "Inpaint", "zh": "局部重绘"},
    "outpaint": {"en": "Outpaint", "zh": "扩图"},
    "hires": {"en": "Hires. fix", "zh": "高清修复"},
    "upscale": {"en": "Upscale", "zh": "放大"},
    "controlnet": {"en": "ControlNet", "zh": "ControlNet"},
    "cfg": {"en": "CFG and scheduler", "zh": "CFG 与调度器"},
    "rope": {"en": "RoPE", "zh": "位置编码（RoPE）"},
    "vae": {"en": "VAE", "zh": "VAE"},
    "precision": {"en": "Device and precision", "zh": "设备与精度"},
    "attention": {"en": "Attention and text", "zh": "注意力与文本"},
    "memory": {"en": "VRAM", "zh": "显存"},
    "performance": {"en": "Lossless optimizations", "zh": "无损加速"},
    "compile": {"en": "Compilation", "zh": "编译"},
    "preview": {"en": "Live preview", "zh": "实时预览"},
    "output": {"en": "Output", "zh": "输出"},
}
