"""One dataset from several, and two from one. Stored files are copied, never decoded."""

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sa_engine.dataset.duplicates import plan_merge
from sa_engine.dataset.manifest import Manifest, Option, open_output
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageRecord, ImageStatus, MaskRecord
from sa_engine.dataset.shards.claims import claim
from sa_engine.dataset.shards.writer import ShardWriter, clear_scratch, pending_shards
from sa_engine.dataset.sources.source_list import SourceList
from sa_engine.errors import LeaseLost, UsageError

_POLL_S = 1.0

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeReport:
    """What a merge made of its datasets.

    num_images: images of the merged dataset, failures included.
    duplicate_images: images that were in it already, by content; their masks were united.
    kept_apart: images of equal content that are stored at different sizes, so that their masks do
        not fit together; each was kept.
    num_masks: masks of the merged dataset.
    duplicate_masks: masks left out since their image had the very same one.
    """

    num_images: int
    duplicate_images: int
    kept_apart: int
    num_masks: int
    duplicate_masks: int


@dataclass(frozen=True, slots=True)
class SplitReport:
    """Images of the two parts, failures included."""

    num_train: int
    num_val: int


def merge(
    datasets: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    images_per_shard: int | None = None,
    progress: Progress | None = None,
) -> MergeReport:
    """Put the images and masks of several complete datasets into a new one.

    Images come in the order of the datasets, with new ids. An image that several have (the same
    source file, stored at the same size) comes once, with the masks of all; a mask that repeats
    another of its image is left out, unless both name different annotators or categories. An image
    that failed in one dataset and went through in another is taken from the other.

    images_per_shard: of the new dataset; None for the first dataset's.

    The same call continues an interrupted merge. Raises UsageError for paths that are no datasets
    or an `out` that holds something else, DatasetError for incomplete datasets.
    """
    if not datasets:
        raise UsageError("give at least one dataset to merge")
    parts = [Dataset(path) for path in datasets]
    plan = plan_merge(parts)
    stages = {part.manifest.stage for part in parts}
    models = {part.manifest.model for part in parts}
    firsts = plan.rows[plan.starts[:-1]]
    listing = SourceList.joined([part.inputs().all() for part in parts]).take(firsts)
    manifest = Manifest(
        stage=stages.pop() if len(stages) == 1 else None,
        model=models.pop() if len(models) == 1 else None,
        options={"merge": [part.digest() for part in parts]},
        num_images=len(firsts),
        images_per_shard=images_per_shard or parts[0].manifest.images_per_shard,
    )
    bases = np.cumsum([0, *map(len, parts)])

    def make(image_id: int) -> tuple[ImageRecord, bytes | None]:
        rows = plan.rows[plan.starts[image_id - 1] : plan.starts[image_id]]
        members = []
        for row in rows:
            which = int(np.searchsorted(bases, row, side="right")) - 1
            members.append((parts[which], parts[which][int(row - bases[which])]))
        return _united(members, image_id)

    _write(out, manifest, listing, make, progress)
    num_masks = _count_masks(Dataset(out))
    return MergeReport(
        num_images=len(firsts),
        duplicate_images=plan.duplicates,
        kept_apart=plan.kept_apart,
        num_masks=num_masks,
        duplicate_masks=sum(map(_count_masks, parts)) - num_masks,
    )


def split(
    dataset: str | os.PathLike[str],
    out_train: str | os.PathLike[str],
    out_val: str | os.PathLike[str],
    *,
    fraction: float,
    progress: Progress | None = None,
) -> SplitReport:
    """Divide a complete dataset in two by a hash of each image's content.

    fraction: share of images that go to `out_val`, in (0, 1); each image is drawn by itself, so the
        share is met on average, and an image stays on its side whatever else the dataset holds.
        A part of an earlier split is divided by the draws that fell into it.

    The same call continues an interrupted split. Raises UsageError for a fraction out of range, a
    path that is no dataset, or outputs that hold something else.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"the validation share must be between 0 and 1, not {fraction}")
    whole = Dataset(dataset)
    low, high = _draws_of(whole)
    border = low + fraction * (high - low)
    is_val = np.fromiter(
        (_draw(key) < border for key in _split_keys(whole)), dtype=np.bool_, count=len(whole)
    )
    digest = whole.digest()
    listing = whole.inputs().all()
    counts = []
    for name, out, chosen, draws in (
        ("train", out_train, ~is_val, [border, high]),
        ("val", out_val, is_val, [low, border]),
    ):
        positions = np.flatnonzero(chosen)
        manifest = Manifest(
            stage=whole.manifest.stage,
            model=whole.manifest.model,
            options={
                **whole.manifest.options,
                "split": name,
                "split_draws": draws,
                "split_fraction": fraction,
                "split_of": digest,
            },
            num_images=len(positions),
            images_per_shard=whole.manifest.images_per_shard,
        )

        def make(
            image_id: int, positions: NDArray[np.intp] = positions
        ) -> tuple[ImageRecord, bytes | None]:
            record = whole[int(positions[image_id - 1])]
            return _united([(whole, record)], image_id)

        _write(out, manifest, listing.take(positions), make, progress)
        counts.append(len(positions))
    return SplitReport(*counts)


def subset(
    dataset: str | os.PathLike[str],
    out: str | os.PathLike[str],
    positions: Sequence[int],
    *,
    options: Mapping[str, Option] | None = None,
    progress: Progress | None = None,
) -> None:
    """Put the images at some positions of a dataset (see `Dataset`) into a new one, in that order.

    options: of the new dataset's manifest, beside those of the dataset and its digest.

    The same call continues an interrupted one. Raises UsageError for a path that is no dataset, or
    an `out` that holds something else.
    """
    whole = Dataset(dataset, allow_incomplete=True)
    chosen = np.asarray(positions, dtype=np.intp)
    manifest = Manifest(
        stage=whole.manifest.stage,
        model=whole.manifest.model,
        options={**whole.manifest.options, **(options or {}), "subset_of": whole.digest()},
        num_images=len(chosen),
        images_per_shard=whole.manifest.images_per_shard,
    )

    def make(image_id: int) -> tuple[ImageRecord, bytes | None]:
        return _united([(whole, whole[int(chosen[image_id - 1])])], image_id)

    ids = [whole[int(position)].image_id for position in chosen]
    listing = whole.inputs().all().take(np.array(ids, dtype=np.intp) - 1)
    _write(out, manifest, listing, make, progress)


def _split_keys(dataset: Dataset) -> Iterator[str]:
    """What each image is drawn by: its content, or its name where that could not be read."""
    for index in dataset.shard_indices:
        columns = dataset.columns(index, ("sha256", "source"))
        for digest, source in zip(columns["sha256"], columns["source"], strict=True):
            yield digest or source


def _draws_of(dataset: Dataset) -> tuple[float, float]:
    """The least draw of an image of the dataset, and the end of its draws: those of its part."""
    known = dataset.manifest.options.get("split_draws")
    return (float(known[0]), float(known[1])) if isinstance(known, list) else (0.0, 1.0)


def _draw(key: str) -> float:
    """A number in [0, 1) that depends on the key alone."""
    digest = hashlib.sha256(f"split {key}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _united(
    members: Sequence[tuple[Dataset, ImageRecord]], image_id: int
) -> tuple[ImageRecord, bytes | None]:
    """One image from its records in several datasets, and its stored file if any has it."""
    first = members[0][1]
    holders = [(part, record) for part, record in members if part.has_image(record)]
    name, data = first.file_name, None
    if holders:
        part, record = holders[0]
        name, data = record.file_name, part.read_image_bytes(record)
    if first.status is ImageStatus.OK:
        name = f"sa_{image_id}.{name.rpartition('.')[2]}"
    masks = first.annotations
    if len(members) > 1:
        masks = _without_repeats([mask for _, record in members for mask in record.annotations])
    attributes = {
        key: value for _, record in reversed(members) for key, value in record.attributes.items()
    }
    united = replace(
        first, image_id=image_id, file_name=name, annotations=masks, attributes=attributes
    )
    return united, data


def _without_repeats(masks: Sequence[MaskRecord]) -> tuple[MaskRecord, ...]:
    kept: list[MaskRecord] = []
    by_shape: dict[str, list[MaskRecord]] = {}
    for mask in masks:
        same = by_shape.setdefault(mask.segmentation.counts, [])
        if not any(_agree(mask, other) for other in same):
            same.append(mask)
            kept.append(mask)
    return tuple(kept)


def _agree(first: MaskRecord, second: MaskRecord) -> bool:
    pairs = ((first.annotator, second.annotator), (first.category, second.category))
    return all(a is None or b is None or a == b for a, b in pairs)


def _count_masks(dataset: Dataset) -> int:
    return sum(dataset.stats(index).num_masks for index in dataset.shard_indices)


def _write(
    out: str | os.PathLike[str],
    manifest: Manifest,
    listing: SourceList,
    make: Callable[[int], tuple[ImageRecord, bytes | None]],
    progress: Progress | None,
) -> None:
    """Write every shard that no one else is writing, until all are there."""
    manifest = open_output(out, manifest, listing)
    while pending := pending_shards(out, manifest):
        idle = True
        for index in pending:
            lease = claim(out, index)
            if lease is None:
                continue
            idle = False
            with (
                # Lost: this process was frozen until another one counted it as dead.
                contextlib.suppress(LeaseLost),
                lease,
                ShardWriter(out, index, manifest=manifest, lease=lease) as writer,
            ):
                while (image_id := writer.next_image_id) is not None:
                    writer.add(*make(image_id))
                    if progress is not None:
                        progress(image_id, manifest.num_images)
                writer.finish()
        if idle:
            # The rest is in the hands of others; one of them may die.
            time.sleep(_POLL_S)
    clear_scratch(out, manifest)
