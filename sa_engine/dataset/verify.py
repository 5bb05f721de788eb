"""Finding any damage to a dataset: every byte is under a checksum, every record under the rules."""

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sa_engine.dataset import images, rows, sa1b, tar
from sa_engine.dataset.frozen import INPUTS_NAME, FrozenInputs
from sa_engine.dataset.manifest import MANIFEST_NAME, Manifest, read_manifest
from sa_engine.dataset.records import ImageRecord, ImageStatus, MaskRecord
from sa_engine.dataset.sources import SourceList
from sa_engine.dataset.stats import (
    FileSum,
    ShardStats,
    failure_reason,
    parquet_name,
    read_stats,
    stats_name,
    tar_name,
)
from sa_engine.dataset.storage import Folder, open_folder, sha256_of
from sa_engine.errors import DamagedError, DatasetError, ImageError
from sa_engine.masks import rle

_SHA256 = re.compile(r"^[0-9a-f]{64}$")
_ROWS_AT_ONCE = 16

COMPANIONS = frozenset({"import-report.json"})
"""Files beside the shards that tell how the dataset was made."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be.

    file: the file's name in the dataset.
    kind: short stable word for counting: "missing" (a file or shard is not there), "checksum" (its
        bytes changed), "stray" (it does not belong), "structure" (tar, Parquet or list are not
        built as they should be), "count" (numbers disagree), "record" (an image's or mask's values
        break a rule).
    message: what was found and what was expected.
    shard_index: the shard to make anew, if it is one shard's.
    image_id: the image, if it is one image's.
    """

    file: str
    kind: str
    message: str
    shard_index: int | None = None
    image_id: int | None = None

    def __str__(self) -> str:
        image = "" if self.image_id is None else f", image {self.image_id}"
        return f"{self.file}{image}: {self.kind}: {self.message}"


def verify(
    path: str | os.PathLike[str],
    *,
    deep: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> list[Problem]:
    """Every problem of a dataset, in the order of its files; an empty list if there is none.

    deep: besides all checksums, check tar against Parquet, each JSON, that RLE decodes, boxes and
        areas agree with masks, ids, and counts.
    progress: called with (shards done, shards in all).

    Raises UsageError if there is no dataset, DatasetError if another format version wrote it.
    """
    folder = open_folder(path)
    try:
        manifest = read_manifest(folder)
    except DamagedError as error:
        return [Problem(MANIFEST_NAME, "checksum", str(error))]
    return [*_verify_all(folder, manifest, deep, progress)]


def damaged_shards(problems: Iterable[Problem]) -> list[int]:
    """The shards that must be made anew, in order."""
    return sorted({each.shard_index for each in problems if each.shard_index is not None})


def _verify_all(
    folder: Folder,
    manifest: Manifest,
    deep: bool,
    progress: Callable[[int, int], None] | None,
) -> Iterator[Problem]:
    names = set(folder.names())
    yield from _strays(names, manifest)
    listed = list(_verify_inputs(folder, manifest))
    yield from listed
    inputs = FrozenInputs(folder) if deep and not listed else None
    for index in range(manifest.num_shards):
        yield from _verify_shard(folder, manifest, index, names, inputs, deep)
        if progress is not None:
            progress(index + 1, manifest.num_shards)


def _strays(names: set[str], manifest: Manifest) -> Iterator[Problem]:
    known = {MANIFEST_NAME, INPUTS_NAME, *COMPANIONS}
    for index in range(manifest.num_shards):
        known |= {tar_name(index), parquet_name(index), stats_name(index)}
    for name in sorted(names - known):
        yield Problem(name, "stray", "it does not belong to the dataset: move it elsewhere")


def _verify_inputs(folder: Folder, manifest: Manifest) -> Iterator[Problem]:
    size = folder.size(INPUTS_NAME)
    if size is None:
        yield Problem(INPUTS_NAME, "missing", "the list of images is not there")
        return
    with folder.open(INPUTS_NAME) as file:
        found = sha256_of(file)
    if found != manifest.inputs_sha256:
        yield Problem(INPUTS_NAME, "checksum", f"SHA-256 is {found}, not {manifest.inputs_sha256}")
        return
    listing: SourceList = FrozenInputs(folder).all()
    if len(listing) != manifest.num_images:
        yield Problem(INPUTS_NAME, "count", f"{len(listing)} images, not {manifest.num_images}")
    elif listing.digest() != manifest.sources_sha256:
        yield Problem(INPUTS_NAME, "structure", "its content is not what the manifest was made for")


def _verify_shard(
    folder: Folder,
    manifest: Manifest,
    index: int,
    names: set[str],
    inputs: FrozenInputs | None,
    deep: bool,
) -> Iterator[Problem]:
    if stats_name(index) not in names:
        yield Problem(stats_name(index), "missing", "the shard is not complete", index)
        return
    try:
        stats = read_stats(folder, index)
    except DatasetError as error:
        yield Problem(stats_name(index), "checksum", str(error), index)
        return
    if stats is None:
        yield Problem(stats_name(index), "missing", "the shard is not complete", index)
        return
    sums = ((tar_name(index), stats.tar), (parquet_name(index), stats.parquet))
    damaged = [problem for name, wanted in sums for problem in _sum(folder, name, wanted, index)]
    yield from damaged
    if damaged or not deep:
        return
    sources = None if inputs is None else inputs.shard(index)
    try:
        yield from _ShardCheck(folder, manifest, stats, index, sources).problems()
    except (DatasetError, pa.ArrowException, KeyError, TypeError, ValueError, OSError) as error:
        yield Problem(parquet_name(index), "structure", f"{type(error).__name__}: {error}", index)


def _sum(folder: Folder, name: str, wanted: FileSum, index: int) -> Iterator[Problem]:
    size = folder.size(name)
    if size is None:
        yield Problem(name, "missing", "its shard's stats say that it is complete", index)
        return
    if size != wanted.num_bytes:
        yield Problem(name, "checksum", f"{size} bytes, not {wanted.num_bytes}", index)
        return
    with folder.open(name) as file:
        found = sha256_of(file)
    if found != wanted.sha256:
        yield Problem(name, "checksum", f"SHA-256 is {found}, not {wanted.sha256}", index)


class _ShardCheck:
    """The deep checks of one shard whose bytes are as they were written."""

    def __init__(
        self,
        folder: Folder,
        manifest: Manifest,
        stats: ShardStats,
        index: int,
        sources: SourceList | None,
    ) -> None:
        self._folder = folder
        self._stats = stats
        self._index = index
        self._ids = manifest.image_ids(index)
        self._sources = sources
        self._failed: Counter[str] = Counter()
        self._masks = 0
        self._rows = 0

    def problems(self) -> Iterator[Problem]:
        with (
            self._folder.open(parquet_name(self._index)) as parquet,
            self._folder.open(tar_name(self._index)) as archive,
        ):
            file = pq.ParquetFile(parquet)
            if not file.schema_arrow.equals(rows.SCHEMA):
                yield self._problem("structure", "its columns are not the dataset's")
                return
            members = tar.members(archive)
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    yield from self._check_row(row, members)
            for member in members:
                yield self._problem("structure", f"{member.name!r} in the tar has no row")
        yield from self._check_counts()

    def _check_row(self, row: dict[str, Any], members: Iterator[tar.Member]) -> Iterator[Problem]:
        image_id = row["image_id"]
        if self._rows >= len(self._ids) or image_id != self._ids[self._rows]:
            yield self._problem("count", f"row {self._rows} is of image {image_id}", image_id)
        position, self._rows = self._rows, self._rows + 1
        record = rows.from_row(row)
        self._masks += len(record.annotations)
        if record.status is ImageStatus.FAILED:
            self._failed[failure_reason(record.error)] += 1
        ids = [item["id"] for item in row["annotations"]]
        if ids != [record.mask_id(k) for k in range(len(ids))]:
            yield self._problem("record", "its mask ids do not follow from its own", image_id)
        if self._sources is not None and position < len(self._sources):
            listed = self._sources[position].name
            if record.source != listed:
                yield self._problem(
                    "record", f"source {record.source!r}, but {listed!r} was listed", image_id
                )
        for message in _record_faults(record):
            yield self._problem("record", message, image_id)
        for message in self._member_faults(record, row, members):
            yield self._problem("structure", message, image_id)

    def _member_faults(
        self, record: ImageRecord, row: dict[str, Any], members: Iterator[tar.Member]
    ) -> Iterator[str]:
        image, text = rows.image_span(row), rows.json_span(row)
        if (text is not None) != (record.status is ImageStatus.OK):
            yield "it has JSON if, and only if, it went through: here that is not so"
        for span, name in ((image, record.file_name), (text, f"sa_{record.image_id}.json")):
            if span is None:
                continue
            member = next(members, None)
            if member != tar.Member(name, span.offset, span.size):
                yield f"the tar has {member} where {name!r} is to be at {span}"
                return
        if text is not None and self._read(text) != sa1b.encode(record):
            yield "its JSON in the tar differs from its row"
        if image is not None:
            try:
                size = images.read_size_hw(self._read(image))
            except ImageError as error:
                yield f"its stored file cannot be read: {error}"
            else:
                if size != (record.height, record.width):
                    yield f"its stored file is {size[1]}x{size[0]}, not as recorded"

    def _read(self, span: rows.Span) -> bytes:
        return self._folder.read_range(tar_name(self._index), span.offset, span.size)

    def _check_counts(self) -> Iterator[Problem]:
        pairs = (
            ("shard index", self._stats.shard_index, self._index),
            ("first image id", self._stats.first_image_id, self._ids[0]),
            ("images", self._stats.num_images, len(self._ids)),
            ("rows", self._rows, len(self._ids)),
            ("masks", self._stats.num_masks, self._masks),
            ("failures", dict(self._stats.num_failed), dict(self._failed)),
        )
        for what, stated, found in pairs:
            if stated != found:
                yield Problem(
                    stats_name(self._index), "count", f"{what}: {stated}, not {found}", self._index
                )

    def _problem(self, kind: str, message: str, image_id: int | None = None) -> Problem:
        return Problem(parquet_name(self._index), kind, message, self._index, image_id)


def _record_faults(record: ImageRecord) -> Iterator[str]:
    if record.status is ImageStatus.FAILED:
        if not record.error:
            yield "it failed without a reason"
        if record.annotations or record.file_name or record.width or record.height:
            yield "it failed and yet has a file, a size or masks"
        return
    if record.error is not None:
        yield f"it went through and yet has the error {record.error!r}"
    if record.width < 1 or record.height < 1:
        yield f"its size is {record.width}x{record.height}"
    if not re.fullmatch(rf"sa_{record.image_id}\.[a-z0-9]+", record.file_name):
        yield f"its file name is {record.file_name!r}"
    if not _SHA256.match(record.sha256):
        yield f"its SHA-256 is {record.sha256!r}"
    for position, mask in enumerate(record.annotations):
        for fault in _mask_faults(mask, (record.height, record.width)):
            yield f"mask {record.mask_id(position)}: {fault}"


def _mask_faults(mask: MaskRecord, size_hw: tuple[int, int]) -> Iterator[str]:
    if mask.segmentation.size_hw != size_hw:
        yield f"it is {mask.segmentation.size_hw} (height, width) in an image of {size_hw}"
    try:
        runs = rle.runs(mask.segmentation)
    except ValueError as error:
        yield str(error)
        return
    area = int(runs[1::2].sum())
    if not area:
        yield "it is empty"
        return
    if mask.area != area:
        yield f"area {mask.area}, but it has {area} pixels"
    box = rle.bbox_xywh(mask.segmentation)
    if mask.bbox_xywh != box:
        yield f"box {mask.bbox_xywh}, but it lies in {box}"
    for name, value in (
        ("predicted_iou", mask.predicted_iou),
        ("stability_score", mask.stability_score),
        ("box_score", mask.box_score),
        ("time_spent_s", mask.time_spent_s),
    ):
        if value is not None and not math.isfinite(value):
            yield f"{name} is {value}"
