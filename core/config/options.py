"""Every option of the studio, declared once. To add one: declare it here, apply it where it acts, test its effect."""

from __future__ import annotations

from typing import Any

from core.config.schema import AUTO, Option, Schema, TakesEffect

MAX_SEED = 2**53 - 1  # the largest whole number that JSON readers and browsers keep exact
MAX_PROMPT = 10_000  # characters; the text encoder reads far fewer (transformer.max_sequence_length)

REQUEST, LIVE, RELOAD, START = TakesEffect.REQUEST, TakesEffect.LIVE, TakesEffect.RELOAD, TakesEffect.START


def _basic(key: str, **declared: Any) -> Option:
    return Option(key=key, file="config", **{"takes_effect": REQUEST, **declared})


def _advanced(key: str, **declared: Any) -> Option:
    return Option(key=key, file="advanced_config", **{"panel": "advanced", "takes_effect": REQUEST, **declared})


def _ui(key: str, **declared: Any) -> Option:
    return Option(key=key, file="ui_config", **{"takes_effect": START, **declared})


GENERATION = (
    _basic(
        "generation.prompt",
        type="str",
        default="",
        maximum=MAX_PROMPT,
        panel="basic",
        aliases=("prompt",),
        label={"en": "Prompt", "zh": "提示词"},
        help={"en": "What the picture shows, in Chinese or English.", "zh": "用中文或英文描述画面。"},
    ),
    _basic(
        "generation.negative_prompt",
        type="str",
        default="",
        maximum=MAX_PROMPT,
        panel="basic",
        label={"en": "Negative prompt", "zh": "反向提示词"},
        help={
            "en": "What the picture should not show. It acts only when guidance is above 0.",
            "zh": "画面中不要出现的内容。仅当引导强度大于 0 时起作用。",
        },
    ),
    _basic(
        "generation.width",
        type="int",
        default=AUTO,
        auto=True,
        minimum=64,
        maximum=8192,
        step=16,
        unit="px",
        panel="basic",
        label={"en": "Width", "zh": "宽度"},
        help={
            "en": "Pixels of the delivered file. Any size: it is rendered at the next multiple of the model and cropped.",
            "zh": "成品文件的像素宽度。任意尺寸均可：先按模型的下一个倍数渲染，再居中裁剪。",
        },
    ),
    _basic(
        "generation.height",
        type="int",
        default=AUTO,
        auto=True,
        minimum=64,
        maximum=8192,
        step=16,
        unit="px",
        panel="basic",
        label={"en": "Height", "zh": "高度"},
        help={
            "en": "Pixels of the delivered file. Any size: it is rendered at the next multiple of the model and cropped.",
            "zh": "成品文件的像素高度。任意尺寸均可：先按模型的下一个倍数渲染，再居中裁剪。",
        },
    ),
    _basic(
        "generation.num_inference_steps",
        type="int",
        default=AUTO,
        auto=True,
        minimum=1,
        maximum=200,
        step=1,
        panel="basic",
        aliases=("steps",),
        label={"en": "Steps", "zh": "步数"},
        help={
            "en": "Forward passes of the transformer. Turbo models want 8; more costs time and seldom helps.",
            "zh": "变换器的前向次数。Turbo 模型用 8 步；更多步更慢，且很少更好。",
        },
    ),
    _basic(
        "generation.guidance_scale",
        type="float",
        default=AUTO,
        auto=True,
        minimum=0.0,
        maximum=30.0,
        step=0.5,
        panel="basic",
        label={"en": "Guidance", "zh": "引导强度"},
        help={
            "en": "How strongly the prompt pulls: CFG scale minus 1. 0 = off, one pass a step; above 0 each step costs two.",
            "zh": "提示词的牵引力，等于 CFG 减 1。0 为关闭，每步一次前向；大于 0 时每步两次。",
        },
    ),
    _basic(
        "generation.cfg_scale",
        type="float",
        default=AUTO,
        auto=True,
        minimum=0.0,
        maximum=31.0,
        aliases=("cfg",),
        label={"en": "CFG scale", "zh": "CFG"},
        help={
            "en": "Another way to give guidance: guidance = CFG scale - 1 (1 or less = off). Used when guidance is auto.",
            "zh": "引导强度的另一种写法：引导强度 = CFG − 1（不大于 1 即关闭）。仅在引导强度为 auto 时使用。",
        },
    ),
    _basic(
        "generation.seed",
        type="int",
        default=-1,
        minimum=-1,
        maximum=MAX_SEED,
        step=1,
        panel="basic",
        label={"en": "Seed", "zh": "种子"},
        help={
            "en": "The same seed and settings give the same picture. -1 draws one and stores it.",
            "zh": "相同的种子和设置得到相同的图片。-1 表示随机抽取并记录。",
        },
    ),
    _basic(
        "generation.num_images",
        type="int",
        default=1,
        minimum=1,
        maximum=64,
        step=1,
        panel="basic",
        label={"en": "Pictures", "zh": "张数"},
        help={"en": "How many; picture k has seed + k.", "zh": "生成多少张；第 k 张的种子为 种子 + k。"},
    ),
)

MODEL = (
    _basic(
        "model.id",
        type="str",
        default="demo",
        maximum=500,
        takes_effect=RELOAD,
        aliases=("model",),
        label={"en": "Model", "zh": "模型"},
        help={
            "en": "A catalogue id, or the path of a diffusers folder of Z-Image on this machine.",
            "zh": "目录中的模型编号，或本机上 Z-Image 的 diffusers 文件夹路径。",
        },
    ),
    _basic(
        "model.preload",
        type="bool",
        default=True,
        takes_effect=START,
        label={"en": "Load at start", "zh": "启动时加载"},
        help={
            "en": "Load the model when the app starts, so that the first picture does not wait for it.",
            "zh": "应用启动时就加载模型，首张图片无需等待。",
        },
    ),
    _advanced(
        "model.device",
        type="choice",
        choices=(AUTO, "cuda", "mps", "cpu"),
        default=AUTO,
        group="precision",
        takes_effect=RELOAD,
        label={"en": "Device", "zh": "设备"},
        help={
            "en": "auto takes CUDA, then Apple's GPU, then the CPU, whichever is there.",
            "zh": "auto 依次选用 CUDA、苹果 GPU、CPU 中可用的设备。",
        },
    ),
    _advanced(
        "model.dtype",
        type="choice",
        choices=(AUTO, "bfloat16", "float16", "float32"),
        default=AUTO,
        group="precision",
        takes_effect=RELOAD,
        aliases=("dtype", "torch_dtype"),
        label={"en": "Precision", "zh": "精度"},
        help={
            "en": "Number format of the weights. auto: bfloat16 on cards that have it, else float32. float16 can overflow.",
            "zh": "权重的数字格式。auto：显卡支持则用 bfloat16，否则 float32。float16 可能溢出。",
        },
    ),
)

OUTPUT = (
    _basic(
        "output.directory",
        type="str",
        default="outputs",
        maximum=1000,
        takes_effect=START,
        aliases=("output_dir",),
        label={"en": "Output folder", "zh": "输出文件夹"},
        help={
            "en": "Pictures by date, thumbnails and the database. Relative to the project.",
            "zh": "按日期存放图片，另有缩略图和数据库。相对于项目目录。",
        },
    ),
    _advanced(
        "output.format",
        type="choice",
        choices=("png", "jpeg", "webp"),
        default="png",
        group="output",
        label={"en": "File format", "zh": "文件格式"},
        help={
            "en": "PNG keeps every pixel exactly; JPEG and WebP are smaller and change pixels a little.",
            "zh": "PNG 精确保留每个像素；JPEG 和 WebP 更小，但会略微改变像素。",
        },
    ),
    _advanced(
        "output.quality",
        type="int",
        default=92,
        minimum=1,
        maximum=100,
        step=1,
        group="output",
        label={"en": "JPEG and WebP quality", "zh": "JPEG 与 WebP 质量"},
        help={"en": "Higher is larger and closer. PNG ignores it.", "zh": "越高越接近原图、文件越大。PNG 不受影响。"},
    ),
    _advanced(
        "output.metadata",
        type="bool",
        default=True,
        group="output",
        label={"en": "Write parameters into the file", "zh": "把参数写入文件"},
        help={
            "en": "The prompt and all settings, readable by A1111-style tools. Off: the file holds the picture only.",
            "zh": "写入提示词和全部设置，A1111 类工具可读取。关闭后文件中只有图像。",
        },
    ),
)

SIZE = (
    _advanced(
        "force_original_resolution",
        type="bool",
        default=True,
        group="size",
        label={"en": "Render at exactly this size", "zh": "按原尺寸渲染"},
        help={
            "en": "On: rendered at the size asked for (next multiple, cropped). Off: rendered at the model's native "
            "pixel budget in the same ratio, then resized. The file has the size asked for either way.",
            "zh": "开：按所求尺寸渲染（取下一个倍数后裁剪）。关：按模型原生像素量、同比例渲染后再缩放。"
            "两种方式的文件都是所求尺寸。",
        },
    ),
)

TRANSFORMER = (
    _advanced(
        "transformer.use_rope",
        type="bool",
        default=True,
        group="rope",
        takes_effect=LIVE,
        label={"en": "Rotary positions (RoPE)", "zh": "旋转位置编码（RoPE）"},
        help={
            "en": "Off: no rotation, so the model no longer knows where a token is. For study; pictures fall apart.",
            "zh": "关闭后不做旋转，模型不再知道各块的位置。仅供研究，画面会散乱。",
        },
    ),
    _advanced(
        "transformer.rope_scaling",
        type="choice",
        choices=("none", "linear", "ntk", "yarn", "dype"),
        default="none",
        group="rope",
        takes_effect=LIVE,
        built=False,
        label={"en": "RoPE scaling", "zh": "RoPE 缩放"},
        help={"en": "How positions beyond the trained size are mapped.", "zh": "超出训练尺寸的位置如何映射。"},
    ),
    _advanced(
        "transformer.attention_backend",
        type="choice",
        choices=("native",),
        default="native",
        group="attention",
        takes_effect=LIVE,
        aliases=("attention_backend",),
        built=False,
        label={"en": "Attention backend", "zh": "注意力后端"},
        help={
            "en": "native is PyTorch's scaled dot product attention, which picks a memory-efficient kernel itself.",
            "zh": "native 即 PyTorch 的缩放点积注意力，会自行选择省内存的内核。",
        },
    ),
    _advanced(
        "transformer.attention_dropout",
        type="float",
        default=0.0,
        minimum=0.0,
        maximum=0.9,
        step=0.05,
        group="attention",
        takes_effect=LIVE,
        built=False,
        label={"en": "Attention dropout", "zh": "注意力丢弃率"},
        help={"en": "Share of attention weights dropped at random, seeded.", "zh": "按种子随机丢弃的注意力权重比例。"},
    ),
    _advanced(
        "transformer.max_sequence_length",
        type="int",
        default=512,
        minimum=16,
        maximum=512,
        step=16,
        unit="tokens",
        group="attention",
        label={"en": "Longest prompt", "zh": "最长提示词"},
        help={
            "en": "Tokens of the prompt that are read; the rest is cut off, and the picture's record says so.",
            "zh": "读取的提示词 token 数；超出部分会被截断，并写入图片记录。",
        },
    ),
    _advanced(
        "guidance.normalization",
        type="float",
        default=0.0,
        minimum=0.0,
        maximum=5.0,
        step=0.1,
        group="guidance",
        aliases=("cfg_normalization",),
        label={"en": "Guidance normalisation", "zh": "引导归一化"},
        help={
            "en": "Upper bound of the guided prediction's norm, as a multiple of the unguided one's. 0 = off.",
            "zh": "引导后预测的范数上限，为未引导范数的倍数。0 为关闭。",
        },
    ),
    _advanced(
        "guidance.truncation",
        type="float",
        default=1.0,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        group="guidance",
        aliases=("cfg_truncation",),
        label={"en": "Guidance until", "zh": "引导截止"},
        help={
            "en": "Guidance acts while the share of denoising that is done is at most this. 1 = to the end.",
            "zh": "去噪进度不超过此值时引导起作用。1 为直到结束。",
        },
    ),
    _advanced(
        "scheduler.shift",
        type="float",
        default=AUTO,
        auto=True,
        minimum=0.1,
        maximum=20.0,
        step=0.1,
        group="guidance",
        takes_effect=LIVE,
        label={"en": "Timestep shift", "zh": "时间步偏移"},
        help={
            "en": "Higher spends more steps on the composition, lower more on details. auto: the model's own (Turbo: 3).",
            "zh": "越高，越多的步用于构图；越低，越多用于细节。auto：模型自带值（Turbo 为 3）。",
        },
    ),
)

VAE = (
    _advanced(
        "vae.enable_tiling",
        type="bool",
        default=False,
        group="vae",
        takes_effect=LIVE,
        label={"en": "Tiled decoding", "zh": "分块解码"},
        help={
            "en": "Decode in overlapping tiles: far less memory, and small differences at the seams.",
            "zh": "以重叠的小块解码：内存大幅减少，接缝处有微小差异。",
        },
    ),
    _advanced(
        "vae.tile_sample_min_size",
        type="int",
        default=256,
        minimum=64,
        maximum=2048,
        step=32,
        unit="px",
        group="vae",
        takes_effect=LIVE,
        label={"en": "Tile size", "zh": "分块大小"},
        help={
            "en": "Side of a tile in the picture; rounded down to a multiple of 8. Smaller pictures are not tiled.",
            "zh": "每块在图片中的边长，向下取 8 的倍数。比它小的图片不分块。",
        },
    ),
    _advanced(
        "vae.tile_overlap_factor",
        type="float",
        default=0.125,
        minimum=0.0,
        maximum=0.5,
        step=0.025,
        group="vae",
        takes_effect=LIVE,
        label={"en": "Tile overlap", "zh": "分块重叠"},
        help={
            "en": "Share of a tile that overlaps its neighbour; more hides seams and takes longer.",
            "zh": "相邻块重叠的比例；越大接缝越不明显，但更慢。",
        },
    ),
    _advanced(
        "vae.decoder_tiling",
        type="bool",
        default=False,
        group="vae",
        takes_effect=LIVE,
        label={"en": "Own tiles for the decoder", "zh": "解码器单独分块"},
        help={
            "en": "Tile the decoder with a size of its own, whether or not tiled decoding is on above.",
            "zh": "无论上方是否开启，都以单独的大小对解码器分块。",
        },
    ),
    _advanced(
        "vae.decoder_tile_size",
        type="int",
        default=384,
        minimum=64,
        maximum=2048,
        step=32,
        unit="px",
        group="vae",
        takes_effect=LIVE,
        label={"en": "Decoder's tile size", "zh": "解码器分块大小"},
        help={"en": "Used when the decoder has tiles of its own.", "zh": "解码器单独分块时使用。"},
    ),
)

SPEED = (
    _advanced(
        "compile.enabled",
        type="bool",
        default=False,
        group="compile",
        takes_effect=RELOAD,
        built=False,
        label={"en": "torch.compile", "zh": "torch.compile"},
        help={"en": "Compile the transformer's blocks.", "zh": "编译变换器的各层。"},
    ),
    _advanced(
        "compile.mode",
        type="choice",
        choices=("default", "max-autotune"),
        default="default",
        group="compile",
        takes_effect=RELOAD,
        built=False,
        label={"en": "Compile mode", "zh": "编译模式"},
        help={"en": "max-autotune tries more kernels and warms up longer.", "zh": "max-autotune 尝试更多内核，预热更久。"},
    ),
    _advanced(
        "compile.fullgraph",
        type="bool",
        default=False,
        group="compile",
        takes_effect=RELOAD,
        built=False,
        label={"en": "Full graph", "zh": "完整计算图"},
        help={"en": "Refuse graph breaks inside a block.", "zh": "块内不允许断图。"},
    ),
    _advanced(
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
    _advanced(
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
    _advanced(
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
    _advanced(
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
    _advanced(
        "memory.empty_cache",
        type="bool",
        default=False,
        group="memory",
        takes_effect=LIVE,
        built=False,
        label={"en": "Empty the cache after each picture", "zh": "每张图后清空缓存"},
        help={"en": "Give unused memory back to the card.", "zh": "把未用的显存还给显卡。"},
    ),
    _advanced(
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

PREVIEW = (
    _advanced(
        "preview.enabled",
        type="bool",
        default=True,
        group="preview",
        label={"en": "Preview while it forms", "zh": "生成过程预览"},
        help={
            "en": "A small estimate of the picture from the latents; it changes no pixel of the result.",
            "zh": "由潜变量估计的小图；不会改变成品的任何像素。",
        },
    ),
    _advanced(
        "preview.every",
        type="int",
        default=1,
        minimum=1,
        maximum=50,
        step=1,
        unit="steps",
        group="preview",
        label={"en": "Preview every", "zh": "预览间隔"},
        help={"en": "Steps between two previews.", "zh": "两次预览之间的步数。"},
    ),
)

UI = (
    _ui(
        "ui.language",
        type="choice",
        choices=(AUTO, "zh", "en"),
        default=AUTO,
        label={"en": "Language", "zh": "语言"},
        help={"en": "auto follows the browser.", "zh": "auto 跟随浏览器。"},
    ),
    _ui(
        "ui.port",
        type="int",
        default=8501,
        minimum=1024,
        maximum=65535,
        label={"en": "Port", "zh": "端口"},
        help={"en": "The app listens on 127.0.0.1 at this port.", "zh": "应用在 127.0.0.1 的此端口监听。"},
    ),
    _ui(
        "ui.poll_seconds",
        type="float",
        default=0.5,
        minimum=0.2,
        maximum=10.0,
        unit="s",
        label={"en": "Refresh interval", "zh": "刷新间隔"},
        help={"en": "How often a running job is looked at.", "zh": "多久查看一次正在运行的任务。"},
    ),
    _ui(
        "ui.history_page_size",
        type="int",
        default=60,
        minimum=10,
        maximum=500,
        label={"en": "Pictures a page", "zh": "每页图片数"},
        help={"en": "In the history.", "zh": "用于历史页。"},
    ),
    _ui(
        "ui.history_view",
        type="choice",
        choices=("gallery", "table"),
        default="gallery",
        label={"en": "First view of the history", "zh": "历史的默认视图"},
        help={"en": "Gallery or table.", "zh": "画廊或表格。"},
    ),
    _ui(
        "ui.size_presets",
        type="list",
        default=("1:1", "4:3", "3:4", "3:2", "2:3", "16:9", "9:16"),
        label={"en": "Size presets", "zh": "尺寸预设"},
        help={
            "en": "Ratios offered as chips, at the model's native pixel budget; exact sizes such as 1280x720 work too.",
            "zh": "以模型原生像素量提供的比例按钮；也可写成 1280x720 这样的确切尺寸。",
        },
    ),
)

SCHEMA = Schema(GENERATION + MODEL + OUTPUT + SIZE + TRANSFORMER + VAE + SPEED + MEMORY + PREVIEW + UI)

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
