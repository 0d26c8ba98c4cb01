"""What every picture needs, the model, and where files go."""

from __future__ import annotations

from core.config.options.declare import RELOAD, START, advanced, basic
from core.config.schema import AUTO

MAX_SEED = 2**53 - 1  # the largest whole number that JSON readers and browsers keep exact
MAX_PROMPT = 10_000  # characters; the text encoder reads far fewer (transformer.max_sequence_length)

GENERATION = (
    basic(
        "generation.prompt",
        type="str",
        default="",
        maximum=MAX_PROMPT,
        panel="basic",
        aliases=("prompt",),
        label={"en": "Prompt", "zh": "提示词"},
        help={"en": "What the picture shows, in Chinese or English.", "zh": "用中文或英文描述画面。"},
    ),
    basic(
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
    basic(
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
    basic(
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
    basic(
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
    basic(
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
    basic(
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
    basic(
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
    basic(
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

BATCH = (
    basic(
        "batch.max_pictures",
        type="int",
        default=1000,
        minimum=1,
        maximum=10_000,
        takes_effect=START,
        label={"en": "Most pictures of a batch", "zh": "批量任务最多张数"},
        help={
            "en": "A file or a list of prompts that would make more is refused.",
            "zh": "会生成更多图片的提示词文件或列表将被拒绝。",
        },
    ),
    basic(
        "batch.wildcards",
        type="str",
        default="outputs/wildcards",
        maximum=1000,
        takes_effect=START,
        label={"en": "Your own wildcards", "zh": "自己的通配符"},
        help={
            "en": "A folder of .txt files: __name__ in a batch becomes a line of name.txt. Relative to the project; "
            "files here win over those in configs/prompts/wildcards.",
            "zh": "存放 .txt 文件的文件夹：批量提示词中的 __name__ 会换成 name.txt 中的一行。相对于项目目录；"
            "同名时优先于 configs/prompts/wildcards。",
        },
    ),
)

MODEL = (
    basic(
        "model.id",
        type="str",
        default="demo",
        maximum=500,
        takes_effect=RELOAD,
        aliases=("model",),
        label={"en": "Model", "zh": "模型"},
        help={
            "en": "A catalogue id, or the path of a diffusers folder, a .safetensors or a .gguf file on this machine.",
            "zh": "目录中的模型编号，或本机上 diffusers 文件夹、.safetensors 或 .gguf 文件的路径。",
        },
    ),
    basic(
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
    basic(
        "model.last_at_start",
        type="bool",
        default=False,
        takes_effect=START,
        label={"en": "Load the last one", "zh": "加载上次的模型"},
        help={
            "en": "At start, load the model that was loaded last, not the one named above.",
            "zh": "启动时加载上次使用的模型，而不是上面指定的模型。",
        },
    ),
    advanced(
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
    advanced(
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
    basic(
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
    advanced(
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
    advanced(
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
    advanced(
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
