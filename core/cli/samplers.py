"""`samplers`: list the samplers with A1111's names, the kinds of models that support them, and the schedules."""

from __future__ import annotations

import json
from typing import Any

from core.config.samplers import SAMPLERS, SCHEDULES
from core.models.families import FAMILIES


def listed() -> dict[str, Any]:
    """Return everything that the command prints, as JSON has it. Families by their pipeline classes."""
    rows = []
    for sampler in SAMPLERS.values():
        solvers = {name: sampler.solver(family.prediction) for name, family in FAMILIES.items()}
        families = {name: list(solver.schedules) for name, solver in solvers.items() if solver is not None}
        rows.append({"id": sampler.id, "a1111": sampler.name, "aliases": sampler.aliases.split(), "families": families})
    return {"samplers": rows, "schedules": [{"id": one.id, "a1111": one.name} for one in SCHEDULES.values()]}


def run(as_json: bool) -> int:
    """Print the list; the exit code."""
    found = listed()
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
        return 0
    for row in found["samplers"]:
        labels: dict[str, list[str]] = {}
        for name, schedules in row["families"].items():
            family = FAMILIES[name]
            if family.plain is None:
                labels.setdefault(", ".join(schedules) or "auto", []).append(family.label)
        print(
            f"{row['id']:<18}{row['a1111']:<14}"
            + "; ".join(f"{', '.join(who)}: {what}" for what, who in labels.items())
        )
    print("schedules: " + ", ".join(f"{one['id']} ({one['a1111']})" for one in found["schedules"]))
    return 0
