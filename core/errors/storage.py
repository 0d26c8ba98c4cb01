"""The picture or the database could not be written."""

from __future__ import annotations

from core.errors.base import StudioError


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


class NoRoomError(DiskFullError):
    """Not even the database can write: no job can be finished, and none can say so."""

    text = {
        "en": "The disk of {path} has no room left even for the database, so what runs can't end and nothing new can "
        "begin. Free some space: everything then goes on by itself.",
        "zh": "{path} 所在磁盘已无空间，连数据库都无法写入：正在运行的任务无法结束，也无法开始新任务。"
        "请腾出空间，之后一切会自动继续。",
    }


class NotWritableError(StorageError):
    """The output directory refuses to be written to."""

    text = {
        "en": "{path} is not writable. Change its permissions or choose another folder with output.directory.",
        "zh": "{path} 不可写。请修改权限，或用 output.directory 另选文件夹。",
    }


class DatabaseError(StorageError):
    """A database server refused, or did not answer."""

    text = {
        "en": "The database {path} says: {detail}. Check that its server runs and lets this machine in (storage.database, "
        "PGPASSWORD or PGPASSFILE), then try again.",
        "zh": "数据库 {path} 报告：{detail}。请检查其服务器是否运行、是否允许本机连接"
        "（storage.database、PGPASSWORD 或 PGPASSFILE），然后重试。",
    }


class NewerDatabaseError(StorageError):
    """The database was brought up to a version that this program does not know."""

    text = {
        "en": "{path} was written by a newer version of the studio (database {came}, this one knows {known}). Start that "
        "version, or choose another folder with output.directory. Nothing was changed.",
        "zh": "{path} 由更新版本的工作室写入（数据库版本 {came}，本版本只认识到 {known}）。请使用那个版本，"
        "或用 output.directory 另选文件夹。未作任何改动。",
    }


class SharedStorageError(StorageError):
    """An object store refused, or did not answer."""

    text = {
        "en": "{path}: the storage says: {detail}. Check storage.images, and the keys in the environment (AWS_ACCESS_KEY_ID, "
        "AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL), then try again.",
        "zh": "{path}：存储报告：{detail}。请检查 storage.images 和环境变量中的密钥（AWS_ACCESS_KEY_ID、"
        "AWS_SECRET_ACCESS_KEY、AWS_ENDPOINT_URL），然后重试。",
    }
