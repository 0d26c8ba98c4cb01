"""Where models and LoRAs are kept and fetched from, and which LoRAs act."""

from __future__ import annotations

from core.config.lora_syntax import read_uses
from core.config.options.declare import START, advanced, basic
from core.config.schema import AUTO

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
