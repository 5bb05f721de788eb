"""One tree of errors. Every message gives the value, the limit and what to do next.

SaEngineError
├── UsageError           the user's options or paths cannot work as given (exit status 2)
├── ImageError           one image cannot be read; recorded, the run goes on
├── CheckpointError      a weights file does not hold the model it should
├── DatasetError         a dataset on disk cannot be used or continued
│   ├── IncompleteError  shards of it are missing (exit status 5)
│   ├── DamagedError     bytes on disk disagree with their checksum or schema
│   └── LeaseLost        another worker has taken over the shard
├── Irreparable          what is left of a shard does not say what it was
├── StageUnavailable     the stage that could make a shard again cannot be had
├── BrokenWorker         what a worker needs has failed for good; another one is started
├── OutputError          a file cannot be written: the disk is full, or may not be written to
├── AnnotationError      a foreign annotation file cannot be read at all
├── TrainingError        a training run cannot go on
├── NotDone              a step of a loop that is looked for has not been made
├── WaitingForPeople     the loop waits for corrections (exit status 4)
├── RefusedRequest       a browser's request that cannot be served
└── InterruptedRun       stopped by a signal; the same command continues (exit status 130)
"""

from enum import IntEnum
from pathlib import Path


class ExitStatus(IntEnum):
    """What `sa-engine` ends with."""

    DONE = 0
    ERROR = 1
    """An engine error; of `verify`: there is damage."""
    USAGE = 2
    SOME_FAILED = 3
    """Done, but some images failed."""
    WAITING = 4
    """Waiting for people, who are to correct proposals."""
    INCOMPLETE = 5
    """Something is missing: shards of a dataset, or images that annotations name."""
    INTERRUPTED = 130
    """Stopped by a signal."""


class SaEngineError(Exception):
    """Base of every error that the engine raises on purpose (exit status 1)."""

    exit_status = ExitStatus.ERROR


class UsageError(SaEngineError):
    """Options or paths that cannot work as given."""

    exit_status = ExitStatus.USAGE


class ImageError(SaEngineError):
    """One image cannot be read. `reason` is a short stable word for counting.

    Reasons: "empty", "truncated", "damaged", "not-an-image", "unsupported", "too-large",
    "too-costly", "unreadable", "missing".
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


class IncompleteError(DatasetError):
    """Shards of a dataset are missing."""

    exit_status = ExitStatus.INCOMPLETE


class DamagedError(DatasetError):
    """Bytes on disk disagree with their checksum or their schema."""


class OutputError(SaEngineError):
    """A file cannot be written: the disk is full, or may not be written to."""


class AnnotationError(SaEngineError):
    """A foreign annotation file cannot be read at all."""


class TrainingError(SaEngineError):
    """A training run cannot go on."""


class InterruptedRun(SaEngineError):  # noqa: N818 - an interruption is not a fault
    """Stopped by a signal; the same command continues."""

    exit_status = ExitStatus.INTERRUPTED


class WaitingForPeople(SaEngineError):  # noqa: N818 - a state, not a fault
    """The loop cannot resume until people have corrected proposals; the message says what to do."""

    exit_status = ExitStatus.WAITING


class Irreparable(SaEngineError):  # noqa: N818 - what it is, in one word
    """What is left does not say what the shard was; the message says what is missing."""


class LeaseLost(DatasetError):  # noqa: N818 - what happened, in one word
    """Another worker has taken over the shard."""


class NotDone(SaEngineError):  # noqa: N818 - a state, not a fault
    """A step that is looked for has not been made yet.

    seconds: that were spent on it so far; None if it was not begun.
    """

    def __init__(self, kind: str, label: str, folder: Path, seconds: float | None) -> None:
        super().__init__(f"{label} has not been made yet")
        self.kind = kind
        self.label = label
        self.folder = folder
        self.seconds = seconds


class BrokenWorker(SaEngineError):  # noqa: N818 - what has become of it
    """What this process needs has failed for good (a GPU that answers no more): start another."""


class StageUnavailable(SaEngineError):  # noqa: N818 - what it is, in one word
    """The stage cannot be had."""


class RefusedRequest(SaEngineError):  # noqa: N818 - what happens to it
    """A browser's request that cannot be served.

    status: of HTTP. code: short and stable, for the page. details: further JSON values.
    """

    def __init__(self, status: int, code: str, message: str, **details: object) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.details = details
