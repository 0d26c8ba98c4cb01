"""Every error a user can meet, with its sentence in both languages.

StudioError
|-- InputError               what the user gave cannot be used (command line: exit code 2)
|   |-- OptionError          a value of the wrong type or out of range
|   |-- UnknownOptionError   a key that no option has
|   |-- ConfigFileError      a YAML file that cannot be read
|   |-- SecretShownError     a secret where everyone can read it
|   |-- PromptError          an empty or endless prompt
|   |-- WildcardError        a template with braces or names that lead nowhere
|   |-- BatchError           rows of a batch that cannot be used
|   |-- QueueFullError       too many jobs of one client
|   |-- KeyReusedError       an idempotency key that came with another request
|   |-- JobStateError        a job that is not in the state for what was asked
|   |-- PictureFileError     a file that cannot become part of the history
|   `-- ServerError          another studio that was asked over HTTP
|       |-- NoServerError        nobody answers there
|       |-- ServerDeniedError    it wants another token, or none of ours
|       |-- ServerVersionError   it is no studio of this version
|       `-- ServerRefusedError   it says no; its own sentence
|-- NotFoundError            a job or a picture that is not there (any more)
|-- ModelError               a model that cannot be used
|   |-- UnknownModelError    no catalogue entry and no folder of that name
|   |-- ModelFileError       a file of the model is missing, truncated or unsafe
|   |-- UnavailableError     an option that this machine cannot follow
|   |-- ModelLoadError       the files are there, loading failed
|   `-- DownloadError        a hub did not give the model
|-- StorageError             the picture or the database could not be written
|   |-- DiskFullError
|   `-- NotWritableError
`-- RunError                 the job itself failed
    |-- WorkerDiedError      the worker process is gone; the job is run again
    |-- WorkerStartError     no worker process comes up
    |-- CrashLoopError       the worker process died of this job too often
    |-- OutOfMemoryError
    |-- BrokenPictureError   NaN, Inf or a flat picture
    `-- GenerationError      anything else that the pipeline raised
Cancelled                    not an error: the user asked to stop

An error is a class (its `code`) and the values it was made with; it can be stored as a dictionary and read back, so that a
page can say it in the language of whoever looks. Sentences say what came, what is allowed and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

LANGUAGES = ("zh", "en")


class Cancelled(Exception):
    """Raised inside a generation when the user cancelled it."""


class StudioError(Exception):
    """The root. `text` holds one template a language, filled with the values given to the constructor.

    A value that reads differently in the two languages is given as a mapping from language to words.
    """

    text: ClassVar[Mapping[str, str]] = {"en": "{detail}", "zh": "{detail}"}

    def __init__(self, **values: Any) -> None:
        self.values = {name: _plain(value) for name, value in values.items()}
        super().__init__(self.message("en"))

    @property
    def code(self) -> str:
        """The name under which the error is stored."""
        return type(self).__name__

    def message(self, language: str = "en") -> str:
        """One line in `language` ("zh" or "en")."""
        words = {name: self.said(name, language) for name in self.values}
        return " ".join(self.text[language].format(**words).split())

    def said(self, name: str, language: str) -> Any:
        """One of the values, in `language`."""
        return _said(self.values[name], language)

    def to_dict(self) -> dict[str, Any]:
        """For the database; `from_dict` reads it back."""
        return {"code": self.code, "values": self.values}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> StudioError:
        """The error that `to_dict` described; an unknown code (of a newer version) becomes a plain StudioError."""
        kind = error_classes().get(str(data["code"]))
        if kind is None:
            return StudioError(detail=f"{data['code']}: {data['values']}")
        return kind(**data["values"])


class InputError(StudioError):
    """What the user gave cannot be used."""


class OptionError(InputError):
    """`source` is where the value came from: a file, the environment, the command line or the form."""

    text = {
        "en": "{source}: {key} = {came} cannot be used; allowed: {allowed}.",
        "zh": "{source}：{key} = {came} 无法使用；允许：{allowed}。",
    }


class UnknownOptionError(InputError):
    """A key that no option has; `nearest` is the known key that looks most like it."""

    text = {
        "en": "{source}: there is no option {key}; the nearest is {nearest}. Correct or remove the key.",
        "zh": "{source}：没有选项 {key}；最接近的是 {nearest}。请改正或删除该键。",
    }


class ConfigFileError(InputError):
    """A YAML file that cannot be read."""

    text = {
        "en": "{source}: this YAML cannot be read: {detail}. Correct the file, or remove it to use the defaults.",
        "zh": "{source}：无法读取此 YAML：{detail}。请改正文件，或删除它以使用默认值。",
    }


class SecretShownError(InputError):
    """A token on the command line: every user of the machine can read it there."""

    text = {
        "en": "{key} must not stand on the command line, where every user of this machine can read it. "
        "Put it into configs/local.yaml or into the variable {variable}.",
        "zh": "{key} 不能写在命令行中，本机所有用户都能看到。请写入 configs/local.yaml 或环境变量 {variable}。",
    }


class PromptError(InputError):
    """An empty prompt, or one longer than `allowed` characters."""

    text = {
        "en": "The {key} has {came} characters; allowed: {allowed}. Describe the picture in a sentence or two.",
        "zh": "提示词（{key}）有 {came} 个字符；允许：{allowed}。请用一两句话描述画面。",
    }


class WildcardError(InputError):
    """A template of a prompt that cannot be expanded."""

    text = {
        "en": "Wildcards: {came} cannot be used; allowed: {allowed}.",
        "zh": "通配符：{came} 无法使用；允许：{allowed}。",
    }


class BatchError(InputError):
    """Rows of a batch that cannot be used; `detail` names each."""

    text = {
        "en": "{source}: {count} entries cannot be used: {detail}. Nothing was queued; correct this and try again.",
        "zh": "{source}：有 {count} 处无法使用：{detail}。没有任何任务进入队列；请改正后重试。",
    }


class KeyReusedError(InputError):
    """An idempotency key that came before with another request."""

    text = {
        "en": "The idempotency key {key} was used for another request; give each request a key of its own.",
        "zh": "幂等键 {key} 已用于另一个请求；请为每个请求使用各自的键。",
    }


class QueueFullError(InputError):
    """A client that has as many jobs in the queue as one may have."""

    text = {
        "en": "You have {allowed} jobs in the queue already, as many as one may have (service.queue_per_client). "
        "Wait for one to end, or cancel one.",
        "zh": "您在队列中已有 {allowed} 个任务，达到上限（service.queue_per_client）。请等待其中一个结束或取消一个。",
    }


class JobStateError(InputError):
    """Something was asked of a job that its state does not allow."""

    text = {
        "en": "The job {job} is {state}; {wish} needs one that is {allowed}.",
        "zh": "任务 {job} 的状态为 {state}；{wish} 只适用于：{allowed}。",
    }


class PictureFileError(InputError):
    """A file that cannot become part of the history."""

    text = {
        "en": "{file} cannot be taken in: {detail}. PNG, JPEG and WebP files can.",
        "zh": "无法收入 {file}：{detail}。可收入 PNG、JPEG 和 WebP 文件。",
    }


class ServerError(InputError):
    """Another studio, asked over HTTP. `server` is its address without any secret."""


class NoServerError(ServerError):
    """Nobody answers there, or not any more."""

    text = {
        "en": "No studio answers at {server}: {detail}. Check the address and whether the studio runs there.",
        "zh": "{server} 处没有工作室应答：{detail}。请检查地址，以及那里是否已启动。",
    }


class ServerDeniedError(ServerError):
    """It does not know the token."""

    text = {
        "en": "{server} does not accept this token: {reason} Set {variable} to its token, or to NAME:PASSWORD.",
        "zh": "{server} 不接受此令牌：{reason}请将 {variable} 设为其令牌，或“用户名:密码”。",
    }


class ServerVersionError(ServerError):
    """What answers is no studio, or one of another version."""

    text = {
        "en": "{server} is {came}; this one is Z Darkroom {allowed}. Use the same version on both sides.",
        "zh": "{server} 是 {came}；此处为 Z Darkroom {allowed}。请在两端使用同一版本。",
    }


class ServerRefusedError(ServerError):
    """It says no; `reason` is its own sentence."""

    text = {"en": "{server}: {reason}", "zh": "{server}：{reason}"}


class NotFoundError(StudioError):
    """A job or a picture that is not there (any more)."""

    text = {
        "en": "There is no {kind} with the id {came}; it may have been deleted. Choose another from the history.",
        "zh": "没有编号为 {came} 的 {kind}，可能已被删除。请从历史中另选一个。",
    }


class ModelError(StudioError):
    """A model that cannot be used."""


class UnknownModelError(ModelError, InputError):
    """Neither a catalogue entry nor a folder."""

    text = {
        "en": "There is no model {came}; known: {known}. Give one of these ids or the path of a diffusers folder.",
        "zh": "没有模型 {came}；已知：{known}。请给出其中一个编号，或一个 diffusers 文件夹的路径。",
    }


class ModelFileError(ModelError, InputError):
    """A file of the model is missing, truncated or unsafe; `problem` says which, and the cure."""

    text = {
        "en": "Model {model}: {file}: {problem}.",
        "zh": "模型 {model}：{file}：{problem}。",
    }


class ModelLoadError(ModelError):
    """The files are there, loading failed."""

    text = {
        "en": "Model {model} could not be loaded: {detail}. Check the folder, or choose another model.",
        "zh": "模型 {model} 无法加载：{detail}。请检查文件夹，或另选模型。",
    }


class UnavailableError(ModelError, InputError):
    """An option asks for what this machine does not have; `reason` says what is missing."""

    text = {
        "en": "{key} = {came} cannot be used on this machine: {reason}. Add what is missing, or set {key} back.",
        "zh": "本机无法使用 {key} = {came}：{reason}。请补上所缺，或把 {key} 改回默认值。",
    }


class DownloadError(ModelError):
    """A hub did not give the model, or gave something else; `problem` says which, and the cure."""

    text = {
        "en": "{model} from {source}: {problem}.",
        "zh": "从 {source} 下载 {model}：{problem}。",
    }


class StorageError(StudioError):
    """The picture or the database could not be written."""

    text = {
        "en": "{path} could not be written: {detail}. Check the folder or choose another with output.directory.",
        "zh": "无法写入 {path}：{detail}。请检查该文件夹，或用 output.directory 另选一个。",
    }


class DiskFullError(StorageError):
    """No space left on the device."""

    text = {
        "en": "The disk of {path} is full. Free some space or choose another folder with output.directory, then run again.",
        "zh": "{path} 所在磁盘已满。请腾出空间，或用 output.directory 另选文件夹，然后重试。",
    }


class NotWritableError(StorageError):
    """The output directory refuses to be written to."""

    text = {
        "en": "{path} is not writable. Change its permissions or choose another folder with output.directory.",
        "zh": "{path} 不可写。请修改权限，或用 output.directory 另选文件夹。",
    }


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


# Where a value came from, as the code names it; files are named by their path in both languages.
_SOURCES = {
    "form": "表单",
    "command line": "命令行",
    "environment": "环境变量",
    "request": "请求",
    "history": "历史",
    "profile": "配置档",
    "batch": "批量",
}


def _plain(value: Any) -> Any:
    """As it can be stored: a number, words, or words by language."""
    if isinstance(value, int | float | bool):
        return value
    return dict(value) if isinstance(value, Mapping) else str(value)


def _said(value: Any, language: str) -> Any:
    if isinstance(value, Mapping):
        return value[language]
    return _SOURCES.get(value, value) if language == "zh" and isinstance(value, str) else value


def error_classes() -> dict[str, type[StudioError]]:
    """Every error by its code."""
    found: dict[str, type[StudioError]] = {}
    waiting: list[type[StudioError]] = [StudioError]
    while waiting:
        kind = waiting.pop()
        found[kind.__name__] = kind
        waiting.extend(kind.__subclasses__())
    return found
