"""Print what a bug report needs: versions, the machine, settings that differ from the defaults, the end of the log.

Values of secret options, tokens in addresses, and the home folder's name are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from core.cli.site import version_of
from core.config.loader import PROJECT_ROOT, Settings
from core.config.options import SCHEMA
from core.config.schema import HIDDEN
from core.studio.hardware import nvidia_smi
from core.studio.system import system_report
from core.types import WorkerStatus

LOG_LINES = 20
GPU_QUERY = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")  # in an address
_KEYS = re.compile(r"\b(hf_[A-Za-z0-9]{8,}|sk-[A-Za-z0-9-]{8,}|(?<=[Bb]earer )\S+)")


def lines(settings: Settings) -> Iterator[str]:
    """Yield the report as Markdown, with secrets removed."""
    report = system_report(settings.output_directory, WorkerStatus("stopped"))
    yield f"- Z Darkroom {version_of(PROJECT_ROOT)}, Python {report.python}, {report.platform}"
    yield "- " + ", ".join(f"{name} {version}" for name, version in report.versions.items())
    memory, disk = (f"{count / 1e9:.1f} GB" for count in (report.memory_total, report.disk_free))
    yield f"- {report.cpu_count} CPU cores, {memory} RAM, {disk} free on the disk of the output folder"
    yield f"- GPU: {_gpu()}"
    yield from (f"- {key} = {value}" for key, value in _changed(settings))
    yield from (f"- problem in the settings: {problem.message('en')}" for problem in settings.problems)
    log = [without_secrets(line) for line in report.log_tail[-LOG_LINES:]]
    yield from (["", "```", *log, "```"] if log else [])


def without_secrets(text: str) -> str:
    """Replace credentials in addresses, known kinds of keys, and the path of the home folder."""
    text = _KEYS.sub(HIDDEN, _CREDENTIALS.sub(f"{HIDDEN}@", text))
    return text.replace(str(Path.home()), "~")


def _gpu() -> str:
    output = nvidia_smi(*GPU_QUERY).strip()
    return "; ".join(output.splitlines()) or "none that nvidia-smi knows"


def _changed(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the options that were set to something else than their default."""
    for key, option in SCHEMA.options.items():
        value = settings.values[key]
        if value != option.default:
            yield key, HIDDEN if option.secret and value else without_secrets(repr(value))
