"""The deep check of one shard: tar against rows, records against their rules, counts."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from sa_engine.dataset.folder.base import Folder
from sa_engine.dataset.images import reading
from sa_engine.dataset.manifest import Manifest
from sa_engine.dataset.records import ImageRecord, ImageStatus, MaskRecord
from sa_engine.dataset.shards import rows, sa1b_json, tar
from sa_engine.dataset.shards.pixel_check import picture_faults
from sa_engine.dataset.shards.stats import (
    ShardStats,
    failure_reason,
    parquet_name,
    stats_name,
    tar_name,
)
from sa_engine.dataset.sources.source_list import SourceList
from sa_engine.errors import ImageError
from sa_engine.masks import rle

_SHA256 = re.compile(r"^[0-9a-f]{64}$")
_ROWS_AT_ONCE = 16
_PREDICTED_IOU = (-1.0, 2.0)
"""A model's estimate may pass 0 and 1 by some tenths, and no more."""
_SLACK = 1.0
"""Pixels by which boxes and points may leave the image: tools round differently."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be.

    file: the file's name in the dataset.
    kind: short stable word for counting: "missing" (a file or shard is not there), "checksum" (its
        bytes changed), "stray" (it does not belong), "structure" (tar, Parquet or list are not
        built as they should be), "count" (numbers disagree), "record" (an image's or mask's values
        break a rule).
    message: what was found and what was expected.
    shard_index: the shard to make again, if it is one shard's.
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


class ShardCheck:
    """The deep checks of one shard whose bytes are as they were written."""

    def __init__(
        self,
        folder: Folder,
        manifest: Manifest,
        stats: ShardStats,
        index: int,
        sources: SourceList | None,
        *,
        pixels: bool = False,
    ) -> None:
        self._folder, self._pixels, self._options = folder, pixels, manifest.options
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
        span = rows.image_span(row)
        if self._pixels and span is not None:
            known = self._sources is not None and position < len(self._sources)
            source = self._sources[position] if known and self._sources is not None else None
            for message in picture_faults(self._read(span), record, source, self._options):
                yield self._problem("pixels", message, image_id)

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
        if text is not None and self._read(text) != sa1b_json.encode(record):
            yield "its JSON in the tar differs from its row"
        if image is not None:
            try:
                size = reading.read_size_hw(self._read(image))
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
    for name, value, (least, most) in (
        ("predicted_iou", mask.predicted_iou, _PREDICTED_IOU),
        ("stability_score", mask.stability_score, (0.0, 1.0)),
        ("box_score", mask.box_score, (0.0, 1.0)),
        ("time_spent_s", mask.time_spent_s, (0.0, math.inf)),
    ):
        if value is not None and not (math.isfinite(value) and least <= value <= most):
            yield f"{name} is {value}, not from {least:g} to {most:g}"
    yield from _place_faults(mask, size_hw)


def _place_faults(mask: MaskRecord, size_hw: tuple[int, int]) -> Iterator[str]:
    """Boxes and points that lie outside the image."""
    height, width = size_hw
    boxes = {"crop box": mask.crop_box_xywh, "prompt box": mask.prompt_box_xywh}
    for name, box in boxes.items():
        if box is None:
            continue
        x, y, w, h = box
        inside = min(x, y) >= -_SLACK and x + w <= width + _SLACK and y + h <= height + _SLACK
        if not (inside and w >= 0 and h >= 0):
            yield f"its {name} {box} lies outside the image of {width}x{height}"
    for x, y in mask.point_coords_xy:
        if not (-_SLACK <= x <= width + _SLACK and -_SLACK <= y <= height + _SLACK):
            yield f"its point ({x}, {y}) lies outside the image of {width}x{height}"
