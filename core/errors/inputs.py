"""What the user gave cannot be used, or is not there."""

from __future__ import annotations

from core.errors.base import StudioError


class InputError(StudioError):
    """What the user gave cannot be used."""


class OptionError(InputError):
    """`source` is where the value came from: a file, the environment, the command line or the form."""


class UnknownOptionError(InputError):
    """A key that no option has; `nearest` is the known key that looks most like it."""


class OptionConflictError(InputError):
    """Two names of one option (a former key, an alias) that are given different values in the same place."""


class ConfigFileError(InputError):
    """A YAML file that cannot be read."""


class SecretShownError(InputError):
    """A token on the command line: every user of the machine can read it there."""


class PromptError(InputError):
    """An empty prompt, or one longer than `allowed` characters."""


class WildcardError(InputError):
    """A template of a prompt that cannot be expanded."""


class BatchError(InputError):
    """Rows of a batch that cannot be used; `detail` names each."""


class KeyReusedError(InputError):
    """An idempotency key that came before with another request."""


class QueueFullError(InputError):
    """A client that has as many jobs in the queue as one may have."""


class JobStateError(InputError):
    """Something was asked of a job that its state does not allow."""


class ImportFileError(InputError):
    """A file that cannot become part of the history."""


class ImageFileError(InputError):
    """A file that can't be inspected."""


class InputImageError(InputError):
    """A file that cannot be an input picture."""


class ImageTooLargeError(InputImageError):
    """An image of more pixels than may be decoded."""


class InputCombinationError(InputError):
    """Input pictures that do not fit each other or the model; `problem` says what, and the cure."""


class WrongStorageError(InputError):
    """A database and a storage of pictures that do not belong together."""


class MoveError(InputError):
    """A database that a history can't be moved to."""


class NotFoundError(StudioError):
    """A job or a picture that is not there (any more)."""
