"""Declare the options of inpaint and outpaint: the area, its size, its initial content, and blending."""

from __future__ import annotations

from core.config.boxes import MOST, read_boxes
from core.config.options.helpers import advanced
from core.config.schema import AUTO, Option

RATIOS = ("none", "1:1", "5:4", "4:3", "3:2", "16:9", "21:9", "4:5", "3:4", "2:3", "9:16")
COLORS = ("gray", "black", "white", "red", "yellow", "green", "cyan", "blue", "magenta")


def _side(name: str, en: str, zh: str) -> Option:
    return advanced(
        f"outpaint.{name}",
        type="int",
        default=0,
        minimum=0,
        maximum=4096,
        step=16,
        unit="px",
        group="outpaint",
        synonyms=("extend", "uncrop", "扩图", "外绘"),
        label={"en": f"Extend {en}", "zh": f"向{zh}扩展"},
        help={
            "en": f"Pixels of the source image's own size that are added on the {en} and generated.",
            "zh": f"在原图{zh}侧增加并生成的像素数（按原图尺寸）。",
        },
    )


INPAINT = (
    advanced(
        "inpaint.area",
        type="choice",
        choices=("whole", "masked"),
        default="whole",
        group="inpaint",
        synonyms=("only masked", "inpaint at full resolution", "crop", "仅蒙版", "全分辨率"),
        label={"en": "Inpaint area", "zh": "重绘区域"},
        help={
            "en": "whole: the image is generated as a whole and the masked part of it is used. masked: the masked part with its "
            "padding is cropped, generated at the model's own resolution and pasted back, for details in large images.",
            "zh": "whole（整张图片）：生成整张图，只取蒙版部分。masked（仅蒙版区域）：裁出蒙版及其边距，"
            "按模型自身分辨率生成后贴回，适合大图中的细节。",
        },
    ),
    advanced(
        "inpaint.padding",
        type="int",
        default=32,
        minimum=0,
        maximum=1024,
        step=8,
        unit="px",
        group="inpaint",
        synonyms=("only masked padding", "边距"),
        label={"en": "Only masked padding", "zh": "仅蒙版区域边距"},
        help={
            "en": "For the inpaint area masked and for boxes: pixels around the masked part that the model sees. They are not "
            "changed.",
            "zh": "用于仅蒙版区域和框选区域：模型可以看到的周围像素数，这部分不会改变。",
        },
    ),
    *(
        advanced(
            f"inpaint.render_{side}",
            type="int",
            default=AUTO,
            auto=True,
            minimum=64,
            maximum=8192,
            step=16,
            unit="px",
            group="inpaint",
            level="expert",
            synonyms=("only masked", "resolution"),
            label={"en": f"{en} of the generated part", "zh": f"重绘部分的{zh}"},
            help={
                "en": "For the inpaint area masked and for boxes: the size at which the cropped part is generated. auto: the "
                "model's own area in the ratio of the crop, or the crop's own size where it is larger.",
                "zh": "用于仅蒙版区域和框选区域：裁出部分的生成尺寸。auto：按裁剪比例取模型自身的面积；裁剪更大时取其自身尺寸。",
            },
        )
        for side, en, zh in (("width", "Width", "宽度"), ("height", "Height", "高度"))
    ),
    advanced(
        "inpaint.mask_blur",
        type="float",
        default=0.0,
        minimum=0.0,
        maximum=64.0,
        step=1.0,
        unit="px",
        group="inpaint",
        synonyms=("feather", "soft", "羽化", "模糊"),
        label={"en": "Mask blur", "zh": "蒙版模糊"},
        help={
            "en": "Softens the edge of the mask, so that the new part fades into the image (standard deviation). Beyond about "
            "three times this, pixels stay the image's own.",
            "zh": "柔化蒙版边缘，使新内容与原图自然过渡（标准差）。约三倍距离之外的像素保持原样。",
        },
    ),
    advanced(
        "inpaint.mask_grow",
        type="int",
        default=0,
        minimum=-256,
        maximum=256,
        step=1,
        unit="px",
        group="inpaint",
        synonyms=("dilate", "erode", "expand", "扩大", "收缩"),
        label={"en": "Grow mask", "zh": "蒙版扩展"},
        help={
            "en": "Grows the masked part by this many pixels on all sides, before the blur; a negative number shrinks it.",
            "zh": "在模糊之前把蒙版向四周扩大这么多像素；负数为收缩。",
        },
    ),
    advanced(
        "inpaint.mask_invert",
        type="bool",
        default=False,
        group="inpaint",
        synonyms=("inpaint not masked", "反转"),
        label={"en": "Inpaint not masked", "zh": "重绘非蒙版区域"},
        help={
            "en": "Exchanges black and white of the mask: what is not painted is regenerated.",
            "zh": "反转蒙版：重绘未涂抹的部分。",
        },
    ),
    advanced(
        "inpaint.fill",
        type="choice",
        choices=("original", "blur", "noise", "color"),
        default="original",
        group="inpaint",
        synonyms=("masked content", "latent noise", "fill", "蒙版内容", "填充"),
        label={"en": "Masked content", "zh": "蒙版内容"},
        help={
            "en": "What the masked part starts from: the image itself, the blurred colors around it, noise of the seed, or one "
            "color. The lower the denoising strength, the more of it is seen; at 1 it has no effect.",
            "zh": "蒙版部分的初始内容：原图、周围颜色的模糊、由种子决定的噪声，或单一颜色。重绘幅度越低越明显；为 1 时无影响。",
        },
    ),
    advanced(
        "inpaint.fill_color",
        type="choice",
        choices=COLORS,
        default="gray",
        group="inpaint",
        needs=(("inpaint.fill", ("color",)),),
        label={"en": "Fill color", "zh": "填充颜色"},
        help={"en": "The color of the masked content color.", "zh": "蒙版内容为单一颜色时所用的颜色。"},
    ),
    advanced(
        "inpaint.boxes",
        type="list",
        default=(),
        entries=read_boxes,
        group="inpaint",
        synonyms=("refine", "detailer", "region", "face", "修脸", "细化"),
        label={"en": "Refine boxes", "zh": "细化区域（框）"},
        help={
            "en": f"Parts that are regenerated one after the other, each cropped with its padding and generated at the model's own "
            f"resolution: WIDTHxHEIGHT+X+Y in pixels of the file, several with commas, at most {MOST}. Takes the place of a mask.",
            "zh": f"逐个重绘的区域，各自连同边距裁出并按模型自身分辨率生成：宽x高+X+Y（成品像素），多个以逗号分隔，最多 {MOST} 个。"
            "代替蒙版。",
        },
    ),
)

DETECT = (
    advanced(
        "inpaint.detector",
        type="str",
        maximum=200,
        default="none",
        group="inpaint",
        synonyms=("detailer", "adetailer", "face", "hand", "yolo", "onnx", "修脸", "修手"),
        label={"en": "Detector", "zh": "检测器"},
        help={
            "en": "Finds the refine boxes in the source image: the name of a YOLO file (.onnx) in the folder detectors of the "
            "models' folder. The boxes that it finds are recorded. none: boxes are given by hand.",
            "zh": "在原图中自动找出细化区域：模型目录 detectors 文件夹中 YOLO 文件（.onnx）的名称。找到的框会记入图片记录。"
            "none 为手动指定。",
        },
    ),
    advanced(
        "inpaint.detector_confidence",
        type="float",
        default=0.3,
        minimum=0.05,
        maximum=1.0,
        step=0.05,
        group="inpaint",
        label={"en": "Detector confidence", "zh": "检测置信度"},
        help={
            "en": "How sure the detector must be of a box.",
            "zh": "检测器对框的最低置信度。",
        },
    ),
)

OUTPAINT = (
    _side("left", "left", "左"),
    _side("right", "right", "右"),
    _side("top", "top", "上"),
    _side("bottom", "bottom", "下"),
    advanced(
        "outpaint.ratio",
        type="choice",
        choices=RATIOS,
        default="none",
        group="outpaint",
        synonyms=("aspect", "extend", "uncrop", "扩图", "比例"),
        label={"en": "Extend to ratio", "zh": "扩展至比例"},
        help={
            "en": "Extends the source image equally on two sides until it has this ratio of width to height.",
            "zh": "在两侧等量扩展原图，直到宽高比为所选比例。",
        },
    ),
    advanced(
        "outpaint.overlap",
        type="int",
        default=16,
        minimum=0,
        maximum=512,
        step=4,
        unit="px",
        group="outpaint",
        synonyms=("seam", "feather", "接缝"),
        label={"en": "Overlap", "zh": "重叠宽度"},
        help={
            "en": "Width of the band along the seam in which the new part fades into the source image.",
            "zh": "接缝处的过渡带宽度：新内容在其中逐渐过渡到原图。",
        },
    ),
)
