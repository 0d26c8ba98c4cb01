"""The advanced options that act around the transformer: size, text encoder, VAE, preview."""

from __future__ import annotations

from core.config.options.declare import LIVE, advanced, dtype

SIZE = (
    advanced(
        "force_original_resolution",
        type="bool",
        default=True,
        group="size",
        label={"en": "Render at exactly this size", "zh": "按原尺寸渲染"},
        help={
            "en": "On: rendered at the requested size (next multiple, then cropped). Off: rendered at the native resolution of the "
            "model in the same ratio, then resized. The file has the requested size either way.",
            "zh": "开：按请求的尺寸渲染（取下一个倍数后裁剪）。关：按模型原生分辨率、同比例渲染后再缩放。"
            "两种方式的文件都是请求的尺寸。",
        },
    ),
)

TEXT_ENCODER = (
    dtype(
        "text_encoder.dtype",
        {"en": "text encoder", "zh": "文本编码器"},
        {
            "en": "Its embeddings are cast to the transformer's format.",
            "zh": "其输出会转换为变换器的格式。",
        },
    ),
)

VAE = (
    dtype(
        "vae.dtype",
        {"en": "VAE", "zh": "VAE"},
        {
            "en": "float32 takes a few hundred megabytes more and rules the VAE out as the cause of black images. Without a GPU "
            "float16 can decode a hundred times slower than the others.",
            "zh": "float32 多占几百 MB；画面发黑时可用来排除 VAE 的问题。没有 GPU 时，float16 解码可能比其他精度慢上百倍。",
        },
    ),
    advanced(
        "vae.enable_tiling",
        type="bool",
        default=False,
        group="vae",
        takes_effect=LIVE,
        synonyms=("vram", "tile", "tiled vae", "显存"),
        label={"en": "Tiled VAE", "zh": "VAE 分块"},
        help={
            "en": "Encodes and decodes in tiles, with far less memory. The cost depends on the tiling mode.",
            "zh": "分块编码和解码，显存占用大幅减少。代价取决于分块方式。",
        },
    ),
    advanced(
        "vae.tiling_mode",
        type="choice",
        choices=("blend", "exact"),
        default="blend",
        group="vae",
        takes_effect=LIVE,
        needs=(("vae.enable_tiling", (True,)),),
        label={"en": "Tiling mode", "zh": "分块方式"},
        help={
            "en": "blend: as diffusers does; each tile is normalized by itself, so colors shift and seams are blended. "
            "exact: whole rows layer by layer, normalized over the whole image; equal to no tiling except for rounding. "
            "Values between layers are kept in RAM, which takes time on a GPU.",
            "zh": "blend：与 diffusers 相同，每块各自归一化，颜色会有偏移，接缝靠混合掩盖。"
            "exact：逐层按整行处理，在整幅画面上归一化；除舍入外与不分块相同。"
            "层与层之间的数值存放在内存中，使用 GPU 时会多花时间。",
        },
    ),
    advanced(
        "vae.tile_sample_min_size",
        type="int",
        default=256,
        minimum=64,
        maximum=2048,
        step=32,
        unit="px",
        group="vae",
        takes_effect=LIVE,
        synonyms=("tile size", "vram", "显存"),
        needs=(("vae.enable_tiling", (True,)),),
        label={"en": "Tile size", "zh": "分块大小"},
        help={
            "en": "Side of a tile in image pixels, rounded down to a multiple of 8. Smaller images are not tiled. "
            "In exact mode: as many rows as have this area.",
            "zh": "每块在图片中的边长，向下取 8 的倍数。比它小的图片不分块。exact 方式下为面积相同的若干整行。",
        },
    ),
    advanced(
        "vae.tile_overlap_factor",
        type="float",
        default=0.125,
        minimum=0.0,
        maximum=0.5,
        step=0.025,
        group="vae",
        takes_effect=LIVE,
        needs=(("vae.enable_tiling", (True,)), ("vae.tiling_mode", ("blend",))),
        label={"en": "Tile overlap", "zh": "分块重叠"},
        help={
            "en": "In blend mode: share of a tile that overlaps its neighbor; more hides seams and takes longer. "
            "exact mode has no seams.",
            "zh": "blend 方式下相邻块重叠的比例；越大接缝越不明显，但更慢。exact 方式没有接缝。",
        },
    ),
    advanced(
        "vae.decoder_tiling",
        type="bool",
        default=False,
        group="vae",
        takes_effect=LIVE,
        label={"en": "Separate decoder tiles", "zh": "解码器单独分块"},
        help={
            "en": "Tiles the decoder with a tile size of its own, whether or not Tiled VAE is on.",
            "zh": "无论是否开启 VAE 分块，都以单独的大小对解码器分块。",
        },
    ),
    advanced(
        "vae.decoder_tile_size",
        type="int",
        default=384,
        minimum=64,
        maximum=2048,
        step=32,
        unit="px",
        group="vae",
        takes_effect=LIVE,
        needs=(("vae.decoder_tiling", (True,)),),
        label={"en": "Decoder tile size", "zh": "解码器分块大小"},
        help={"en": "Used when Separate decoder tiles is on.", "zh": "解码器单独分块时使用。"},
    ),
)

PREVIEW = (
    advanced(
        "preview.enabled",
        type="bool",
        default=True,
        group="preview",
        label={"en": "Live preview", "zh": "实时预览"},
        help={
            "en": "A small estimate of the image from the latents; it changes no pixel of the result.",
            "zh": "由潜变量估计的小图；不会改变成品的任何像素。",
        },
    ),
    advanced(
        "preview.interval",
        former=("preview.every",),
        type="int",
        default=1,
        minimum=1,
        maximum=50,
        step=1,
        unit="steps",
        group="preview",
        needs=(("preview.enabled", (True,)),),
        label={"en": "Preview interval", "zh": "预览间隔"},
        help={
            "en": "Minimum number of steps between two previews. Previews take at most 1% of the sampling time: where "
            "steps are very short, some are skipped.",
            "zh": "两次预览之间至少相隔的步数。预览最多占用生成步骤时间的 1%：每步很短时会跳过一些预览。",
        },
    ),
)
