"""The control picture of models with a ControlNet."""

from __future__ import annotations

from typing import Any

from core.config.options.declare import advanced
from core.config.schema import AUTO, Option


def _control(key: str, **declared: Any) -> Option:
    return advanced(f"control.{key}", group="control", **declared)


CONTROL = (
    _control(
        "preprocess",
        type="choice",
        choices=("canny", "none"),
        default="canny",
        label={"en": "Made from the picture", "zh": "处理方式"},
        help={
            "en": "canny: the outlines of the picture you give. none: it is a control picture already and is used as it is, "
            "scaled to cover the size and cut around its centre.",
            "zh": "canny：取所给图片的轮廓。none：所给图片已是控制图，直接使用（缩放至覆盖目标尺寸并居中裁剪）。",
        },
    ),
    _control(
        "canny_low",
        type="int",
        default=100,
        minimum=0,
        maximum=255,
        step=5,
        label={"en": "Canny, low", "zh": "Canny 低阈值"},
        help={
            "en": "A line goes on as long as brightness changes by more than this; lower keeps fainter lines.",
            "zh": "亮度变化大于此值时线条得以延续；越低保留的细线越多。",
        },
    ),
    _control(
        "canny_high",
        type="int",
        default=200,
        minimum=0,
        maximum=255,
        step=5,
        label={"en": "Canny, high", "zh": "Canny 高阈值"},
        help={
            "en": "A line begins where brightness changes by more than this; lower finds more lines. At least the low one.",
            "zh": "亮度变化大于此值处才开始一条线；越低线条越多。不得小于低阈值。",
        },
    ),
    _control(
        "scale",
        type="float",
        default=AUTO,
        auto=True,
        minimum=0.0,
        maximum=2.0,
        step=0.05,
        label={"en": "Control strength", "zh": "控制强度"},
        help={
            "en": "What the ControlNet says is multiplied by this; 0 draws as without it. auto: the pipeline's own, "
            "1 for SDXL and 0.75 for Z-Image.",
            "zh": "ControlNet 的输出乘以此值；0 等于不控制。auto 为管线默认：SDXL 为 1，Z-Image 为 0.75。",
        },
    ),
    _control(
        "start",
        type="float",
        default=0.0,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        label={"en": "Control from", "zh": "控制起点"},
        help={
            "en": "Share of the steps after which the control begins; before it the model draws freely.",
            "zh": "从第几成步数开始控制；此前模型自由绘制。",
        },
    ),
    _control(
        "end",
        type="float",
        default=1.0,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        label={"en": "Control to", "zh": "控制终点"},
        help={
            "en": "Share of the steps after which the control ends; later steps draw details freely. Greater than where it begins.",
            "zh": "到第几成步数停止控制；其后的步骤自由绘制细节。须大于起点。",
        },
    ),
)
