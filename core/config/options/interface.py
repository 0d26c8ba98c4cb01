"""The options of the pages."""

from __future__ import annotations

from core.config.options.declare import interface
from core.config.schema import AUTO

UI = (
    interface(
        "ui.language",
        type="choice",
        choices=(AUTO, "zh", "en"),
        default=AUTO,
        label={"en": "Language", "zh": "语言"},
        help={"en": "auto follows the browser.", "zh": "auto 跟随浏览器。"},
    ),
    interface(
        "ui.poll_seconds",
        type="float",
        default=0.6,
        minimum=0.2,
        maximum=10.0,
        unit="s",
        label={"en": "Refresh interval", "zh": "刷新间隔"},
        help={
            "en": "How often the pages ask how a running job is getting on.",
            "zh": "页面多久查询一次正在运行的任务。",
        },
    ),
    interface(
        "ui.history_page_size",
        type="int",
        default=60,
        minimum=10,
        maximum=500,
        label={"en": "Images per page", "zh": "每页图片数"},
        help={"en": "In the history.", "zh": "用于历史页。"},
    ),
    interface(
        "ui.history_view",
        type="choice",
        choices=("gallery", "table"),
        default="gallery",
        label={"en": "Default history view", "zh": "历史的默认视图"},
        help={"en": "Gallery or table.", "zh": "图库或表格。"},
    ),
    interface(
        "ui.size_presets",
        type="list",
        default=("1:1", "4:3", "3:4", "3:2", "2:3", "16:9", "9:16"),
        label={"en": "Size presets", "zh": "尺寸预设"},
        help={
            "en": "Aspect ratios offered as buttons, at the native resolution of the model; sizes such as 1280x720 work, too.",
            "zh": "以模型原生分辨率提供的宽高比按钮；也可写成 1280x720 这样的具体尺寸。",
        },
    ),
)
