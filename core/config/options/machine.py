"""The advanced options that fit the pipeline to the machine: compilation and memory."""

from __future__ import annotations

from core.config.options.declare import LIVE, RELOAD, START, advanced
from core.config.schema import AUTO

SPEED = (
    advanced(
        "compile.enabled",
        type="bool",
        default=False,
        group="compile",
        takes_effect=RELOAD,
        built=False,
        label={"en": "torch.compile", "zh": "torch.compile"},
        help={"en": "Compile the transformer's blocks.", "zh": "编译变换器的各层。"},
    ),
    advanced(
        "compile.mode",
        type="choice",
        choices=("default", "max-autotune"),
        default="default",
        group="compile",
        takes_effect=RELOAD,
        built=False,
        label={"en": "Compile mode", "zh": "编译模式"},
        help={
            "en": "max-autotune tries more kernels and warms up longer.",
            "zh": "max-autotune 尝试更多内核，预热更久。",
        },
    ),
    advanced(
        "compile.fullgraph",
        type="bool",
        default=False,
        group="compile",
        takes_effect=RELOAD,
        built=False,
        label={"en": "Full graph", "zh": "完整计算图"},
        help={"en": "Refuse graph breaks inside a block.", "zh": "块内不允许断图。"},
    ),
    advanced(
        "tensorrt.enabled",
        type="bool",
        default=False,
        group="compile",
        takes_effect=RELOAD,
        built=False,
        label={"en": "TensorRT", "zh": "TensorRT"},
        help={"en": "Needs torch_tensorrt and an NVIDIA card.", "zh": "需要 torch_tensorrt 和 NVIDIA 显卡。"},
    ),
)

MEMORY = (
    advanced(
        "memory.low_vram",
        type="bool",
        default=False,
        group="memory",
        takes_effect=RELOAD,
        aliases=("low_vram",),
        label={"en": "Low memory", "zh": "低显存"},
        help={
            "en": "Each part of the model is on the card only while it works, and decoding is tiled. Slower.",
            "zh": "模型各部分仅在工作时占用显卡，并分块解码。较慢。",
        },
    ),
    advanced(
        "memory.profile",
        type="choice",
        choices=(AUTO, "24gb", "16gb", "12gb", "8gb", "6gb", "4gb", "cpu"),
        default=AUTO,
        group="memory",
        takes_effect=RELOAD,
        built=False,
        label={"en": "Memory tier", "zh": "显存档位"},
        help={"en": "Precision and offloading for a card of this size.", "zh": "按显存大小选择精度和卸载方式。"},
    ),
    advanced(
        "memory.max_split_size_mb",
        type="int",
        default=AUTO,
        auto=True,
        minimum=21,
        maximum=4096,
        unit="MB",
        group="memory",
        takes_effect=START,
        built=False,
        label={"en": "Largest split block", "zh": "最大可分割块"},
        help={"en": "CUDA allocator: larger blocks are not split.", "zh": "CUDA 分配器：更大的块不再分割。"},
    ),
    advanced(
        "memory.empty_cache",
        type="bool",
        default=False,
        group="memory",
        takes_effect=LIVE,
        built=False,
        label={"en": "Empty the cache after each picture", "zh": "每张图后清空缓存"},
        help={"en": "Give unused memory back to the card.", "zh": "把未用的显存还给显卡。"},
    ),
    advanced(
        "memory.reserved_mb",
        type="int",
        default=0,
        minimum=0,
        maximum=16384,
        unit="MB",
        group="memory",
        takes_effect=RELOAD,
        built=False,
        label={"en": "Reserved for others", "zh": "预留显存"},
        help={"en": "Card memory that the studio leaves free.", "zh": "为其他程序留出的显存。"},
    ),
)
