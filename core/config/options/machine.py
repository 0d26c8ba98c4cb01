"""The advanced options that fit the pipeline to the machine: compilation and memory."""

from __future__ import annotations

from core.config.options.declare import LIVE, RELOAD, START, advanced
from core.config.schema import AUTO

GUARD = (
    advanced(
        "guard.retry",
        type="bool",
        default=True,
        group="precision",
        label={"en": "Repair broken pictures", "zh": "自动修复坏图"},
        help={
            "en": "NaN, Inf and flat colour are always found and never saved. On: decoded again in float32, then the whole "
            "job again in a higher precision (bfloat16 or float32), if it fits the memory. Off: the job fails at once.",
            "zh": "NaN、Inf 和纯色图总会被发现且不会保存。开：先以 float32 重新解码，再在内存允许时以更高精度"
            "（bfloat16 或 float32）重做整个任务。关：任务立即失败。",
        },
    ),
)

WAYS = (AUTO, "always", "never")

SPEED = (
    advanced(
        "speed.cache_text",
        type="bool",
        default=True,
        group="speed",
        takes_effect=LIVE,
        label={"en": "Keep text embeddings", "zh": "缓存文本嵌入"},
        help={
            "en": "A prompt that was read before is not read again, as long as the model stays loaded. Changes no pixel.",
            "zh": "模型保持加载期间，读过的提示词不再重新编码。不改变任何像素。",
        },
    ),
    advanced(
        "speed.trim_text",
        type="choice",
        choices=WAYS,
        default=AUTO,
        group="speed",
        takes_effect=LIVE,
        label={"en": "Read the prompt without padding", "zh": "编码时去除填充"},
        help={
            "en": "diffusers pads each prompt to the longest length and cuts the padding off afterwards; always pads to the "
            "next 64 tokens only. auto: on the CPU, where every bit of it is the same; on a card rounding may differ.",
            "zh": "diffusers 会把提示词填充到最大长度，编码后再裁掉；always 只填充到下一个 64 的倍数。"
            "auto：在 CPU 上启用，结果逐位相同；在显卡上舍入可能不同。",
        },
    ),
    advanced(
        "speed.refine_once",
        type="bool",
        default=True,
        group="speed",
        takes_effect=LIVE,
        label={"en": "Refine the text once", "zh": "文本只精炼一次"},
        help={
            "en": "The transformer's context refiner gives the same at every step, so it runs once a picture. Changes no "
            "pixel: its input is compared bit for bit at each step.",
            "zh": "变换器的上下文精炼层每一步结果相同，因此每张图只运行一次。不改变像素：每一步都会逐位比较其输入。",
        },
    ),
    advanced(
        "speed.real_rope",
        type="choice",
        choices=WAYS,
        default=AUTO,
        group="speed",
        takes_effect=LIVE,
        label={"en": "RoPE in real numbers", "zh": "以实数计算 RoPE"},
        help={
            "en": "Rotates with real instead of complex numbers: on the CPU the same bits. auto: when compiled, because "
            "the compiler cannot merge complex numbers into its kernels; not otherwise, where it is slower.",
            "zh": "以实数代替复数做旋转，在 CPU 上结果逐位相同。auto：仅在编译时启用，因为编译器无法融合复数运算；"
            "未编译时实数更慢，故不启用。",
        },
    ),
)

COMPILATION = (
    advanced(
        "compile.enabled",
        type="bool",
        default=False,
        group="compile",
        takes_effect=LIVE,
        label={"en": "torch.compile", "zh": "torch.compile"},
        help={
            "en": "Compile the transformer's blocks: the first picture waits for it (a minute or more), later ones of any "
            "size and prompt do not. Pixels differ by rounding. Needs a C++ compiler, or Triton on a card; without "
            "one pictures are made uncompiled, with the reason.",
            "zh": "编译变换器的各层：首张图片需等待编译（一分钟或更久），之后任何尺寸和提示词都不再编译。像素差异只来自舍入。"
            "需要 C++ 编译器，显卡上需要 Triton；缺少时不编译并说明原因。",
        },
    ),
    advanced(
        "compile.mode",
        type="choice",
        choices=("default", "max-autotune"),
        default="default",
        group="compile",
        takes_effect=LIVE,
        label={"en": "Compile mode", "zh": "编译模式"},
        help={
            "en": "max-autotune times several kernels for each operation and warms up far longer. It is applied without "
            "CUDA graphs, which do not fit blocks that are compiled one by one.",
            "zh": "max-autotune 为每个运算试测多种内核，预热时间长得多。不使用 CUDA 图，因其不适合逐层编译。",
        },
    ),
    advanced(
        "compile.fullgraph",
        type="bool",
        default=False,
        group="compile",
        takes_effect=LIVE,
        label={"en": "Full graph", "zh": "完整计算图"},
        help={
            "en": "Each block becomes one graph, or is not compiled at all and says why. Off: what cannot be compiled is "
            "stepped over.",
            "zh": "每一层必须成为一个完整的图，否则不编译并说明原因。关闭时跳过无法编译的部分。",
        },
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
