"""How many steps a picture that is drawn over another one really takes.

With strength s, the noise that is added is that of the share s of the schedule, and only the steps from there on are run.
The pipelines round in two ways: Z-Image's up, the others' down.
What this module does not know: torch, diffusers.
"""

from __future__ import annotations

from core.model.families import Z_IMAGE


def steps_run(pipeline: str, steps: int, strength: float) -> int:
    """Of `steps`, how many this pipeline's picture-to-picture runs at `strength` (0 to 1), as diffusers reckons it."""
    if pipeline == Z_IMAGE:
        return steps - int(max(steps - min(steps * strength, steps), 0))
    return min(int(steps * strength), steps)
