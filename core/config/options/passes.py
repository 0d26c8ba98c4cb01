"""Drawing over a picture: how much of it is drawn anew, and the second pass for high resolution."""

from __future__ import annotations

from core.config.options.declare import advanced
from core.config.schema import AUTO

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

HIRES = (
    advanced(
        "hires.enabled",
        type="bool",
        default=False,
        group="hires",
        label={"en": "Second pass for high resolution", "zh": "高清二次绘制"},
        help={
            "en": "The picture is drawn small, enlarged, and drawn over at the size asked for: large pictures keep one "
            "composition. All one job; the file has the size asked for. For less memory, switch VAE tiling on.",
            "zh": "先画小图，放大后再按所求尺寸重绘：大图构图不易重复。整个过程是一个任务，文件为所求尺寸。"
            "如需节省显存，请打开 VAE 分块。",
        },
    ),
    advanced(
        "hires.scale",
        type="float",
        default=2.0,
        minimum=1.25,
        maximum=4.0,
        step=0.25,
        group="hires",
        label={"en": "Enlarged by", "zh": "放大倍数"},
        help={
            "en": "The first pass is drawn at width and height divided by this.",
            "zh": "第一次绘制的尺寸为宽和高除以此数。",
        },
    ),
    advanced(
        "hires.strength",
        type="float",
        default=0.35,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        group="hires",
        label={"en": "Strength of the second pass", "zh": "二次绘制强度"},
        help={
            "en": "How much of the enlarged picture is drawn anew: low keeps it, high invents detail and may repeat things.",
            "zh": "放大后重绘的程度：低则保留原样，高则增加细节，但可能出现重复内容。",
        },
    ),
    advanced(
        "hires.steps",
        type="int",
        default=AUTO,
        auto=True,
        minimum=1,
        maximum=200,
        step=1,
        group="hires",
        label={"en": "Steps of the second pass", "zh": "二次绘制步数"},
        help={
            "en": "Of these the share that its strength says is run. auto: as many as the picture's own steps.",
            "zh": "其中按强度运行一部分。auto：与图片步数相同。",
        },
    ),
    advanced(
        "hires.upscaler",
        type="choice",
        choices=("lanczos", "bicubic", "bilinear", "nearest"),
        default="lanczos",
        group="hires",
        label={"en": "Enlarged with", "zh": "放大方法"},
        help={
            "en": "lanczos is the sharpest, nearest keeps hard pixels.",
            "zh": "lanczos 最清晰，nearest 保留硬边像素。",
        },
    ),
)
