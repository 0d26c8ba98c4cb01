"""Explain exit codes of worker processes in both languages."""

from __future__ import annotations

import signal
from collections.abc import Mapping

from core.i18n import localize

EXIT_LOCKED = 75  # another worker lives over this folder (EX_TEMPFAIL: try again later)
EXIT_DEVICE = 70  # the GPU failed in a way that only a new process mends; its job is queued again already
EXIT_CLUSTER = 72  # the Ray cluster can't be reached
EXIT_NO_WORKER = 73  # no worker of the cluster comes up
EXIT_IDLE = 71  # the model was idle for long: a new process has its memory back

Reason = Mapping[str, str]  # language -> words

APP_CLOSED: Reason = localize("jobs.exit_reasons.app_closed")
APP_NOT_RUNNING: Reason = localize("jobs.exit_reasons.app_not_running")
MACHINE_GONE: Reason = localize("jobs.exit_reasons.machine_gone")
PREDECESSOR_GONE: Reason = localize("jobs.exit_reasons.predecessor_gone")
_EXITS: Mapping[int, Reason] = {
    EXIT_DEVICE: localize("jobs.exit_reasons.exits.exit_device"),
    EXIT_IDLE: localize("jobs.exit_reasons.exits.exit_idle"),
    EXIT_CLUSTER: localize("jobs.exit_reasons.exits.exit_cluster"),
    EXIT_NO_WORKER: localize("jobs.exit_reasons.exits.exit_no_worker"),
}
_KILLED = ", often for want of memory"
_SIGNALS = {  # what Chinese readers know the usual ones by; the system itself names them in English only
    "SIGABRT": "异常中止",
    "SIGBUS": "总线错误",
    "SIGFPE": "算术错误",
    "SIGILL": "处理器不支持的指令",
    "SIGINT": "被中断",
    "SIGKILL": "被强制结束，常因内存不足",
    "SIGSEGV": "段错误",
    "SIGTERM": "被要求结束",
}


def ended(code: int) -> Reason:
    """Return the reason for an exit code of subprocess, such as "signal 11: segmentation fault" or "exit code 1"."""
    if code in _EXITS:
        return _EXITS[code]
    if code >= 0:
        return localize("jobs.exit_reasons.exit_code", code=code)
    words = (signal.strsignal(-code) or "unknown").lower()
    chinese = _SIGNALS.get(_name(-code), words)
    if _name(-code) == "SIGKILL":
        words += _KILLED
    return localize("jobs.exit_reasons.signal", code=-code, words=words, chinese=chinese)


def silent(seconds: float) -> Reason:
    """Return the reason of a worker that was killed because its job did not move."""
    return localize("jobs.exit_reasons.no_step_in_s", seconds=seconds)


def device(words: str) -> Reason:
    """Return the reason of a failed device; `words` are the library's own."""
    return localize("jobs.exit_reasons.the_device_failed", words=words)


def actor_gone(node: str) -> Reason:
    """Return the reason of a cluster worker that ended while its machine is up."""
    return localize("jobs.exit_reasons.the_worker_on_is_gone", node=node)


def node_gone(node: str) -> Reason:
    """Return the reason of a cluster machine that is gone with its workers."""
    return localize("jobs.exit_reasons.the_machine_does_not_answer_any", node=node)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals between the named ones
        return ""
