"""Declare the options that fit the pipeline to the machine: retries, lossless optimizations, compilation, memory."""

from __future__ import annotations

from core.config.options.helpers import LIVE, RELOAD, START, advanced
from core.config.schema import AUTO

GUARD = (
    advanced(
        "precision.auto_retry",
        former=("guard.retry",),
        type="bool",
        default=True,
        group="precision",
        label={"en": "Retry black or NaN images", "zh": "黑图自动重试"},
        help={
            "en": "NaN, Inf and images of one color are always detected and never saved. On: decode again in float32, then repeat "
            "the job in a higher precision (bfloat16 or float32) if it fits into memory. Off: the job fails at once.",
            "zh": "NaN、Inf 和纯色图总会被检测到且不会保存。开：先以 float32 重新解码，再在内存允许时以更高精度"
            "（bfloat16 或 float32）重做整个任务。关：任务立即失败。",
        },
    ),
)

WAYS = (AUTO, "always", "never")

SPEED = (
    advanced(
        "performance.cache_text",
        former=("speed.cache_text",),
        type="bool",
        default=True,
        group="performance",
        takes_effect=LIVE,
        level="expert",
        label={"en": "Cache prompt embeds", "zh": "缓存文本嵌入"},
        help={
            "en": "Reuses the embeddings of a prompt while the model stays loaded. Changes no pixel.",
            "zh": "模型保持加载期间，相同的提示词不再重新编码。不改变任何像素。",
        },
    ),
    advanced(
        "performance.trim_text",
        former=("speed.trim_text",),
        type="choice",
        choices=WAYS,
        default=AUTO,
        group="performance",
        takes_effect=LIVE,
        level="expert",
        label={"en": "Encode without padding", "zh": "编码时去除填充"},
        help={
            "en": "diffusers pads each prompt to the longest length and cuts the padding off afterwards; always pads to the "
            "next 64 tokens only. auto: on the CPU, where the result is bit-identical; on a GPU rounding may differ.",
            "zh": "diffusers 会把提示词填充到最大长度，编码后再裁掉；always 只填充到下一个 64 的倍数。"
            "auto：在 CPU 上启用，结果逐位相同；在 GPU 上舍入可能不同。",
        },
    ),
    advanced(
        "performance.refine_once",
        former=("speed.refine_once",),
        type="bool",
        default=True,
        group="performance",
        takes_effect=LIVE,
        level="expert",
        label={"en": "Cache the context refiner", "zh": "缓存文本精炼层"},
        help={
            "en": "The output of the context refiner is the same at every step, so it is computed once per image. Changes no "
            "pixel: its input is compared bit for bit at each step.",
            "zh": "变换器的上下文精炼层每一步结果相同，因此每张图只运行一次。不改变像素：每一步都会逐位比较其输入。",
        },
    ),
    advanced(
        "performance.real_rope",
        former=("speed.real_rope",),
        type="choice",
        choices=WAYS,
        default=AUTO,
        group="performance",
        takes_effect=LIVE,
        level="expert",
        label={"en": "Real-valued RoPE", "zh": "实数 RoPE"},
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
        synonyms=("speed", "compile", "加速", "编译"),
        label={"en": "torch.compile", "zh": "torch.compile"},
        help={
            "en": "Compiles the blocks of the transformer: the first image waits for it (a minute or more), later ones of any "
            "size and prompt do not. Pixels differ by rounding. Needs a C++ compiler, or Triton on a GPU; without "
            "one, images are generated uncompiled and the reason is shown.",
            "zh": "编译变换器的各层：首张图片需等待编译（一分钟或更久），之后任何尺寸和提示词都不再编译。像素差异只来自舍入。"
            "需要 C++ 编译器，GPU 上需要 Triton；缺少时不编译并说明原因。",
        },
    ),
    advanced(
        "compile.mode",
        type="choice",
        aliases=("mode",),  # upscale.mode has the same last part
        choices=("default", "max-autotune"),
        default="default",
        group="compile",
        takes_effect=LIVE,
        level="expert",
        needs=(("compile.enabled", (True,)),),
        label={"en": "Compile mode", "zh": "编译模式"},
        help={
            "en": "max-autotune benchmarks several kernels for each operation and takes far longer to warm up. It runs without "
            "CUDA graphs, which do not work with blocks that are compiled one by one.",
            "zh": "max-autotune 为每个运算试测多种内核，预热时间长得多。不使用 CUDA 图，因其不适合逐层编译。",
        },
    ),
    advanced(
        "compile.fullgraph",
        type="bool",
        default=False,
        group="compile",
        takes_effect=LIVE,
        level="expert",
        needs=(("compile.enabled", (True,)),),
        label={"en": "Full graph", "zh": "完整计算图"},
        help={
            "en": "Each block becomes one graph, or is not compiled and the reason is shown. Off: what cannot be compiled is "
            "skipped.",
            "zh": "每一层必须成为一个完整的图，否则不编译并说明原因。关闭时跳过无法编译的部分。",
        },
    ),
    advanced(
        "tensorrt.enabled",
        type="bool",
        default=False,
        group="compile",
        takes_effect=RELOAD,
        level="expert",
        label={"en": "TensorRT", "zh": "TensorRT"},
        help={
            "en": "Runs the blocks of the transformer as TensorRT engines. Needs torch_tensorrt for this version of PyTorch and an "
            "NVIDIA GPU. If something is missing, loading fails and names it.",
            "zh": "把变换器各层编译为 TensorRT 引擎：需要与 PyTorch 同版本的 torch_tensorrt 和 NVIDIA GPU。"
            "缺少任何一项时，加载会中止并说明缺什么。",
        },
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
        synonyms=("vram", "medvram", "lowvram", "out of memory", "显存", "爆显存"),
        label={"en": "Low VRAM", "zh": "低显存"},
        help={
            "en": "Each component is on the GPU only while it is used, and the VAE is tiled. Slower.",
            "zh": "模型各组件仅在使用时占用 GPU，并分块解码。较慢。",
        },
    ),
    advanced(
        "memory.tier",
        former=("memory.profile",),
        type="choice",
        choices=(AUTO, "24gb", "16gb", "12gb", "8gb", "6gb", "4gb", "cpu"),
        default=AUTO,
        group="memory",
        takes_effect=RELOAD,
        synonyms=("vram", "gpu memory", "显存"),
        label={"en": "VRAM profile", "zh": "显存档位"},
        help={
            "en": "Precision, CPU offload and tiling for a GPU of this size. auto: the fastest profile that fits the weights of "
            "the model into the free memory; the reason is shown. Out of memory: retried once, one profile lower.",
            "zh": "按显存大小选择精度、显存卸载（Offload）和分块方式。auto：按模型权重和可用显存选最快的一档，并显示原因。"
            "内存不足时自动降一档重试一次。",
        },
    ),
    advanced(
        "memory.quantization",
        type="choice",
        choices=(AUTO, "none", "int8", "int8_dynamic", "fp8", "fp8_storage", "nf4", "gguf"),
        default=AUTO,
        group="memory",
        takes_effect=RELOAD,
        aliases=("quantization",),
        synonyms=("vram", "int8", "fp8", "nf4", "gguf", "显存"),
        label={"en": "Quantization", "zh": "量化"},
        help={
            "en": "Smaller weights, slightly different images. fp8_storage needs no package: stored in fp8, computed in 16 bits. "
            "int8 and fp8 need torchao (fp8 a GPU of sm_89 or newer); "
            "int8_dynamic rounds what is multiplied to 8 bits, too; nf4 bitsandbytes and an NVIDIA GPU, gguf a .gguf file in "
            "the model's transformer folder. auto: set by the VRAM profile.",
            "zh": "权重更小，画面略有不同。fp8_storage 无需软件包：以 fp8 存储、16 位计算。int8 和 fp8 需要 torchao"
            "（int8_dynamic 连同输入一起以 8 位相乘）"
            "（fp8 还需 sm_89 以上的 GPU），nf4 需要 bitsandbytes 和 NVIDIA GPU，gguf 需要模型 transformer 文件夹中的 "
            ".gguf 文件。auto：由档位决定。",
        },
    ),
    advanced(
        "memory.offload",
        type="choice",
        choices=(AUTO, "none", "model", "group", "disk"),
        default=AUTO,
        group="memory",
        takes_effect=RELOAD,
        aliases=("offload",),
        synonyms=("vram", "sequential offload", "cpu", "显存"),
        label={"en": "CPU offload", "zh": "显存卸载（Offload）"},
        help={
            "en": "What is moved out of VRAM while it is not used. model: whole components; group: block by block, with the "
            "next one prefetched; disk: blocks as files in the temporary folder. auto: set by the VRAM profile.",
            "zh": "不使用时移出显存的部分。model：整个组件；group：逐块，并提前传输下一块；disk：各块存为临时文件夹中的文件。"
            "auto：由档位决定。",
        },
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
        level="expert",
        label={"en": "Max split size", "zh": "最大可分割块"},
        help={
            "en": "CUDA allocator: larger blocks are not split, which reduces fragmentation. auto: the default of PyTorch. Set "
            "before the worker starts; the System page shows it.",
            "zh": "CUDA 分配器：更大的块不再分割，以减少碎片。auto：PyTorch 自带值。在工作进程启动前设置；系统页会显示。",
        },
    ),
    advanced(
        "memory.expandable_segments",
        type="choice",
        choices=(AUTO, "on", "off"),
        default=AUTO,
        group="memory",
        takes_effect=START,
        level="expert",
        label={"en": "Expandable segments", "zh": "可扩展内存段"},
        help={
            "en": "CUDA allocator: grows segments instead of adding new ones, which reduces fragmentation. auto: on "
            "under Linux, where drivers support it.",
            "zh": "CUDA 分配器：扩展已有内存段而不是另开新段，以减少碎片。auto：在驱动支持的 Linux 上开启。",
        },
    ),
    advanced(
        "memory.empty_cache",
        type="bool",
        default=False,
        group="memory",
        takes_effect=LIVE,
        synonyms=("vram", "显存"),
        label={"en": "Empty the CUDA cache after each image", "zh": "每张图后清空显存缓存"},
        help={
            "en": "Returns unused cached memory to the GPU, or to the system. A little slower.",
            "zh": "把未使用的缓存显存（内存）还给 GPU 或系统。略慢。",
        },
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
        synonyms=("vram", "显存"),
        label={"en": "Reserved VRAM", "zh": "预留显存"},
        help={
            "en": "Memory left free for other programs: it counts as used when the VRAM profile is selected, and on a GPU PyTorch "
            "does not use it.",
            "zh": "为其他程序留出的显存：选择档位时视为已占用；在 GPU 上 PyTorch 不会使用这部分。",
        },
    ),
)

RESUME = (
    advanced(
        "resume.interval",
        type="int",
        default=0,
        minimum=0,
        maximum=200,
        group="precision",
        level="expert",
        synonyms=("pause", "resume", "crash", "暂停", "继续", "崩溃"),
        label={"en": "Keep the state every N steps", "zh": "每 N 步保存状态"},
        help={
            "en": "A job that is paused continues in the middle of its image, with the same pixels. Above 0 the state is also "
            "written every N steps, so that a crash costs at most N steps. Changes no pixel.",
            "zh": "暂停的任务会从图片的中途继续，像素完全相同。大于 0 时，每 N 步还会写入一次状态，崩溃最多损失 N 步。"
            "不改变任何像素。",
        },
    ),
)
