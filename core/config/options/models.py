"""Declare the options of models and LoRAs: which are used, and where they are found."""

from __future__ import annotations

from core.config.lora_syntax import read_uses
from core.config.options.helpers import RELOAD, START, advanced, basic
from core.config.schema import AUTO

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
            "en": "Load the model when the app starts, so that the first image does not wait for it.",
            "zh": "应用启动时就加载模型，首张图片无需等待。",
        },
    ),
    basic(
        "model.last_at_start",
        type="bool",
        default=False,
        takes_effect=START,
        label={"en": "Load the last model", "zh": "加载上次的模型"},
        help={
            "en": "At start, load the model that was loaded last instead of model.id.",
            "zh": "启动时加载上次使用的模型，而不是 model.id。",
        },
    ),
    advanced(
        "model.device",
        type="choice",
        choices=(AUTO, "cuda", "mps", "cpu"),
        default=AUTO,
        aliases=("device",),  # text_encoder.device has the same last part
        group="precision",
        takes_effect=RELOAD,
        label={"en": "Device", "zh": "设备"},
        help={
            "en": "auto: CUDA, else Apple's GPU, else the CPU.",
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
        synonyms=("fp16", "bf16", "fp32", "half", "半精度"),
        label={"en": "Precision", "zh": "精度"},
        help={
            "en": "Number format of the weights. auto: bfloat16 on GPUs that support it, else float16 on a GPU; on a CPU "
            "float32, or bfloat16 when memory is short. float16 can overflow.",
            "zh": "权重的数字格式。auto：GPU 支持则用 bfloat16，否则用 float16；CPU 上用 float32，内存不足时用 bfloat16。"
            "float16 可能溢出。",
        },
    ),
)

MODELS = (
    basic(
        "models.store",
        type="str",
        default=AUTO,
        maximum=1000,
        takes_effect=START,
        label={"en": "Models folder", "zh": "模型文件夹"},
        help={
            "en": "Where downloads are stored. auto: the folder models in the output folder.",
            "zh": "下载的模型存放处。auto 为输出文件夹下的 models。",
        },
    ),
    basic(
        "models.prepare",
        type="choice",
        choices=(AUTO, "never"),
        default=AUTO,
        takes_effect=START,
        synonyms=("disk", "load time", "int8", "fp8", "加载时间", "磁盘"),
        label={"en": "Prepared weights", "zh": "预处理权重"},
        help={
            "en": "auto: the first load writes large weights once in the form in which they are used (such as bfloat16 of float32, "
            "or int8), below the models folder, where that takes at most 75% of their size; later loads read that. The Models page "
            "shows and removes them.",
            "zh": "auto：首次加载时，把较大的权重按实际使用的格式（例如由 float32 转成的 bfloat16，或 int8）写入模型文件夹一次"
            "（仅当不超过原大小的 75%），以后直接读取。可在模型页查看和删除。",
        },
    ),
    basic(
        "models.folders",
        type="list",
        default=(),
        takes_effect=START,
        label={"en": "Allowed folders", "zh": "允许的文件夹"},
        help={
            "en": "A model given by its path must lie in one of these, in the models folder, or in the hubs' caches.",
            "zh": "以路径指定的模型必须位于这些文件夹、模型文件夹或模型站缓存之中。",
        },
    ),
    basic(
        "models.hf_endpoint",
        type="str",
        default=AUTO,
        maximum=200,
        takes_effect=START,
        label={"en": "Hugging Face address", "zh": "Hugging Face 地址"},
        help={
            "en": "Or a mirror's, such as https://hf-mirror.com. auto: HF_ENDPOINT, else huggingface.co.",
            "zh": "也可填镜像，如 https://hf-mirror.com。auto 为 HF_ENDPOINT，否则为 huggingface.co。",
        },
    ),
    basic(
        "models.modelscope_endpoint",
        type="str",
        default=AUTO,
        maximum=200,
        takes_effect=START,
        label={"en": "ModelScope address", "zh": "魔搭地址"},
        help={
            "en": "auto: MODELSCOPE_DOMAIN, else modelscope.cn.",
            "zh": "auto 为 MODELSCOPE_DOMAIN，否则为 modelscope.cn。",
        },
    ),
    basic(
        "models.allowed_mirrors",
        type="list",
        default=(),
        takes_effect=START,
        label={"en": "Allowed mirrors", "zh": "允许的镜像"},
        help={
            "en": "Mirrors that may be typed on the Models page although they lie in this network or have a path. No token is "
            "sent to them.",
            "zh": "可在模型页面填写的镜像，即使其位于本地网络或带有路径。不会向其发送令牌。",
        },
    ),
)

LORA_FOLDER = (
    basic(
        "lora.folder",
        type="str",
        default=AUTO,
        maximum=1000,
        takes_effect=START,
        label={"en": "LoRA folder", "zh": "LoRA 文件夹"},
        help={
            "en": "Where your LoRA files are; subfolders are searched, too. auto: the folder loras in the models folder.",
            "zh": "存放 LoRA 文件的文件夹，可含子文件夹。auto 为模型文件夹下的 loras。",
        },
    ),
    basic(
        "lora.civitai",
        type="bool",
        default=False,
        takes_effect=START,
        label={"en": "Look up LoRAs on Civitai", "zh": "在 Civitai 查询 LoRA"},
        help={
            "en": "Adds a button on the Models page that asks civitai.com for the trigger words of a LoRA. Only the hash of the "
            "file is sent, and only when the button is pressed.",
            "zh": "在模型页增加按钮，向 civitai.com 查询 LoRA 的触发词。仅在点击时发送文件的哈希，不发送其他内容。",
        },
    ),
)

LORA = (
    advanced(
        "lora.use",
        type="list",
        default=(),
        entries=read_uses,
        group="lora",
        synonyms=("lycoris", "style", "风格"),
        label={"en": "LoRAs", "zh": "LoRA"},
        help={
            "en": "Small additions to a model, such as a style. Several can be combined, each with its own weight. "
            "As text: name:weight, name:weight. 0 = off. The model is not reloaded.",
            "zh": "对模型的小型补充，例如一种画风；可同时使用多个，强度由各自的权重决定。"
            "文本写法：名称:权重, 名称:权重。0 为不使用。无需重新加载模型。",
        },
    ),
)
