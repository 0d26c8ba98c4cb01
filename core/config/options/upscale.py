"""Declare the options of upscaling finished images: enlarge them, or regenerate their details tile by tile."""

from __future__ import annotations

from core.config.options.helpers import advanced
from core.config.schema import AUTO

UPSCALE = (
    advanced(
        "upscale.mode",
        type="choice",
        choices=("off", "enlarge", "detail"),
        default="off",
        group="upscale",
        synonyms=("upscale", "extras", "super resolution", "ultimate upscale", "放大", "超分辨率"),
        label={"en": "Upscale the source image", "zh": "放大原图"},
        help={
            "en": "enlarge: the source image is only enlarged. detail: it is enlarged, then regenerated tile by tile with the "
            "model, for any size. off: img2img as usual.",
            "zh": "enlarge（仅放大）：只放大原图。detail（放大并补充细节）：放大后用模型逐块重绘，尺寸不限。off：普通图生图。",
        },
    ),
    advanced(
        "upscale.by",
        type="float",
        default=2.0,
        minimum=1.0,
        maximum=16.0,
        step=0.5,
        group="upscale",
        synonyms=("scale", "倍率"),
        needs=(("upscale.mode", ("enlarge", "detail")),),
        label={"en": "Upscale by", "zh": "放大倍率"},
        help={
            "en": "How many times the width and height of the source image, where no size is given.",
            "zh": "未指定尺寸时，宽和高为原图的多少倍。",
        },
    ),
    advanced(
        "upscale.method",
        type="str",
        default=AUTO,
        maximum=200,
        group="upscale",
        synonyms=("ESRGAN", "SwinIR", "DAT", "Lanczos", "upscaler", "放大算法"),
        needs=(("upscale.mode", ("enlarge", "detail")),),
        label={"en": "Upscaler", "zh": "放大算法"},
        help={
            "en": "auto: the embedded upscaler, compact-x2 or compact-x4. Also lanczos, bicubic, bilinear, nearest, and each file "
            "of the folder upscalers in the models' folder, by its name.",
            "zh": "auto：自带的 compact-x2 或 compact-x4。也可用 lanczos、bicubic、bilinear、nearest，"
            "以及模型目录下 upscalers 文件夹中的文件名。",
        },
    ),
    advanced(
        "upscale.denoising_strength",
        type="float",
        default=0.3,
        minimum=0.05,
        maximum=1.0,
        step=0.05,
        group="upscale",
        synonyms=("denoise", "重绘"),
        needs=(("upscale.mode", ("detail",)),),
        label={"en": "Detail denoising", "zh": "细节重绘幅度"},
        help={
            "en": "How much of each tile is regenerated: low keeps it, high adds detail and may repeat things.",
            "zh": "每一块重绘的程度：低则保留原样，高则增加细节，但可能出现重复内容。",
        },
    ),
    advanced(
        "upscale.tile",
        type="int",
        default=AUTO,
        auto=True,
        minimum=64,
        maximum=4096,
        step=16,
        unit="px",
        group="upscale",
        synonyms=("tile size", "分块"),
        needs=(("upscale.mode", ("detail",)),),
        label={"en": "Detail tile", "zh": "细节分块大小"},
        help={
            "en": "Side of the tiles that are regenerated. auto: the model's own size.",
            "zh": "逐块重绘时的边长。auto：模型自身的尺寸。",
        },
    ),
    advanced(
        "upscale.tile_overlap",
        type="int",
        default=32,
        minimum=0,
        maximum=512,
        step=8,
        unit="px",
        group="upscale",
        synonyms=("seam", "接缝"),
        needs=(("upscale.mode", ("detail",)),),
        label={"en": "Detail tile overlap", "zh": "细节分块重叠"},
        help={
            "en": "Width of the band in which neighboring tiles fade into one another, at most half a tile.",
            "zh": "相邻分块之间的过渡宽度，最多为分块的一半。",
        },
    ),
)
