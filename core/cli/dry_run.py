"""`generate --dry-run`: estimate what a request will cost, and generate nothing."""

from __future__ import annotations

import json
from dataclasses import asdict

from core.cli.console import DONE, FAILED
from core.i18n import localize
from core.studio import Studio
from core.types import Estimate, GenerationRequest


def of_request(studio: Studio, request: GenerationRequest) -> Estimate:
    """Return the estimate of a request that could be queued. Raises StudioError for one that could not."""
    return studio.estimates.of(studio.requests.prepare(request), wait=True)


def tell(estimate: Estimate, language: str, as_json: bool) -> int:
    """Print the estimate; the exit code is 1 for a request that does not fit."""
    print(json.dumps(asdict(estimate), ensure_ascii=False) if as_json else "\n".join(_lines(estimate, language)))
    return DONE if estimate.fits else FAILED


def _lines(estimate: Estimate, language: str) -> list[str]:
    """Return the estimate as a person reads it: a line of figures, then the reasons."""
    unknown = localize("cli.dry_run.unknown")
    figures = {
        "seconds": unknown if estimate.seconds is None else f"{estimate.seconds:.1f} s",
        "load": unknown if estimate.load_seconds is None else f"{estimate.load_seconds:.1f} s",
        "vram": f"{estimate.vram_mb} MB",
        "ram": f"{estimate.ram_mb} MB",
        "disk": f"{estimate.disk_mb} MB",
        "tier": estimate.tier or unknown,
        "measured": estimate.measured,
    }
    first = localize("cli.dry_run.figures", **figures)[language]
    verdict = localize("cli.dry_run.fits") if estimate.fits else localize("cli.dry_run.does_not_fit")
    return [first, *(reason[language] for reason in estimate.reasons), verdict[language]]
