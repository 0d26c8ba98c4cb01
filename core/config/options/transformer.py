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
        {"en": "transformer", "zh": "变换器"},
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
        label={"en": "Rotary positions (RoPE)", "zh": "旋转位置编码（RoPE）"},
        help={
            "en": "Off: no rotation, so the model no longer knows where a token is. For study; pictures fall apart.",
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
        label={"en": "RoPE scaling", "zh": "RoPE 缩放"},
        help={
            "en": "How rows and columns beyond the base resolution are counted; up to it nothing changes. none: as trained. "
            "linear: all steps shortened. ntk: the slow frequencies only. yarn: by frequency, and sharper attention. "
            "dype: yarn that fades as the noise goes. auto: the one that did best with the embedded model.",
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
            "en": "The side up to which positions count as trained; scaling acts on longer sides. auto: the model's own.",
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
            "en": "How far positions are stretched. auto: each side divided by the base resolution, at least 1. "
            "A number holds for both sides, at any size, once a RoPE scaling is chosen.",
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
        label={"en": "dype: strength", "zh": "dype：强度"},
        help={
            "en": "With RoPE scaling dype: how many frequencies are stretched at the first step. 1: as yarn does. 0: none.",
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
        label={"en": "dype: speed", "zh": "dype：速度"},
        help={
            "en": "With RoPE scaling dype: how fast it fades. 0: not at all. 1: evenly with the noise. 2 and more: early.",
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
        label={"en": "Attention backend", "zh": "注意力后端"},
        help={
            "en": "native is PyTorch's own, which picks a memory-efficient kernel itself; the names are those of "
            "diffusers. The system page says which work here; one that does not is replaced by native, with the "
            "reason. RoPE is kept by all. Pixels differ by rounding; sage, which computes in 8 bits, by more.",
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
        label={"en": "Attention dropout", "zh": "注意力丢弃率"},
        help={
            "en": "Share of the attention weights that is dropped at random at each step; the picture's seed decides which. "
            "Made for training: pictures get rougher. 0 = off. Above 0 the backend is native and refining runs each step.",
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
        label={"en": "Longest prompt", "zh": "最长提示词"},
        help={
            "en": "Tokens of the prompt that are read; the rest is cut off, and the picture's record says so.",
            "zh": "读取的提示词 token 数；超出部分会被截断，并写入图片记录。",
        },
    ),
    advanced(
        "guidance.normalization",
        type="float",
        default=0.0,
        minimum=0.0,
        maximum=5.0,
        step=0.1,
        group="guidance",
        aliases=("cfg_normalization",),
        label={"en": "Guidance normalisation", "zh": "引导归一化"},
        help={
            "en": "Upper bound of the guided prediction's norm, as a multiple of the unguided one's. 0 = off.",
            "zh": "引导后预测的范数上限，为未引导范数的倍数。0 为关闭。",
        },
    ),
    advanced(
        "guidance.truncation",
        type="float",
        default=1.0,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        group="guidance",
        aliases=("cfg_truncation",),
        label={"en": "Guidance until", "zh": "引导截止"},
        help={
            "en": "Guidance acts while the share of denoising that is done is at most this. 1 = to the end.",
            "zh": "去噪进度不超过此值时引导起作用。1 为直到结束。",
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
        group="guidance",
        takes_effect=LIVE,
        label={"en": "Timestep shift", "zh": "时间步偏移"},
        help={
            "en": "Higher spends more steps on the composition, lower more on details. auto: the model's own (Turbo: 3).",
            "zh": "越高，越多的步用于构图；越低，越多用于细节。auto：模型自带值（Turbo 为 3）。",
        },
    ),
)
