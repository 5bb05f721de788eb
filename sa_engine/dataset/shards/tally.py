"""Counts what passes on its way into a complete shard."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

from sa_engine.dataset.records import ImageStatus
from sa_engine.dataset.shards.journal import Entry
from sa_engine.dataset.shards.stats import FileSum, failure_reason


class ShardTally:
    """Images, masks, failures, seconds and bytes of a shard, as its stats have them.

    num_masks: masks of all images; seconds: time spent on the images.
    """

    def __init__(self) -> None:
        self.num_masks = 0
        self.seconds = 0.0
        self._failed: Counter[str] = Counter()
        self._tar_bytes = 0
        self._tar_sha256 = hashlib.sha256()

    def count(self, entry: Entry, row: Mapping[str, Any], data: bytes) -> None:
        """Count an image: its journal entry, its whole row, its stretch of the tar."""
        if row["status"] != ImageStatus.OK:
            self._failed[failure_reason(row["error"])] += 1
        self.num_masks += len(row["annotations"])
        self.seconds += entry.seconds
        self.end(data)

    def end(self, data: bytes) -> None:
        """Count what the tar ends with."""
        self._tar_bytes += len(data)
        self._tar_sha256.update(data)

    @property
    def num_failed(self) -> dict[str, int]:
        """Failures by reason, sorted."""
        return dict(sorted(self._failed.items()))

    @property
    def tar_sum(self) -> FileSum:
        """Length and digest of the tar so far."""
        return FileSum(self._tar_bytes, self._tar_sha256.hexdigest())
