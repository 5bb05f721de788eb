"""One tree of errors. Every message gives the value, the limit and what to do next.

SaEngineError
├── UsageError           the user's options or paths cannot work as given (exit status 2)
├── ImageError           one image cannot be read; recorded, the run goes on
├── CheckpointError      a weights file does not hold the model it should
├── DatasetError         a dataset on disk cannot be used or continued
│   └── DamagedError     bytes on disk disagree with their checksum or schema
├── AnnotationError      a foreign annotation file cannot be read at all
├── TrainingError        a training run cannot go on
└── InterruptedRun       stopped by a signal; the same command continues (exit status 130)
"""


class SaEngineError(Exception):
    """Base of every error that the engine raises on purpose (exit status 1)."""

    exit_status = 1


class UsageError(SaEngineError):
    """Options or paths that cannot work as given."""

    exit_status = 2


class ImageError(SaEngineError):
    """One image cannot be read. `reason` is a short stable word for counting.

    Reasons: "empty", "truncated", "not-an-image", "too-large", "unreadable", "missing".
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message


class CheckpointError(SaEngineError):
    """A weights file does not hold the model it should."""


class DatasetError(SaEngineError):
    """A dataset on disk cannot be used or continued."""


class DamagedError(DatasetError):
    """Bytes on disk disagree with their checksum or their schema."""


class AnnotationError(SaEngineError):
    """A foreign annotation file cannot be read at all."""


class TrainingError(SaEngineError):
    """A training run cannot go on."""


class InterruptedRun(SaEngineError):  # noqa: N818 - an interruption is not a fault
    """Stopped by a signal; the same command continues."""

    exit_status = 130
