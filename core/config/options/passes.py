"""Drawing over a picture: how much of it is drawn anew, and the second pass for high resolution."""

from __future__ import annotations

from core.config.options.declare import advanced

IMG2IMG = (
    advanced(
        "img2img.strength",
        type="float",
        default=0.6,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        group="img2img",
        label={"en": "Strength", "zh": "重绘强度"},
        help={
            "en": "With a picture to start from: how much of it is drawn anew. 0 leaves it, 1 keeps nothing of it. Of N steps "
            "about N x strength are run (Z-Image rounds up, the others down); the picture's record says how many it were.",
            "zh": "有输入图片时：重绘的程度。0 为不变，1 为完全重画。N 步中约运行 N × 强度 步"
            "（Z-Image 向上取整，其他向下取整）；实际步数记入图片记录。",
        },
    ),
)
