"""Why a worker ended, in both languages: part of the sentence that its job is told."""

from __future__ import annotations

import signal
from collections.abc import Mapping

from core.i18n import localize
from core.jobs.worker_config import EXIT_CLUSTER, EXIT_DEVICE, EXIT_IDLE, EXIT_NO_WORKER

Reason = Mapping[str, str]  # language -> words

APP_CLOSED: Reason = localize("jobs.reasons.app_closed")
APP_NOT_RUNNING: Reason = localize("jobs.reasons.app_not_running")
MACHINE_GONE: Reason = localize("jobs.reasons.machine_gone")
PREDECESSOR_GONE: Reason = localize("jobs.reasons.predecessor_gone")
_EXITS: Mapping[int, Reason] = {
    EXIT_DEVICE: localize("jobs.reasons.exits.exit_device"),
    EXIT_IDLE: localize("jobs.reasons.exits.exit_idle"),
    EXIT_CLUSTER: localize("jobs.reasons.exits.exit_cluster"),
    EXIT_NO_WORKER: localize("jobs.reasons.exits.exit_no_worker"),
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
    """An exit code of subprocess: "signal 11: segmentation fault", "exit code 1", "the device failed"."""
    if code in _EXITS:
        return _EXITS[code]
    if code >= 0:
        return localize("jobs.reasons.exit_code", code=code)
    words = (signal.strsignal(-code) or "unknown").lower()
    chinese = _SIGNALS.get(_name(-code), words)
    if _name(-code) == "SIGKILL":
        words += _KILLED
    return localize("jobs.reasons.signal", code=-code, words=words, chinese=chinese)


def silent(seconds: float) -> Reason:
    """It was ended because its job had not moved."""
    return localize("jobs.reasons.no_step_in_s", seconds=seconds)


def device(words: str) -> Reason:
    """The card failed; `words` are the library's own."""
    return localize("jobs.reasons.the_device_failed", words=words)


def actor_gone(node: str) -> Reason:
    """A worker of the cluster ended; its machine lives."""
    return localize("jobs.reasons.the_worker_on_is_gone", node=node)


def node_gone(node: str) -> Reason:
    """A machine of the cluster went, and its workers with it."""
    return localize("jobs.reasons.the_machine_does_not_answer_any", node=node)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals between the named ones
        return ""
