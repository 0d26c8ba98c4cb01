"""Declare the options of img2img, the hires fix and ControlNet."""

from __future__ import annotations

from typing import Any

from core.config.control_units import MOST, PREPROCESSORS, read_units
from core.config.options.helpers import advanced
from core.config.schema import AUTO, Option


def _control(key: str, **declared: Any) -> Option:
    return advanced(f"controlnet.{key}", group="controlnet", **declared)


IMG2IMG = (
    advanced(
        "img2img.denoising_strength",
        former=("img2img.strength",),
        type="float",
        default=0.6,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        group="img2img",
        synonyms=("denoise", "denoising", "strength", "redraw", "重绘", "降噪"),
        label={"en": "Denoising strength", "zh": "重绘幅度"},
        help={
            "en": "For img2img and inpaint: how much of the source image is regenerated. 0 keeps it, 1 ignores it. About "
            "steps x strength are run (Z-Image rounds up, the others down); the record of the image says how many.",
            "zh": "用于图生图和局部重绘：重绘的程度。0 为不变，1 为完全重绘。实际约运行 步数 × 重绘幅度 步"
            "（Z-Image 向上取整，其他向下取整）；实际步数记入图片记录。",
        },
    ),
)

HIRES = (
    advanced(
        "hires.enabled",
        type="bool",
        default=False,
        group="hires",
        synonyms=("hires fix", "highres", "upscale", "高清", "高分辨率"),
        label={"en": "Hires. fix", "zh": "高清修复"},
        help={
            "en": "Generates a small image, upscales it, and runs img2img at the requested size, so that large images keep one "
            "composition. The file has the requested size. To save memory, enable Tiled VAE.",
            "zh": "先生成小图，放大后再按目标尺寸重绘：大图不易出现重复构图。文件为请求的尺寸。"
            "如需节省显存，请开启 VAE 分块。",
        },
    ),
    advanced(
        "hires.scale",
        type="float",
        default=2.0,
        minimum=1.25,
        maximum=4.0,
        step=0.25,
        group="hires",
        synonyms=("hires fix", "upscale", "高清"),
        needs=(("hires.enabled", (True,)),),
        label={"en": "Upscale by", "zh": "放大倍率"},
        help={
            "en": "The first pass has width and height divided by this.",
            "zh": "第一遍的尺寸为宽和高除以此数。",
        },
    ),
    advanced(
        "hires.denoising_strength",
        former=("hires.strength",),
        type="float",
        default=0.35,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        group="hires",
        synonyms=("hires fix", "denoise", "重绘"),
        needs=(("hires.enabled", (True,)),),
        label={"en": "Hires denoising", "zh": "高清修复重绘幅度"},
        help={
            "en": "How much of the upscaled image is regenerated: low keeps it, high adds detail and may repeat things.",
            "zh": "放大后重绘的程度：低则保留原样，高则增加细节，但可能出现重复内容。",
        },
    ),
    advanced(
        "hires.steps",
        type="int",
        default=AUTO,
        auto=True,
        minimum=1,
        maximum=200,
        step=1,
        group="hires",
        synonyms=("hires fix", "高清"),
        needs=(("hires.enabled", (True,)),),
        label={"en": "Hires steps", "zh": "高清修复步数"},
        help={
            "en": "About these steps x Hires denoising are run. auto: as many as Steps.",
            "zh": "实际约运行 此步数 × 重绘幅度 步。auto：与采样步数相同。",
        },
    ),
    advanced(
        "hires.upscaler",
        type="str",
        maximum=200,
        default="lanczos",
        group="hires",
        synonyms=("hires fix", "upscale", "resampling", "ESRGAN", "放大"),
        needs=(("hires.enabled", (True,)),),
        label={"en": "Upscaler", "zh": "放大算法"},
        help={
            "en": "lanczos, bicubic, bilinear or nearest; compact-x2 and compact-x4 are embedded networks; each file of the folder "
            "upscalers in the models' folder, by its name; auto: an embedded network.",
            "zh": "lanczos、bicubic、bilinear 或 nearest；compact-x2 和 compact-x4 为自带网络；也可用模型目录下 upscalers "
            "文件夹中的文件名；auto：自带网络。",
        },
    ),
)

CONTROL = (
    _control(
        "units",
        type="list",
        default=(),
        entries=read_units,
        synonyms=("ControlNet", "canny", "depth", "pose", "tile", "lineart", "scribble", "union", "控制"),
        label={"en": "ControlNets", "zh": "ControlNet 单元"},
        help={
            "en": f"ControlNets beside the model, at most {MOST}: NAME:WEIGHT, then any of preprocessor=, low= and high= (canny), "
            "rate= (tile), start=, end=, mode= (balanced, prompt, control), type= (of a Union) and image= (1 to 4), such as "
            "canny-sdxl:0.8:preprocessor=canny:end=0.6. Without a weight the pipeline's own default. Without a control image the "
            "source image of img2img is used.",
            "zh": f"与模型一起使用的 ControlNet，最多 {MOST} 个：名称:权重，其后可加 preprocessor=、low= 与 high=（canny）、"
            "rate=（tile）、start=、end=、mode=（balanced、prompt、control）、type=（Union）与 image=（1 至 4），例如 "
            "canny-sdxl:0.8:preprocessor=canny:end=0.6。不写权重则用管线默认值；没有控制图时使用图生图的原图。",
        },
    ),
    _control(
        "preprocessor",
        former=("control.preprocess",),
        type="choice",
        choices=PREPROCESSORS,
        default="canny",
        label={"en": "Preprocessor", "zh": "预处理器"},
        help={
            "en": "canny: thin edges. lineart: soft lines. scribble: thick lines. depth: near is white, by a Depth-Anything model "
            "in the folder preprocessors of the models' folder. pose: OpenPose skeletons, by a YOLO-pose .onnx file there. invert: "
            "for black lines on white. none and tile: the image as it is, scaled to cover the size and cropped to its center.",
            "zh": "canny：细边缘。lineart：柔和线稿。scribble：粗线条涂鸦。depth：深度图（近处为白），需在模型目录的 "
            "preprocessors 文件夹中放置 Depth-Anything 模型。pose：OpenPose 骨架，需在同处放置 YOLO-pose 的 .onnx 文件。"
            "invert：反色，用于白底黑线。none 与 tile：直接使用图片（缩放至覆盖目标尺寸并居中裁剪）。",
        },
    ),
    _control(
        "canny_low",
        former=("control.canny_low",),
        type="int",
        default=100,
        minimum=0,
        maximum=255,
        step=5,
        needs=(("controlnet.preprocessor", ("canny",)),),
        label={"en": "Canny low threshold", "zh": "Canny 低阈值"},
        help={
            "en": "Edges continue where the gradient exceeds this; lower keeps fainter edges.",
            "zh": "梯度大于此值时边缘得以延续；越低保留的细线越多。",
        },
    ),
    _control(
        "canny_high",
        former=("control.canny_high",),
        type="int",
        default=200,
        minimum=0,
        maximum=255,
        step=5,
        needs=(("controlnet.preprocessor", ("canny",)),),
        label={"en": "Canny high threshold", "zh": "Canny 高阈值"},
        help={
            "en": "Edges start where the gradient exceeds this; lower finds more edges. Not below the low threshold.",
            "zh": "梯度大于此值处才开始一条边缘；越低边缘越多。不得小于低阈值。",
        },
    ),
    _control(
        "scale",
        former=("control.scale",),
        type="float",
        default=AUTO,
        auto=True,
        minimum=0.0,
        maximum=2.0,
        step=0.05,
        label={"en": "Control weight", "zh": "控制权重"},
        help={
            "en": "The output of the ControlNet is multiplied by this; 0 = off. auto: the default of the pipeline, "
            "1 for SDXL and 0.75 for Z-Image.",
            "zh": "ControlNet 的输出乘以此值；0 等于不控制。auto 为管线默认：SDXL 为 1，Z-Image 为 0.75。",
        },
    ),
    _control(
        "start",
        former=("control.start",),
        type="float",
        default=0.0,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        label={"en": "Starting step", "zh": "介入时机"},
        help={
            "en": "Share of the steps (0 to 1) at which the ControlNet starts.",
            "zh": "ControlNet 从总步数的这一比例（0 至 1）开始起作用。",
        },
    ),
    _control(
        "end",
        former=("control.end",),
        type="float",
        default=1.0,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        label={"en": "Ending step", "zh": "结束时机"},
        help={
            "en": "Share of the steps (0 to 1) at which the ControlNet ends; later steps are free. Above the starting step.",
            "zh": "ControlNet 到总步数的这一比例（0 至 1）停止起作用，其后自由生成细节。须大于介入时机。",
        },
    ),
)


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
