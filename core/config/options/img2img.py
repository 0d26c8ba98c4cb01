"""Options of img2img, the hires fix and ControlNet."""

from __future__ import annotations

from typing import Any

from core.config.options.helpers import advanced
from core.config.schema import AUTO, Option


def _control(key: str, **declared: Any) -> Option:
    return advanced(f"controlnet.{key}", group="controlnet", **declared)


IMG2IMG = (
    advanced(
        "img2img.denoising_strength",
        former=("img2img.strength",),
        type="float",
        default=0.6,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        group="img2img",
        synonyms=("denoise", "denoising", "strength", "redraw", "重绘", "降噪"),
        label={"en": "Denoising strength", "zh": "重绘幅度"},
        help={
            "en": "For img2img and inpaint: how much of the source image is regenerated. 0 keeps it, 1 ignores it. About "
            "steps x strength are run (Z-Image rounds up, the others down); the record of the image says how many.",
            "zh": "用于图生图和局部重绘：重绘的程度。0 为不变，1 为完全重绘。实际约运行 步数 × 重绘幅度 步"
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
        synonyms=("hires fix", "highres", "upscale", "高清", "高分辨率"),
        label={"en": "Hires. fix", "zh": "高清修复"},
        help={
            "en": "Generates a small image, upscales it, and runs img2img at the requested size, so that large images keep one "
            "composition. The file has the requested size. To save memory, enable Tiled VAE.",
            "zh": "先生成小图，放大后再按目标尺寸重绘：大图不易出现重复构图。文件为请求的尺寸。"
            "如需节省显存，请开启 VAE 分块。",
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
        synonyms=("hires fix", "upscale", "高清"),
        needs=(("hires.enabled", (True,)),),
        label={"en": "Upscale by", "zh": "放大倍率"},
        help={
            "en": "The first pass has width and height divided by this.",
            "zh": "第一遍的尺寸为宽和高除以此数。",
        },
    ),
    advanced(
        "hires.denoising_strength",
        former=("hires.strength",),
        type="float",
        default=0.35,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        group="hires",
        synonyms=("hires fix", "denoise", "重绘"),
        needs=(("hires.enabled", (True,)),),
        label={"en": "Hires denoising", "zh": "高清修复重绘幅度"},
        help={
            "en": "How much of the upscaled image is regenerated: low keeps it, high adds detail and may repeat things.",
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
        synonyms=("hires fix", "高清"),
        needs=(("hires.enabled", (True,)),),
        label={"en": "Hires steps", "zh": "高清修复步数"},
        help={
            "en": "About these steps x Hires denoising are run. auto: as many as Steps.",
            "zh": "实际约运行 此步数 × 重绘幅度 步。auto：与采样步数相同。",
        },
    ),
    advanced(
        "hires.upscaler",
        type="str",
        maximum=200,
        default="lanczos",
        group="hires",
        synonyms=("hires fix", "upscale", "resampling", "ESRGAN", "放大"),
        needs=(("hires.enabled", (True,)),),
        label={"en": "Upscaler", "zh": "放大算法"},
        help={
            "en": "lanczos, bicubic, bilinear or nearest; compact-x2 and compact-x4 are embedded networks; each file of the folder "
            "upscalers in the models' folder, by its name; auto: an embedded network.",
            "zh": "lanczos、bicubic、bilinear 或 nearest；compact-x2 和 compact-x4 为自带网络；也可用模型目录下 upscalers "
            "文件夹中的文件名；auto：自带网络。",
        },
    ),
)

CONTROL = (
    _control(
        "preprocessor",
        former=("control.preprocess",),
        type="choice",
        choices=("canny", "none"),
        default="canny",
        label={"en": "Preprocessor", "zh": "预处理器"},
        help={
            "en": "canny: detects the edges of the source image. none: the image is a control image already and is used as it is, "
            "scaled to cover the size and cropped to its center.",
            "zh": "canny：检测原图的边缘。none：图片已是控制图，直接使用（缩放至覆盖目标尺寸并居中裁剪）。",
        },
    ),
    _control(
        "canny_low",
        former=("control.canny_low",),
        type="int",
        default=100,
        minimum=0,
        maximum=255,
        step=5,
        needs=(("controlnet.preprocessor", ("canny",)),),
        label={"en": "Canny low threshold", "zh": "Canny 低阈值"},
        help={
            "en": "Edges continue where the gradient exceeds this; lower keeps fainter edges.",
            "zh": "梯度大于此值时边缘得以延续；越低保留的细线越多。",
        },
    ),
    _control(
        "canny_high",
        former=("control.canny_high",),
        type="int",
        default=200,
        minimum=0,
        maximum=255,
        step=5,
        needs=(("controlnet.preprocessor", ("canny",)),),
        label={"en": "Canny high threshold", "zh": "Canny 高阈值"},
        help={
            "en": "Edges start where the gradient exceeds this; lower finds more edges. Not below the low threshold.",
            "zh": "梯度大于此值处才开始一条边缘；越低边缘越多。不得小于低阈值。",
        },
    ),
    _control(
        "scale",
        former=("control.scale",),
        type="float",
        default=AUTO,
        auto=True,
        minimum=0.0,
        maximum=2.0,
        step=0.05,
        label={"en": "Control weight", "zh": "控制权重"},
        help={
            "en": "The output of the ControlNet is multiplied by this; 0 = off. auto: the default of the pipeline, "
            "1 for SDXL and 0.75 for Z-Image.",
            "zh": "ControlNet 的输出乘以此值；0 等于不控制。auto 为管线默认：SDXL 为 1，Z-Image 为 0.75。",
        },
    ),
    _control(
        "start",
        former=("control.start",),
        type="float",
        default=0.0,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        label={"en": "Starting step", "zh": "介入时机"},
        help={
            "en": "Share of the steps (0 to 1) at which the ControlNet starts.",
            "zh": "ControlNet 从总步数的这一比例（0 至 1）开始起作用。",
        },
    ),
    _control(
        "end",
        former=("control.end",),
        type="float",
        default=1.0,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        label={"en": "Ending step", "zh": "结束时机"},
        help={
            "en": "Share of the steps (0 to 1) at which the ControlNet ends; later steps are free. Above the starting step.",
            "zh": "ControlNet 到总步数的这一比例（0 至 1）停止起作用，其后自由生成细节。须大于介入时机。",
        },
    ),
)
