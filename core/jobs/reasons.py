"""Why a worker ended, in both languages: part of the sentence that its job is told.

What this module does not know: how the end was noticed.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping

from core.jobs.orders import EXIT_CLUSTER, EXIT_DEVICE, EXIT_IDLE, EXIT_NO_WORKER

Reason = Mapping[str, str]  # language -> words

APP_CLOSED: Reason = {"en": "the app was closed", "zh": "应用已关闭"}
APP_NOT_RUNNING: Reason = {"en": "the app was not running", "zh": "应用未在运行"}
MACHINE_GONE: Reason = {"en": "its machine, or the app there, is gone", "zh": "其机器或那里的应用已不在"}
PREDECESSOR_GONE: Reason = {"en": "the worker before this one is gone", "zh": "之前的工作进程已不在"}
_EXITS: Mapping[int, Reason] = {
    EXIT_DEVICE: {"en": "the device failed", "zh": "设备故障"},
    EXIT_IDLE: {"en": "its model was idle", "zh": "模型长时间空闲"},
    EXIT_CLUSTER: {"en": "the Ray cluster cannot be reached", "zh": "无法连接 Ray 集群"},
    EXIT_NO_WORKER: {"en": "no worker of the cluster comes up", "zh": "集群中没有工作进程能启动"},
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
        return {"en": f"exit code {code}", "zh": f"退出码 {code}"}
    words = (signal.strsignal(-code) or "unknown").lower()
    chinese = _SIGNALS.get(_name(-code), words)
    if _name(-code) == "SIGKILL":
        words += _KILLED
    return {"en": f"signal {-code}: {words}", "zh": f"信号 {-code}，{chinese}"}


def silent(seconds: float) -> Reason:
    """It was ended because its job had not moved."""
    return {"en": f"no step in {seconds:g} s", "zh": f"{seconds:g} 秒内没有任何进展"}


def device(words: str) -> Reason:
    """The card failed; `words` are the library's own."""
    return {"en": f"the device failed: {words}", "zh": f"设备故障：{words}"}


def actor_gone(node: str) -> Reason:
    """A worker of the cluster ended; its machine lives."""
    return {"en": f"the worker on {node} is gone", "zh": f"{node} 上的工作进程已不在"}


def node_gone(node: str) -> Reason:
    """A machine of the cluster went, and its workers with it."""
    return {"en": f"the machine {node} does not answer any more", "zh": f"机器 {node} 不再应答"}


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals between the named ones
        return ""
