"""Declare the options of the parts of the pipeline: render size, text encoder, transformer, VAE, live preview."""

from __future__ import annotations

from core.config.options.helpers import LIVE, RELOAD, advanced, dtype
from core.config.schema import AUTO

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
    advanced(
        "text_encoder.device",
        type="choice",
        choices=(AUTO, "cpu", "cuda:0", "cuda:1", "cuda:2", "cuda:3"),
        default=AUTO,
        group="memory",
        takes_effect=RELOAD,
        synonyms=("vram", "second gpu", "multi-gpu", "显存", "多卡"),
        label={"en": "Device of the text encoder", "zh": "文本编码器设备"},
        help={
            "en": "cpu: the text encoder stays in RAM and frees about 8 GB of VRAM with Z-Image; a new prompt takes longer. "
            "cuda:1 and so on: it stays on another GPU. It is not quantised there. auto: the device of the model, "
            "or another GPU when the model does not fit the first one.",
            "zh": "cpu：文本编码器留在内存中，Z-Image 可省约 8 GB 显存，新提示词编码较慢。cuda:1 等：放在另一块 GPU 上。"
            "此时不量化。auto：与模型相同；第一块 GPU 放不下时用另一块。",
        },
    ),
)

# As diffusers names them. Those that fetch kernels from the network, and xformers' own switch, which drops RoPE, are not here.
ATTENTION_BACKENDS = (
    "native",
    "_native_math",
    "_native_efficient",
    "_native_flash",
    "_native_cudnn",
    "flex",
    "flash",
    "_flash_3",
    "sage",
    "xformers",
)

TRANSFORMER = (
    dtype(
        "transformer.dtype",
        {"en": "transformer", "zh": "Transformer "},
        {
            "en": "The model's activations overflow plain float16, so they are scaled down and clamped there.",
            "zh": "模型的激活值会超出 float16 的范围，因此在其中缩小并限幅。",
        },
    ),
    advanced(
        "transformer.use_rope",
        type="bool",
        default=True,
        group="rope",
        takes_effect=LIVE,
        level="expert",
        label={"en": "Rotary position embedding (RoPE)", "zh": "旋转位置编码（RoPE）"},
        help={
            "en": "Off: no rotation, so the model loses the positions of tokens. For study only; images fall apart.",
            "zh": "关闭后不做旋转，模型不再知道各块的位置。仅供研究，画面会散乱。",
        },
    ),
    advanced(
        "transformer.rope_scaling",
        type="choice",
        choices=(AUTO, "none", "linear", "ntk", "yarn", "dype"),
        default=AUTO,
        group="rope",
        takes_effect=LIVE,
        synonyms=("ntk", "yarn", "dype", "high resolution", "超分辨率"),
        label={"en": "RoPE scaling", "zh": "RoPE 缩放"},
        help={
            "en": "How positions beyond the base resolution are scaled; up to it nothing changes. none: as trained. "
            "linear: position interpolation. ntk: low frequencies only. yarn: by frequency, with sharper attention. "
            "dype: yarn that fades out during denoising. auto: the one that performed best with the embedded model.",
            "zh": "超出基准分辨率的行列如何计数；不超出时没有变化。none：与训练时相同。linear：所有步距缩短。"
            "ntk：只放慢低频。yarn：按频率处理，并使注意力更集中。dype：随噪声减少而淡出的 yarn。"
            "auto：内置模型上效果最好的一种。",
        },
    ),
    advanced(
        "transformer.rope_base_resolution",
        type="int",
        default=AUTO,
        auto=True,
        minimum=64,
        maximum=8192,
        step=64,
        unit="px",
        group="rope",
        takes_effect=LIVE,
        aliases=("base_resolution",),
        label={"en": "RoPE base resolution", "zh": "RoPE 基准分辨率"},
        help={
            "en": "Side length up to which positions count as trained; longer sides are scaled. auto: the default of the model.",
            "zh": "在此边长以内，位置视为训练过；更长的边才会缩放。auto：模型自带值。",
        },
    ),
    advanced(
        "transformer.rope_factor",
        type="float",
        default=AUTO,
        auto=True,
        minimum=1.0,
        maximum=16.0,
        step=0.25,
        group="rope",
        takes_effect=LIVE,
        label={"en": "RoPE scaling factor", "zh": "RoPE 缩放倍数"},
        help={
            "en": "Scaling factor of positions. auto: each side divided by the base resolution, at least 1. "
            "A number applies to both sides at any size, once a RoPE scaling is selected.",
            "zh": "位置拉伸的倍数。auto：各边长除以基准分辨率，至少为 1。"
            "给出数字时，选定缩放方式后对任何尺寸的两条边都生效。",
        },
    ),
    advanced(
        "transformer.dype_scale",
        type="float",
        default=2.0,
        minimum=0.0,
        maximum=8.0,
        step=0.25,
        group="rope",
        takes_effect=LIVE,
        level="expert",
        needs=(("transformer.rope_scaling", ("dype",)),),
        label={"en": "DyPE scale", "zh": "DyPE 强度"},
        help={
            "en": "For RoPE scaling dype: how many frequencies are scaled at the first step. 1: as yarn. 0: none.",
            "zh": "缩放方式为 dype 时，第一步拉伸多少频率。1：与 yarn 相同。0：不拉伸。",
        },
    ),
    advanced(
        "transformer.dype_exponent",
        type="float",
        default=2.0,
        minimum=0.0,
        maximum=8.0,
        step=0.25,
        group="rope",
        takes_effect=LIVE,
        level="expert",
        needs=(("transformer.rope_scaling", ("dype",)),),
        label={"en": "DyPE exponent", "zh": "DyPE 指数"},
        help={
            "en": "For RoPE scaling dype: how fast it fades out. 0: never. 1: linearly with the noise. 2 and more: early.",
            "zh": "缩放方式为 dype 时，淡出的快慢。0：不淡出。1：随噪声均匀淡出。2 及以上：提早淡出。",
        },
    ),
    advanced(
        "transformer.attention_backend",
        type="choice",
        choices=ATTENTION_BACKENDS,
        default="native",
        group="attention",
        takes_effect=LIVE,
        aliases=("attention_backend",),
        synonyms=("xformers", "flash attention", "sdpa", "sage"),
        label={"en": "Attention backend", "zh": "注意力后端"},
        help={
            "en": "native: scaled_dot_product_attention of PyTorch, which selects a memory-efficient kernel; the names are those "
            "of diffusers. The System page lists which work here; one that does not is replaced by native, with the "
            "reason. All keep RoPE. Pixels differ by rounding; sage, which computes in 8 bits, differs more.",
            "zh": "native 是 PyTorch 自带的实现，会自行选择省内存的内核；名称与 diffusers 一致。系统页列出本机可用的后端；"
            "不可用的会改用 native 并说明原因。所有后端都保留 RoPE。像素差异只来自舍入；以 8 位计算的 sage 差异较大。",
        },
    ),
    advanced(
        "transformer.attention_dropout",
        type="float",
        default=0.0,
        minimum=0.0,
        maximum=0.9,
        step=0.05,
        group="attention",
        takes_effect=LIVE,
        level="expert",
        label={"en": "Attention dropout", "zh": "注意力丢弃率"},
        help={
            "en": "Share of attention weights dropped at random at each step, determined by the seed of the image. "
            "Made for training: images get rougher. 0 = off. Above 0 the backend is native and the refiner runs each step.",
            "zh": "每一步随机丢弃的注意力权重比例，由图片的种子决定。本为训练设计，画面会变粗糙。0 为关闭。"
            "大于 0 时使用 native 后端，且每一步都重新精炼文本。",
        },
    ),
    advanced(
        "transformer.max_sequence_length",
        type="int",
        default=512,
        minimum=16,
        maximum=512,
        step=16,
        unit="tokens",
        group="attention",
        synonyms=("token limit", "prompt length", "提示词长度"),
        label={"en": "Max prompt tokens", "zh": "最大 token 数"},
        help={
            "en": "Longer prompts are truncated, and the record of the image says so.",
            "zh": "超出的提示词会被截断，并写入图片记录。",
        },
    ),
)

VAE = (
    dtype(
        "vae.dtype",
        {"en": "VAE", "zh": "VAE "},
        {
            "en": "float32 takes a few hundred megabytes more and rules the VAE out as the cause of black images. Without a GPU "
            "float16 can decode a hundred times slower than the others.",
            "zh": "float32 多占几百 MB；画面发黑时可用来排除 VAE 的问题。没有 GPU 时，float16 解码可能比其他精度慢上百倍。",
        },
    ),
    advanced(
        "vae.decoder",
        type="choice",
        choices=("full", "tiny"),
        default="full",
        group="vae",
        takes_effect=LIVE,
        synonyms=("taesd", "taef1", "tiny autoencoder", "decode method", "解码器"),
        label={"en": "Decoder", "zh": "解码器"},
        help={
            "en": "full: the model's VAE. tiny: the small decoder of the previews (TAEF1, TAESD, TAESDXL), which takes a fraction "
            "of the time and memory and loses fine detail. Drafts are decoded by it.",
            "zh": "full：模型自己的 VAE。tiny：预览用的小解码器（TAEF1、TAESD、TAESDXL），只占很少的时间和显存，但会损失细节。"
            "草图用它解码。",
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
