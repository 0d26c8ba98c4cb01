"""`doctor`: print what a bug report needs; check a set-up for weaknesses, and say what to change."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.cli.site import version_of
from core.config.loader import PROJECT_ROOT, Settings, load_settings
from core.config.options import SCHEMA
from core.config.schema import HIDDEN
from core.errors import StudioError
from core.i18n import localize
from core.server.auth.authenticator import Keys
from core.server.auth.bind_address import ANY_ORIGIN, read_binding
from core.studio.hardware import nvidia_smi
from core.studio.system import system_report
from core.types import WorkerStatus

Level = Literal["ok", "note", "bad"]
MARKS: Mapping[Level, str] = {"ok": "ok  ", "note": "note", "bad": "BAD "}
AUDIT_SECONDS = 300


@dataclass(frozen=True)
class Finding:
    """One line of the report: its level and its text."""

    level: Level
    key: str  # of the catalogue, below cli.doctor
    values: Mapping[str, object]

    def text(self, language: str) -> str:
        """Return the sentence."""
        return localize(f"cli.doctor.{self.key}", **self.values)[language]


def run(arguments: argparse.Namespace, language: str, configs: Path, environment: Mapping[str, str]) -> int:
    """Print the report and the findings; 1 when a finding is bad."""
    settings = load_settings(configs, environment=environment)
    print("\n".join(report_lines(settings)), end="\n\n")
    findings = list(check(settings))
    if arguments.security:
        findings += check_packages()
    for finding in findings:
        print(f"{MARKS[finding.level]}  {finding.text(language)}")
    return 1 if any(finding.level == "bad" for finding in findings) else 0


def check(settings: Settings) -> Iterator[Finding]:
    """Yield what the settings and the files on disk say."""
    keys = Keys(settings)
    try:
        binding = read_binding(settings, keys)
    except StudioError as error:
        yield Finding("bad", "refused", {"reason": error.message("en")})
        return
    host = binding.address
    if not binding.for_others:
        yield Finding("ok", "local", {"host": host})
    else:
        yield Finding(
            "ok" if keys.guarded else "bad", "open", {"host": host, "names": ", ".join(binding.names[3:]) or "-"}
        )
        yield Finding("note", "plain_http", {})
    accounts = keys.users.accounts()
    if accounts:
        admins = [name for name, account in accounts.items() if account.role == "admin"]
        yield Finding("ok", "users", {"count": len(accounts), "admins": ", ".join(admins)})
    elif keys.guarded:
        yield Finding("note", "token_only", {})
    else:
        yield Finding("note", "no_key", {})
    yield from _cross_origin(settings)
    if settings.server.trusted_proxies:
        yield Finding("note", "proxies", {"proxies": ", ".join(settings.server.trusted_proxies)})
    if settings.models.allowed_mirrors:
        yield Finding("note", "mirrors", {"mirrors": ", ".join(settings.models.allowed_mirrors)})
    yield from _permissions(settings, keys.guarded)


def _cross_origin(settings: Settings) -> Iterator[Finding]:
    origins = settings.server.cors_origins
    if ANY_ORIGIN in origins:
        yield Finding("bad", "any_origin", {})
    elif origins:
        yield Finding("note", "origins", {"origins": ", ".join(origins)})
    else:
        yield Finding("ok", "no_origins", {})


def _permissions(settings: Settings, guarded: bool) -> Iterator[Finding]:
    """Yield secrets that others on this machine can read, and the output folder where a key is set."""
    if os.name == "nt":
        return
    output: Path = settings.output_directory
    secrets = [
        *(output / "access").glob("*"),
        output / "models" / "tokens.json",
        settings.configs / "local.yaml",
    ]
    wide = [path for path in secrets if path.is_file() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)]
    for path in wide:
        holds_secret = path.name != "local.yaml" or b"token" in path.read_bytes()
        yield Finding("bad" if holds_secret else "note", "readable", {"path": path})
    if not wide:
        yield Finding("ok", "secrets", {})
    if guarded and output.is_dir() and output.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding("note" if settings.access.share_files else "bad", "output", {"path": output})


def check_packages() -> Iterator[Finding]:
    """Yield what pip-audit knows of the installed versions; a note where it is not installed."""
    if importlib.util.find_spec("pip_audit") is None:
        yield Finding("note", "no_audit", {})
        return
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=AUDIT_SECONDS, check=False)
        packages = json.loads(done.stdout)["dependencies"]
    except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired) as error:
        yield Finding("note", "audit_failed", {"reason": type(error).__name__})
        return
    skipped = [one["skip_reason"] for one in packages if "skip_reason" in one]
    if skipped:
        yield Finding("note", "not_audited", {"count": len(skipped), "reason": skipped[0]})
    known = [(one["name"], one["version"], flaw["id"]) for one in packages for flaw in one.get("vulns", ())]
    for name, version, flaw in known:
        yield Finding("bad", "advisory", {"package": f"{name} {version}", "advisory": flaw})
    if not known and len(packages) > len(skipped):
        yield Finding("ok", "no_advisories", {"count": len(packages) - len(skipped)})


LOG_LINES = 20
GPU_QUERY = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")  # in an address
_KEYS = re.compile(r"\b(hf_[A-Za-z0-9]{8,}|sk-[A-Za-z0-9-]{8,}|(?<=[Bb]earer )\S+)")


def report_lines(settings: Settings) -> Iterator[str]:
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
