"""Declare the options of the request itself, and of where its images are stored."""

from __future__ import annotations

from core.config.options.helpers import START, advanced, basic
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
        help={"en": "What the image shows, in English or Chinese.", "zh": "用中文或英文描述画面。"},
    ),
    basic(
        "generation.negative_prompt",
        type="str",
        default="",
        maximum=MAX_PROMPT,
        panel="basic",
        label={"en": "Negative prompt", "zh": "反向提示词"},
        help={
            "en": "What the image should not show. It has an effect only when the CFG scale is above 1.",
            "zh": "画面中不要出现的内容。仅当 CFG 大于 1 时起作用。",
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
            "en": "Width or height of the file in pixels. Any size: rendered at the next multiple of the model, then cropped.",
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
            "en": "Width or height of the file in pixels. Any size: rendered at the next multiple of the model, then cropped.",
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
        label={"en": "Steps", "zh": "采样步数"},
        help={
            "en": "Number of sampling steps. Turbo models need 8; more steps take longer and seldom help.",
            "zh": "采样步数。Turbo 模型用 8 步；步数更多则更慢，且很少更好。",
        },
    ),
    basic(
        "generation.guidance_scale",
        type="float",
        default=AUTO,
        auto=True,
        minimum=0.0,
        maximum=30.0,
        label={"en": "guidance_scale of diffusers", "zh": "diffusers 的 guidance_scale"},
        help={
            "en": "Another way to give the CFG scale: as the model's pipeline in diffusers counts it. Z-Image: CFG - 1, so 0 is "
            "off; SD 1.5 and SDXL: CFG itself. Wins over generation.cfg_scale of the same settings.",
            "zh": "CFG 的另一种写法，含义与该模型在 diffusers 中的管线一致。Z-Image：CFG − 1，0 为关闭；SD 1.5 与 SDXL：即 CFG。"
            "同为设置文件时优先于 generation.cfg_scale。",
        },
    ),
    basic(
        "generation.cfg_scale",
        type="float",
        default=AUTO,
        auto=True,
        minimum=0.0,
        maximum=31.0,
        step=0.5,
        panel="basic",
        aliases=("cfg",),
        label={"en": "CFG scale (1 = off)", "zh": "提示词引导系数（CFG）"},
        help={
            "en": "How closely the image follows the prompt. 1 = off; above 1 each step takes twice as long and the negative "
            "prompt acts. auto: the model's own.",
            "zh": "图片遵循提示词的程度。1 为关闭；大于 1 时每步耗时加倍，反向提示词起作用。auto 为模型自带值。",
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
        label={"en": "Seed", "zh": "随机种子"},
        help={
            "en": "The same seed and settings give the same image. -1 selects a random seed and records it.",
            "zh": "相同的种子和设置得到相同的图片。-1 表示使用随机种子并记录。",
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
        label={"en": "Images", "zh": "生成数量"},
        help={
            "en": "How many images; image k (from 0) has the seed + k.",
            "zh": "生成多少张；第 k 张（从 0 起）的种子为 种子 + k。",
        },
    ),
)

BATCH = (
    basic(
        "batch.max_images",
        former=("batch.max_pictures",),
        type="int",
        default=1000,
        minimum=1,
        maximum=10_000,
        takes_effect=START,
        label={"en": "Max images per batch", "zh": "批量任务最大张数"},
        help={
            "en": "A file or a list of prompts with more images is refused.",
            "zh": "图片数超出的提示词文件或列表会被拒绝。",
        },
    ),
    basic(
        "batch.wildcards",
        type="str",
        default="outputs/wildcards",
        maximum=1000,
        takes_effect=START,
        label={"en": "Wildcards folder", "zh": "通配符文件夹"},
        help={
            "en": "A folder of .txt files: __name__ in a prompt is replaced by a line of name.txt. Relative to the project; "
            "files here win over those in configs/prompts/wildcards.",
            "zh": "存放 .txt 文件的文件夹：提示词中的 __name__ 会替换为 name.txt 中的一行。相对于项目目录；"
            "同名时优先于 configs/prompts/wildcards。",
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
            "en": "Images by date, thumbnails and the database. Relative to the project.",
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
        needs=(("output.format", ("jpeg", "webp")),),
        label={"en": "JPEG and WebP quality", "zh": "JPEG 与 WebP 质量"},
        help={
            "en": "Higher values give larger files with fewer artifacts. PNG ignores it.",
            "zh": "越高失真越少、文件越大。PNG 不受影响。",
        },
    ),
    advanced(
        "output.metadata",
        type="bool",
        default=True,
        group="output",
        label={"en": "Save metadata in image", "zh": "写入生成参数"},
        help={
            "en": "The prompt and all settings, readable by A1111-style tools. Off: the file contains the image only.",
            "zh": "写入提示词和全部设置，A1111 类工具可读取。关闭后文件中只有图像。",
        },
    ),
    advanced(
        "output.mark_generated",
        type="bool",
        default=False,
        group="output",
        label={"en": "Mark as AI-generated", "zh": "标记为 AI 生成"},
        help={
            "en": "Writes IPTC's Digital Source Type (XMP), by which agencies and social networks recognise images made or edited "
            "by a model. Independent of the other metadata.",
            "zh": "写入 IPTC 的数字来源类型（XMP），图片社和社交平台据此识别由模型生成或编辑的图片；与其他元数据互不影响。",
        },
    ),
    advanced(
        "output.content_credentials",
        type="bool",
        default=False,
        group="output",
        label={"en": "Content credentials (C2PA)", "zh": "内容凭证（C2PA）"},
        help={
            "en": "Signs the file: C2PA viewers show that a model made the image, and whether the file was changed since. Without "
            "prompt, thumbnail or name; the certificate is this machine's own, whose issuer viewers do not know. Needs "
            "c2pa-python.",
            "zh": "为文件签名：C2PA 查看器会显示图片由模型生成，以及文件此后是否被改动。不含提示词、缩略图和姓名；"
            "证书由本机自签，查看器不认识签发者。需要 c2pa-python。",
        },
    ),
)

STORAGE = (
    basic(
        "storage.images",
        former=("output.storage",),
        type="str",
        default="",
        maximum=1000,
        takes_effect=START,
        label={"en": "Shared storage", "zh": "共享存储"},
        help={
            "en": "s3://bucket/folder, or file:///folder for a mounted one: images, their sidecar files and input "
            "images are stored there, for several machines. Keys come from the environment (AWS_ACCESS_KEY_ID ...). "
            "Empty: the output folder, which always holds thumbnails and logs.",
            "zh": "s3://桶/文件夹，或挂载的文件夹 file:///文件夹：图片、其旁的文件和输入图片存放在那里，供多台机器共用。"
            "密钥取自环境变量（AWS_ACCESS_KEY_ID 等）。留空则存放在输出文件夹；缩略图和日志始终在输出文件夹。",
        },
    ),
    basic(
        "storage.database",
        type="str",
        default="",
        maximum=1000,
        takes_effect=START,
        label={"en": "Database server", "zh": "数据库服务器"},
        help={
            "en": "postgresql://user@host:5432/name stores queue and history on a PostgreSQL server, for several machines. "
            "The password comes from PGPASSWORD or PGPASSFILE. Empty: a file in the output folder.",
            "zh": "postgresql://user@host:5432/name 把队列和历史放在 PostgreSQL 服务器上，供多台机器共用。"
            "密码取自 PGPASSWORD 或 PGPASSFILE。留空则使用输出文件夹中的文件。",
        },
    ),
)
