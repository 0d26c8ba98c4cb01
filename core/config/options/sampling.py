"""Declare the options of the sampler, the noise schedule, variety between seeds, CLIP's prompt syntax, and CFG."""

from __future__ import annotations

from core.config.options.general import MAX_SEED
from core.config.options.helpers import LIVE, advanced
from core.config.prompt_weights import A1111, SYNTAXES
from core.config.samplers import SAMPLERS, SCHEDULES, parse_sampler, parse_schedule
from core.config.schema import AUTO


def _sampler_id(name: str) -> str | None:
    """Read a name of another program; one that says a schedule as well is none of these values."""
    found = parse_sampler(name)
    return found[0] if found is not None and found[1] == AUTO else None


SAMPLING = (
    advanced(
        "generation.sampler",
        type="choice",
        choices=(AUTO, *SAMPLERS),
        default=AUTO,
        group="sampling",
        takes_effect=LIVE,
        spellings=_sampler_id,
        label={"en": "Sampler", "zh": "采样方法（Sampler）"},
        help={
            "en": "The solver of the denoising steps. auto: the model's own. Names ending in _ancestral, and SDE and LCM, add "
            "noise at each step. Heun and DPM2 evaluate the model twice a step. `start.py samplers` lists which models take which.",
            "zh": "去噪步骤的求解方法。auto：模型自带。以 _ancestral 结尾的以及 SDE、LCM 每步加入噪声；Heun 与 DPM2 每步计算两次。"
            "各模型可用的采样器见 `start.py samplers`。",
        },
    ),
    advanced(
        "generation.schedule",
        type="choice",
        choices=(AUTO, *SCHEDULES),
        default=AUTO,
        group="sampling",
        takes_effect=LIVE,
        spellings=parse_schedule,
        label={"en": "Schedule type", "zh": "调度类型（Schedule type）"},
        help={
            "en": "How noise levels are spaced over the steps. auto: the model's own. Flow models take all; of the others each "
            "sampler takes some, simple none; sgm_uniform is trailing spacing, as Lightning and Turbo models of SDXL need.",
            "zh": "噪声强度在各步之间的分布。auto：模型自带。流匹配模型全部可用；其他模型视采样器而定，且不支持 simple；"
            "sgm_uniform 即 trailing 间隔，SDXL 的 Lightning 与 Turbo 模型需要它。",
        },
    ),
    advanced(
        "generation.variation_strength",
        type="float",
        default=0.0,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        group="sampling",
        label={"en": "Variation strength", "zh": "差异强度"},
        help={
            "en": "Mixes the noise of the seed with that of the variation seed. 0 = off, 1 = the variation seed alone. 0.1 to 0.3 "
            "gives siblings of one image.",
            "zh": "将随机种子的噪声与差异种子的噪声混合。0 为关闭，1 为只用差异种子。0.1 至 0.3 得到同一图片的近似变体。",
        },
    ),
    advanced(
        "generation.variation_seed",
        type="int",
        default=0,
        minimum=0,
        maximum=MAX_SEED,
        step=1,
        group="sampling",
        label={"en": "Variation seed", "zh": "差异随机种子"},
        help={
            "en": "The seed of the noise that is mixed in. It acts when the variation strength is above 0.",
            "zh": "混入噪声所用的种子。仅当差异强度大于 0 时起作用。",
        },
    ),
    advanced(
        "generation.prompt_noise",
        type="float",
        default=0.0,
        minimum=0.0,
        maximum=2.0,
        step=0.05,
        group="sampling",
        label={"en": "Prompt noise", "zh": "提示词噪声"},
        help={
            "en": "Adds noise to the prompt embeds by the seed, in shares of their standard deviation, so that seeds differ more. "
            "0 = off; high values lose the prompt.",
            "zh": "按种子向提示词嵌入加入噪声（以其标准差为单位），使不同种子差别更大。0 为关闭；过高会偏离提示词。",
        },
    ),
    advanced(
        "generation.short_prompt_steps",
        type="float",
        default=0.0,
        minimum=0.0,
        maximum=0.5,
        step=0.05,
        group="sampling",
        label={"en": "Steps on a shortened prompt", "zh": "缩短提示词的步数比例"},
        help={
            "en": "This share of the steps, the first ones, uses the first clause of the prompt alone, so that compositions differ "
            "more between seeds. 0 = off.",
            "zh": "最初这一比例的步数只使用提示词的第一个分句，使不同种子的构图差别更大。0 为关闭。",
        },
    ),
    advanced(
        "generation.prompt_syntax",
        type="choice",
        choices=SYNTAXES,
        default=A1111,
        group="sampling",
        synonyms=("emphasis", "attention", "weight", "BREAK", "权重", "强调"),
        label={"en": "Prompt syntax", "zh": "提示词语法"},
        help={
            "en": "For CLIP models. a1111: (word:1.2), (word), [word] and BREAK; the mean of the embeds is kept. comfyui: "
            "(word:1.2) and (word), weighted against an empty prompt. Both read long prompts in chunks of 75 tokens, and "
            "\\( is a bracket. off: all is text and cut at 77 tokens, as plain diffusers does.",
            "zh": "用于 CLIP 模型。a1111：支持 (词:1.2)、(词)、[词] 与 BREAK，保持嵌入的均值。comfyui：支持 (词:1.2) 与 (词)，"
            "相对空提示词加权。两者都把长提示词按 75 个 token 分块读取，\\( 表示括号本身。"
            "off：全部视为文本，并像 diffusers 一样截断到 77 个 token。",
        },
    ),
    advanced(
        "generation.clip_skip",
        type="int",
        default=1,
        minimum=1,
        maximum=12,
        step=1,
        group="sampling",
        synonyms=("CLIP_stop_at_last_layers", "跳过层"),
        label={"en": "CLIP skip", "zh": "CLIP 跳过层数（CLIP skip）"},
        help={
            "en": "The layer of the text encoder that is used, counted from its end as A1111 does, for both prompts. 1 = the "
            "model's own: the last layer of SD 1.5, the last but one of SDXL, for which 2 means the same.",
            "zh": "使用文本编码器倒数第几层的输出（与 A1111 的计数相同），对正向和反向提示词都有效。"
            "1 为模型自带：SD 1.5 用最后一层；SDXL 用倒数第二层，此时 2 与 1 相同。",
        },
    ),
)

CFG = (
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
