"""Every option of the studio, declared once.

To add one: declare it in one of these files, apply it where it acts, test its effect.
"""

from __future__ import annotations

from core.config.options.basics import GENERATION, MODEL, OUTPUT
from core.config.options.interface import UI
from core.config.options.machine import MEMORY, SPEED
from core.config.options.models import MODELS
from core.config.options.pipeline import PREVIEW, SIZE, TRANSFORMER, VAE
from core.config.options.service import SERVICE, WORKER
from core.config.schema import Schema

SCHEMA = Schema(
    GENERATION + MODEL + OUTPUT + MODELS + SIZE + TRANSFORMER + VAE + SPEED + MEMORY + PREVIEW + UI + WORKER + SERVICE
)

GROUPS: dict[str, dict[str, str]] = {
    "size": {"en": "Size", "zh": "尺寸"},
    "guidance": {"en": "Guidance and schedule", "zh": "引导与调度"},
    "rope": {"en": "Positions (RoPE)", "zh": "位置编码（RoPE）"},
    "vae": {"en": "VAE", "zh": "VAE"},
    "precision": {"en": "Device and precision", "zh": "设备与精度"},
    "attention": {"en": "Attention and text", "zh": "注意力与文本"},
    "memory": {"en": "Memory", "zh": "内存"},
    "compile": {"en": "Compilation", "zh": "编译"},
    "preview": {"en": "Preview", "zh": "预览"},
    "output": {"en": "File", "zh": "文件"},
}
