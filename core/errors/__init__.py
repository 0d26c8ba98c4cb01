"""Define every error that a user can meet; the messages are in `core.i18n`.

StudioError
|-- InputError               unusable user input (command line: exit code 2)
|   |-- OptionError          a value of the wrong type or out of range
|   |-- UnknownOptionError   a key that no option has
|   |-- ConfigFileError      a YAML file that cannot be read
|   |-- SecretShownError     a secret on the command line
|   |-- PromptError          an empty or endless prompt
|   |-- WildcardError        a template with unbalanced braces or unknown names
|   |-- BatchError           rows of a batch that cannot be used
|   |-- QueueFullError       one client has too many jobs in the queue
|   |-- AdminOnlyError       an action of admins, asked for by another user
|   |-- InputQuotaError      more input images within a day than may be stored
|   |-- KeyReusedError       an idempotency key that was used with another request
|   |-- JobStateError        an action that the state of the job does not allow
|   |-- MoveError            a database that the history cannot be copied to
|   |-- WrongStorageError    a database and a storage that do not belong together
|   |-- ImportFileError      a file that cannot be imported into the history
|   |-- ImageFileError       a file that can't be inspected
|   |-- InputImageError      a file that cannot be an input image
|   |-- InputCombinationError  input images that do not fit each other or the model
|   `-- ServerError          another studio, asked over HTTP
|       |-- NoServerError        no answer from its address
|       |-- ServerDeniedError    it does not accept the token
|       |-- ServerVersionError   not a studio, or one of another version
|       `-- ServerRefusedError   it refused the request; `reason` is its message
|-- NotFoundError            a job or an image that does not exist (any more)
|-- ModelError               a model that cannot be used
|   |-- UnknownModelError    no catalogue entry and no folder of that name
|   |-- ModelFileError       a file of the model is missing, truncated or unsafe
|   |-- UnknownLoraError     no file of that name
|   |-- EmbeddingError       a textual inversion embedding that can't be used, or not with this model
|   |-- UpscalerError        an upscaler that is not there or can't be used
|   |-- ControlNetError      a ControlNet that is not there, or can't be used with this model
|   |-- LoraFileError        a LoRA that can't be used, or not with this model
|   |-- UnavailableError     an option that this machine does not support
|   |-- ModelLoadError       the files are there, loading failed
|   `-- DownloadError        a download from a hub failed
|-- StorageError             the image or the database could not be written
|   |-- DatabaseError        a database server refused, or did not answer
|   |-- DiskFullError
|   |   `-- NoRoomError
|   |-- NewerDatabaseError
|   |-- NotWritableError
|   `-- SharedStorageError   an object store refused, or did not answer
`-- RunError                 the job itself failed
    |-- WorkerDiedError      the worker process is gone; the job is run again
    |-- WorkerStartError     no worker process starts
    |-- CrashLoopError       the worker process died too often on this job
    |-- OutOfMemoryError
    |-- CorruptImageError   NaN, Inf or an image of one color
    `-- GenerationError      anything else that the pipeline raised
Cancelled                    not an error: the user cancelled

An error is a class (its `code`) and its values, which mypy checks as keyword arguments of the constructor. It is stored as a
dictionary and read back, so that a page shows it in the language of its reader. Messages say what the value was, what is allowed
and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from core.errors.base import Cancelled as Cancelled
from core.errors.base import StudioError as StudioError
from core.errors.base import Text as Text
from core.errors.base import error_classes as error_classes
from core.i18n import LANGUAGES as LANGUAGES
from core.i18n import localize


class InputError(StudioError):
    """Unusable user input."""


class OptionError(InputError):
    """`source` is the origin of the value: a file, the environment, the command line or the form."""

    source: str
    key: str
    value: object
    allowed: Text | float


class UnknownOptionError(InputError):
    """A key that no option has; `nearest` is the known key that looks most like it."""

    source: str
    key: str
    nearest: str


class OptionConflictError(InputError):
    """Two names of one option (a former key, an alias) that are given different values in the same place."""

    source: str
    key: str
    one: str
    first: object
    other: str
    second: object


class ConfigFileError(InputError):
    """A YAML file that cannot be read."""

    source: str
    detail: Text


class SecretShownError(InputError):
    """A token on the command line: every user of the machine can read it there."""

    key: str
    variable: str


class PromptError(InputError):
    """An empty prompt, or one longer than `allowed` characters."""

    key: str
    value: object
    allowed: Text | float


class WildcardError(InputError):
    """A template of a prompt that cannot be expanded."""

    value: object
    allowed: Text | float
    file: str | Path = ""


class BatchError(InputError):
    """Rows of a batch that cannot be used; `detail` names each."""

    source: str
    count: int
    detail: Text


class KeyReusedError(InputError):
    """An idempotency key that was used with another request."""

    key: str


class QueueFullError(InputError):
    """One client has too many jobs in the queue."""

    allowed: Text | float


class AdminOnlyError(InputError):
    """An action of admins, asked for by another user."""


class InputQuotaError(InputError):
    """More input images within a day than may be stored."""

    value: object
    allowed: Text | float


class JobStateError(InputError):
    """An action that the state of the job does not allow."""

    job: str
    state: str
    action: str
    allowed: Text | float


class ImportFileError(InputError):
    """A file that cannot be imported into the history."""

    file: str | Path
    detail: Text


class ImageFileError(InputError):
    """A file that can't be inspected."""

    file: str | Path
    detail: Text


class InputImageError(InputError):
    """A file that cannot be an input image."""

    file: str | Path
    detail: Text = ""


class ImageTooLargeError(InputImageError):
    """An image of more pixels than may be decoded."""

    value: object
    allowed: Text | float


class InputCombinationError(InputError):
    """Input images that do not fit each other or the model; `problem` says what, and the cure."""

    role: str
    problem: Text


class WrongStorageError(InputError):
    """A database and an image storage that do not belong together."""

    database: object
    path: str | Path
    wanted: str
    found: str


class MoveError(InputError):
    """A database that the history cannot be copied to."""

    target: str
    detail: Text


class NotFoundError(StudioError):
    """A job or an image that does not exist (any more)."""

    kind: str
    value: object


class ServerError(InputError):
    """Another studio, asked over HTTP. `server` is its address without any secret."""

    server: str


class NoServerError(ServerError):
    """No answer from its address, or the connection was lost."""

    detail: Text


class ServerDeniedError(ServerError):
    """It does not accept the token."""

    reason: Text
    variable: str


class ServerVersionError(ServerError):
    """The answer is not that of a studio, or of one of another version."""

    value: object
    allowed: Text | float


class ServerRefusedError(ServerError):
    """It refused the request; `reason` is its message."""

    reason: Text


class ModelError(StudioError):
    """A model that cannot be used."""


class UnknownModelError(ModelError, InputError):
    """Neither a catalogue entry nor a folder."""

    value: object
    known: object


class ModelFileError(ModelError, InputError):
    """A file of the model is missing, truncated or unsafe; `problem` says which, and the cure.

    `kind`: the reason's key in `core.models.validation.PROBLEMS`, for those that decide by it.
    """

    model: str
    file: str | Path
    problem: Text

    kind = ""


class ModelLoadError(ModelError):
    """The files are there, loading failed."""

    model: str
    detail: Text


class UnavailableError(ModelError, InputError):
    """An option that this machine does not support; `reason` says what is missing."""

    key: str
    value: object
    reason: Text


class UnknownLoraError(ModelError, InputError):
    """No file of that name in the folders of LoRAs; `nearest` looks most like it."""

    value: object
    nearest: str


class LoraFileError(ModelError, InputError):
    """A LoRA that can't be used, or not with this model; `problem` says why, and the cure."""

    name: str
    problem: Text


class UpscalerError(ModelError, InputError):
    """An upscaler that is not there or can't be used; `problem` says why, and the cure."""

    key: str
    name: str
    problem: Text


class ControlNetError(ModelError, InputError):
    """A ControlNet that is not there, or can't be used with this model or with others; `problem` says why, and the cure."""

    name: str
    problem: Text


class EmbeddingError(ModelError, InputError):
    """A textual inversion embedding that can't be used, or not with this model; `problem` says why, and the cure."""

    name: str
    problem: Text


class DownloadError(ModelError):
    """A download from a hub failed or returned something else; `problem` says which, and the cure."""

    model: str
    source: str
    problem: Text


class StorageError(StudioError):
    """The image or the database could not be written.

    `temporary` errors go away by themselves, when a server or a store is back: jobs wait for that.
    """

    path: str | Path
    detail: Text = ""

    temporary = False


class FileAccessError(StorageError):
    """A file or folder that the program has no permission to use."""


class DiskFullError(StorageError):
    """No space left on the device."""


class NoRoomError(DiskFullError):
    """The database cannot write either: no job can be finished or marked as failed."""


class NotWritableError(StorageError):
    """The output directory is not writable."""


class DatabaseError(StorageError):
    """A database server refused."""


class DatabaseUnavailableError(DatabaseError):
    """A database server does not answer, is starting or stopping, or can't write at present."""

    temporary = True


class DatabaseDamagedError(StorageError):
    """The database's file is damaged, or is no database."""


class DatabaseLockedError(StorageError):
    """Another program keeps the database's file locked."""

    seconds: float

    temporary = True


class NewerDatabaseError(StorageError):
    """The database was brought up to a version that this program does not know."""

    value: object
    known: object


class SharedStorageError(StorageError):
    """An object store refused, or did not answer."""

    temporary = True


class RunError(StudioError):
    """The job itself failed."""


class WorkerDiedError(RunError):
    """The worker process is gone; the job waits to be run again, and its finished images are kept."""

    detail: Text


class WorkerStartError(RunError):
    """Workers exit before they take a job; `log` is the end of their log."""

    times: int
    detail: Text
    log: str | Path


class CrashLoopError(RunError):
    """The worker process died so often on this job that it is not run again automatically."""

    crashes: int
    detail: Text


class OutOfMemoryError(RunError):
    """Neither the GPU nor the machine had enough memory."""

    device: str
    width: int
    height: int


class CorruptImageError(RunError):
    """NaN, Inf or an image of one color, which is never saved. `cure` is a sentence; there is a default."""

    component: str
    value: Text
    step: int
    cure: Text = ""

    usual_cure: ClassVar[Mapping[str, str]] = localize("errors.runs.set_model_dtype_to_float32_and")

    def __init__(self, *, component: str, value: Text, step: int, cure: Text | None = None) -> None:
        super().__init__(component=component, value=value, step=step, cure=self.usual_cure if cure is None else cure)


class GenerationError(RunError):
    """Anything else that the pipeline raised."""

    detail: Text


class UnexpectedError(RunError):
    """A bug of the program; `path` is the file with the traceback."""

    detail: Text
    path: str | Path
