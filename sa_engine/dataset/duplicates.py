"""Which images of several datasets are the same, by the content of their source files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sa_engine.dataset.reader import Dataset


@dataclass(frozen=True, slots=True)
class MergePlan:
    """Rows of all datasets, counted through, that make each merged image.

    rows: row numbers, those of one image together, the first dataset's first.
    starts: where each image's rows begin in `rows`, and the end.
    """

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    duplicates: int
    kept_apart: int


def plan_merge(parts: Sequence[Dataset]) -> MergePlan:
    keys = np.concatenate([_keys(part) for part in parts])
    total = len(keys)
    # An image whose bytes could not be read is like no other.
    unread = np.flatnonzero(~keys["known"])
    keys["high"][unread] = unread
    order = np.lexsort([keys[name] for name in ("height", "width", "low", "high", "known")])
    ranked = keys[order]
    new_content = np.ones(total, dtype=np.bool_)
    new_content[1:] = np.any(
        [ranked[name][1:] != ranked[name][:-1] for name in ("low", "high", "known")], axis=0
    )
    new_group = new_content.copy()
    new_group[1:] |= np.any(
        [ranked[name][1:] != ranked[name][:-1] for name in ("height", "width")], axis=0
    )
    content, group = np.cumsum(new_content) - 1, np.cumsum(new_group) - 1
    went_through = ranked["width"] > 0
    content_ok = np.zeros(content[-1] + 1 if total else 0, dtype=np.bool_)
    content_ok[content[went_through]] = True
    # A failure gives way to the same image that went through elsewhere.
    kept = went_through | ~content_ok[content]
    rows, group, content = order[kept].astype(np.int64), group[kept], content[kept]
    begins = np.flatnonzero(np.diff(group, prepend=-1))
    sizes = np.diff(begins, append=len(rows))
    by_first = np.argsort(rows[begins], kind="stable")
    pieces = [rows[begins[k] : begins[k] + sizes[k]] for k in by_first]
    starts = np.concatenate(([0], np.cumsum(sizes[by_first]))).astype(np.int64)
    return MergePlan(
        np.concatenate(pieces) if pieces else rows,
        starts,
        duplicates=total - len(begins),
        kept_apart=len(begins) - len(np.unique(content)),
    )


_KEY = np.dtype(
    [
        ("high", np.uint64),
        ("low", np.uint64),
        ("known", np.bool_),
        ("width", np.int32),
        ("height", np.int32),
    ]
)


def _keys(dataset: Dataset) -> NDArray[np.void]:
    """What tells images apart: 128 bits of the content's SHA-256, and the stored size."""
    keys = np.zeros(len(dataset), dtype=_KEY)
    start = 0
    for digests, width, height in _light_batches(dataset):
        part = keys[start : start + len(digests)]
        part["known"] = [bool(text) for text in digests]
        # The first half of the digest is enough to tell images apart.
        halves = np.frombuffer(
            bytes.fromhex("".join(text[:32] or "0" * 32 for text in digests)), dtype=">u8"
        ).reshape(-1, 2)
        part["high"], part["low"] = halves[:, 0], halves[:, 1]
        part["width"], part["height"] = width, height
        start += len(digests)
    return keys


def _light_batches(
    dataset: Dataset,
) -> Iterator[tuple[list[str], NDArray[np.int32], NDArray[np.int32]]]:
    for index in dataset.shard_indices:
        columns = dataset.columns(index, ("sha256", "width", "height"))
        yield (
            columns["sha256"],
            np.array(columns["width"], dtype=np.int32),
            np.array(columns["height"], dtype=np.int32),
        )
