"""What a worker tells of its work, to whoever watches the run."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ShardOpened:
    """A worker took up a shard, of which `num_done` images were done before."""

    shard_index: int
    num_done: int


@dataclass(frozen=True, slots=True)
class ImageStarted:
    """A worker has an image in hand."""

    shard_index: int
    image_id: int


@dataclass(frozen=True, slots=True)
class ImageDone:
    """An image is done. `error` is "reason: message" if it failed.

    is_retry: it had failed before, and was tried again.
    """

    image_id: int
    source: str
    num_masks: int
    error: str | None
    is_retry: bool = False


@dataclass(frozen=True, slots=True)
class ShardClosed:
    """A shard is complete."""

    shard_index: int


@dataclass(frozen=True, slots=True)
class ShardLost:
    """A worker counted as dead, and has a shard no more."""

    shard_index: int


@dataclass(frozen=True, slots=True)
class ShardRetried:
    """All images of a shard that had failed before were tried again."""

    shard_index: int


Event = ShardOpened | ImageStarted | ImageDone | ShardClosed | ShardLost | ShardRetried
Report = Callable[[Event], None]
