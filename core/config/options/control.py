"""The control picture of models with a ControlNet."""

from __future__ import annotations

from typing import Any

from core.config.options.declare import advanced
from core.config.schema import AUTO, Option


def _control(key: str, **declared: Any) -> Option:
    return advanced(f"controlnet.{key}", group="controlnet", **declared)


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
