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
            "en": "On: rendered at the size asked for (next multiple, cropped). Off: rendered at the model's native "
            "pixel budget in the same ratio, then resized. The file has the size asked for either way.",
            "zh": "开：按所求尺寸渲染（取下一个倍数后裁剪）。关：按模型原生像素量、同比例渲染后再缩放。"
            "两种方式的文件都是所求尺寸。",
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
            "en": "float32 costs a few hundred megabytes and rules the VAE out when pictures are black. Without a card "
            "float16 can decode a hundred times more slowly than the others.",
            "zh": "float32 多占几百 MB；画面发黑时可用来排除 VAE 的问题。没有显卡时，float16 解码可能比其他精度慢上百倍。",
        },
    ),
    advanced(
        "vae.enable_tiling",
        type="bool",
        default=False,
        group="vae",
        takes_effect=LIVE,
        label={"en": "Tiled VAE", "zh": "VAE 分块"},
        help={
            "en": "Encode and decode in tiles of the size below: far less memory. What it costs depends on the tiling mode.",
            "zh": "以下方大小分块编码和解码：内存大幅减少。代价取决于分块方式。",
        },
    ),
    advanced(
        "vae.tiling_mode",
        type="choice",
        choices=("blend", "exact"),
        default="blend",
        group="vae",
        takes_effect=LIVE,
        label={"en": "Tiling mode", "zh": "分块方式"},
        help={
            "en": "blend: as diffusers does; each tile is normalised by itself, so colours shift and seams are blended over. "
            "exact: whole rows layer by layer, normalised over the whole picture; equal to no tiling but for rounding. "
            "Between layers the values wait in the computer's memory, which takes time on a card.",
            "zh": "blend：与 diffusers 相同，每块各自归一化，颜色会有偏移，接缝靠混合掩盖。"
            "exact：逐层按整行处理，在整幅画面上归一化；除舍入外与不分块相同。"
            "层与层之间的数值存放在主内存中，使用显卡时会多花时间。",
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
        label={"en": "Tile size", "zh": "分块大小"},
        help={
            "en": "Side of a tile in the picture; rounded down to a multiple of 8. Smaller pictures are not tiled. "
            "In exact mode: the rows that have this area.",
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
        label={"en": "Tile overlap", "zh": "分块重叠"},
        help={
            "en": "In blend mode: share of a tile that overlaps its neighbour; more hides seams and takes longer. "
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
        label={"en": "Own tiles for the decoder", "zh": "解码器单独分块"},
        help={
            "en": "Tile the decoder with a size of its own, whether or not the VAE is tiled above.",
            "zh": "无论上方是否开启分块，都以单独的大小对解码器分块。",
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
        label={"en": "Decoder's tile size", "zh": "解码器分块大小"},
        help={"en": "Used when the decoder has tiles of its own.", "zh": "解码器单独分块时使用。"},
    ),
)

PREVIEW = (
    advanced(
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
    advanced(
        "preview.every",
        type="int",
        default=1,
        minimum=1,
        maximum=50,
        step=1,
        unit="steps",
        group="preview",
        label={"en": "Preview every", "zh": "预览间隔"},
        help={
            "en": "Steps between two previews at least. Previews take at most 1% of the time of a picture's steps: where "
            "steps are very short, some are left out.",
            "zh": "两次预览之间至少相隔的步数。预览最多占用生成步骤时间的 1%：每步很短时会跳过一些预览。",
        },
    ),
)
