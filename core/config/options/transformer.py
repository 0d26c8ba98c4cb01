"""The advanced options that act in the transformer: positions, attention, guidance, schedule."""

from __future__ import annotations

from core.config.options.declare import LIVE, advanced, dtype
from core.config.schema import AUTO

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
        {"en": "transformer", "zh": "Transformer"},
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
    advanced(
        "cfg.normalization",
        former=("guidance.normalization",),
        type="float",
        default=0.0,
        minimum=0.0,
        maximum=5.0,
        step=0.1,
        group="cfg",
        aliases=("cfg_normalization",),
        synonyms=("guidance rescale", "cfg rescale", "sampler", "采样器"),
        label={"en": "CFG normalization", "zh": "CFG 归一化"},
        help={
            "en": "Upper bound of the norm of the guided prediction, as a multiple of the unguided one. 0 = off.",
            "zh": "CFG 预测的范数上限，为未引导预测范数的倍数。0 为关闭。",
        },
    ),
    advanced(
        "cfg.truncation",
        former=("guidance.truncation",),
        type="float",
        default=1.0,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        group="cfg",
        aliases=("cfg_truncation",),
        synonyms=("guidance end", "cfg end", "sampler", "采样器"),
        label={"en": "CFG truncation", "zh": "CFG 截断"},
        help={
            "en": "CFG is applied until this share of denoising is done. 1 = to the end.",
            "zh": "去噪进度不超过此值时应用 CFG。1 为直到结束。",
        },
    ),
    advanced(
        "scheduler.shift",
        type="float",
        default=AUTO,
        auto=True,
        minimum=0.1,
        maximum=20.0,
        step=0.1,
        group="cfg",
        takes_effect=LIVE,
        synonyms=("sampler", "scheduler", "sigma shift", "timestep shift", "flow shift", "采样器", "调度器"),
        label={"en": "Shift", "zh": "采样偏移（Shift）"},
        help={
            "en": "Higher values spend more steps on composition, lower ones on details. auto: set by the model (Turbo: 3).",
            "zh": "越高，越多的步用于构图；越低，越多用于细节。auto：模型自带值（Turbo 为 3）。",
        },
    ),
)
