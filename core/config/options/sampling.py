"""The sampler and the noise schedule."""

from __future__ import annotations

from core.config.options.declare import LIVE, advanced
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
)
