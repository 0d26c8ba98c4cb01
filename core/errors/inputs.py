"""What the user gave cannot be used, or is not there."""

from __future__ import annotations

from core.errors.base import StudioError


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


class OptionConflictError(InputError):
    """Two names of one option (a former key, an alias) that are given different values in the same place."""

    text = {
        "en": "{source}: {one} = {first} and {other} = {second} set the same option, {key}, to different values. "
        "Keep one of the two.",
        "zh": "{source}：{one} = {first} 与 {other} = {second} 是同一个选项（{key}），取值却不同。请只保留其中一个。",
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


class ImageFileError(InputError):
    """A file that can't be inspected."""

    text = {
        "en": "Cannot read {file}: {detail}. Allowed: image files such as PNG, JPEG and WebP.",
        "zh": "无法读取 {file}：{detail}。可用：PNG、JPEG、WebP 等图片文件。",
    }


class InputPictureError(InputError):
    """A file that cannot be an input picture."""

    text = {
        "en": "{file} cannot be used as a picture to start from: {detail}. Give a PNG, JPEG or WebP file.",
        "zh": "{file} 无法用作输入图片：{detail}。请提供 PNG、JPEG 或 WebP 文件。",
    }


class InputsError(InputError):
    """Input pictures that do not fit each other or the model; `problem` says what, and the cure."""

    text = {"en": "Input {role}: {problem}.", "zh": "输入 {role}：{problem}。"}


class WrongStorageError(InputError):
    """A database and a storage of pictures that do not belong together."""

    text = {
        "en": "The pictures of {database} are kept elsewhere than here: {path} says {found}, the database {wanted}. Check "
        "storage.images and whether its folder is mounted; if the pictures were moved, copy that file with them.",
        "zh": "{database} 的图片不在此处：{path} 为 {found}，数据库为 {wanted}。请检查 storage.images 及其文件夹是否已挂载；"
        "如果移动过图片，请一并复制该文件。",
    }


class MoveError(InputError):
    """A database that a history can't be moved to."""

    text = {
        "en": "The history was not moved to {target}: {detail}. Nothing was changed, here or there.",
        "zh": "历史未移动到 {target}：{detail}。两边均未改动。",
    }


class NotFoundError(StudioError):
    """A job or a picture that is not there (any more)."""

    text = {
        "en": "There is no {kind} with the id {came}; it may have been deleted. Choose another from the history.",
        "zh": "没有编号为 {came} 的 {kind}，可能已被删除。请从历史中另选一个。",
    }
