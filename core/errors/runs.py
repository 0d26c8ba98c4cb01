"""The job itself failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from core.errors.base import StudioError


class RunError(StudioError):
    """The job itself failed."""


class WorkerDiedError(RunError):
    """The worker process is gone; the job waits to be run again, and its finished pictures are kept."""

    text = {
        "en": "The worker process ended in the middle of this job ({detail}). It is started again by itself, "
        "and the job goes on with the pictures that are missing.",
        "zh": "工作进程在此任务中途结束（{detail}）。它会自动重启，并继续生成此任务尚缺的图片。",
    }


class WorkerStartError(RunError):
    """Workers end one after the other before they take a job; `log` has their last words."""

    text = {
        "en": "The worker process ended {times} times in a row before it could begin, the last time by {detail}. "
        "Nothing is drawn until it starts; it is tried again by itself. Its last words are in {log}.",
        "zh": "工作进程连续 {times} 次在开始工作之前结束，最近一次：{detail}。它启动成功之前不会出图；系统会自动重试。"
        "它最后的输出在 {log}。",
    }


class CrashLoopError(RunError):
    """The worker process died of this job so often that it is not run again by itself."""

    text = {
        "en": "The worker process ended {crashes} times in the middle of this job, the last time by {detail}. "
        "The job is set aside: make the picture smaller or change its options, then retry.",
        "zh": "工作进程已在此任务中途结束 {crashes} 次，最近一次：{detail}。任务已搁置：请缩小画面或更改选项后重试。",
    }


class OutOfMemoryError(RunError):
    """Neither the card nor the machine had enough memory."""

    text = {
        "en": "Out of memory on {device} at {width}x{height}. Make the picture smaller or switch on memory.low_vram.",
        "zh": "{device} 在 {width}x{height} 时内存不足。请缩小画面，或打开 memory.low_vram。",
    }


class BrokenPictureError(RunError):
    """NaN, Inf or a flat picture: never saved as if it were one. `cure` is a sentence; without one it is the usual."""

    text = {
        "en": "The {component} gave {came} at step {step}; no picture was saved. {cure}",
        "zh": "{component} 在第 {step} 步给出 {came}；未保存图片。{cure}",
    }
    usual_cure: ClassVar[Mapping[str, str]] = {
        "en": "Set model.dtype to float32 and run again.",
        "zh": "请将 model.dtype 设为 float32 后重试。",
    }

    def __init__(self, **values: Any) -> None:
        super().__init__(**{"cure": self.usual_cure, **values})


class GenerationError(RunError):
    """Anything else that the pipeline raised."""

    text = {
        "en": "The picture could not be made: {detail}. The log on the system page has the details.",
        "zh": "无法生成图片：{detail}。详情见系统页的日志。",
    }
