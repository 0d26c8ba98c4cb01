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
|   |-- MoveError            a database that a history cannot be moved to
|   |-- WrongStorageError    a database and a storage that do not belong together
|   |-- ImportFileError      a file that cannot become part of the history
|   |-- ImageFileError       a file that can't be inspected
|   |-- InputImageError      a file that cannot be an input image
|   |-- InputCombinationError  input images that do not fit each other or the model
|   `-- ServerError          another studio that was asked over HTTP
|       |-- NoServerError        nobody answers there
|       |-- ServerDeniedError    it wants another token, or none of ours
|       |-- ServerVersionError   it is no studio of this version
|       `-- ServerRefusedError   it says no; its own sentence
|-- NotFoundError            a job or a picture that is not there (any more)
|-- ModelError               a model that cannot be used
|   |-- UnknownModelError    no catalogue entry and no folder of that name
|   |-- ModelFileError       a file of the model is missing, truncated or unsafe
|   |-- UnknownLoraError     no file of that name
|   |-- EmbeddingError       a textual inversion embedding that can't be used, or not with this model
|   |-- LoraFileError        a LoRA that can't be used, or not with this model
|   |-- UnavailableError     an option that this machine cannot follow
|   |-- ModelLoadError       the files are there, loading failed
|   `-- DownloadError        a hub did not give the model
|-- StorageError             the picture or the database could not be written
|   |-- DatabaseError        a database server refused, or did not answer
|   |-- DiskFullError
|   |   `-- NoRoomError
|   |-- NewerDatabaseError
|   |-- NotWritableError
|   `-- SharedStorageError   an object store refused, or did not answer
`-- RunError                 the job itself failed
    |-- WorkerDiedError      the worker process is gone; the job is run again
    |-- WorkerStartError     no worker process comes up
    |-- CrashLoopError       the worker process died of this job too often
    |-- OutOfMemoryError
    |-- CorruptImageError   NaN, Inf or a flat picture
    `-- GenerationError      anything else that the pipeline raised
Cancelled                    not an error: the user asked to stop

An error is a class (its `code`) and the values it was made with; it can be stored as a dictionary and read back, so that a
page can say it in the language of whoever looks. Sentences say what came, what is allowed and what to do.
"""

from __future__ import annotations

from core.errors.base import Cancelled, StudioError, error_classes
from core.errors.inputs import (
    BatchError,
    ConfigFileError,
    ImageFileError,
    ImageTooLargeError,
    ImportFileError,
    InputCombinationError,
    InputError,
    InputImageError,
    JobStateError,
    KeyReusedError,
    MoveError,
    NotFoundError,
    OptionConflictError,
    OptionError,
    PromptError,
    QueueFullError,
    SecretShownError,
    UnknownOptionError,
    WildcardError,
    WrongStorageError,
)
from core.errors.models import (
    DownloadError,
    EmbeddingError,
    LoraFileError,
    ModelError,
    ModelFileError,
    ModelLoadError,
    UnavailableError,
    UnknownLoraError,
    UnknownModelError,
)
from core.errors.runs import (
    CorruptImageError,
    CrashLoopError,
    GenerationError,
    OutOfMemoryError,
    RunError,
    UnexpectedError,
    WorkerDiedError,
    WorkerStartError,
)
from core.errors.servers import NoServerError, ServerDeniedError, ServerError, ServerRefusedError, ServerVersionError
from core.errors.storage import (
    DatabaseError,
    DatabaseUnavailableError,
    DiskFullError,
    FileAccessError,
    NewerDatabaseError,
    NoRoomError,
    NotWritableError,
    SharedStorageError,
    StorageError,
)
from core.i18n import LANGUAGES

__all__ = [
    "LANGUAGES",
    "BatchError",
    "Cancelled",
    "ConfigFileError",
    "CorruptImageError",
    "CrashLoopError",
    "DatabaseError",
    "DatabaseUnavailableError",
    "DiskFullError",
    "DownloadError",
    "EmbeddingError",
    "FileAccessError",
    "GenerationError",
    "ImageFileError",
    "ImageTooLargeError",
    "ImportFileError",
    "InputCombinationError",
    "InputError",
    "InputImageError",
    "JobStateError",
    "KeyReusedError",
    "LoraFileError",
    "ModelError",
    "ModelFileError",
    "ModelLoadError",
    "MoveError",
    "NewerDatabaseError",
    "NoRoomError",
    "NoServerError",
    "NotFoundError",
    "NotWritableError",
    "OptionConflictError",
    "OptionError",
    "OutOfMemoryError",
    "PromptError",
    "QueueFullError",
    "RunError",
    "SecretShownError",
    "ServerDeniedError",
    "ServerError",
    "ServerRefusedError",
    "ServerVersionError",
    "SharedStorageError",
    "StorageError",
    "StudioError",
    "UnavailableError",
    "UnexpectedError",
    "UnknownLoraError",
    "UnknownModelError",
    "UnknownOptionError",
    "WildcardError",
    "WorkerDiedError",
    "WorkerStartError",
    "WrongStorageError",
    "error_classes",
]
