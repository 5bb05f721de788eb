"""Writing the formats with a file per image: SA-1B, labelme, YOLO segmentation, PNG maps."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

from sa_engine.dataset.records import ImageRecord, MaskRecord
from sa_engine.dataset.shards import sa1b_json, tar
from sa_engine.formats.codecs import png
from sa_engine.formats.reasons import Lossy, Note, Tally
from sa_engine.formats.writers.base_writer import (
    ExportedImage,
    Survey,
    details,
    has_details,
    write_file,
)
from sa_engine.masks.polygons import PolygonPart, to_parts, to_single_ring
from sa_engine.masks.rle import decode_window

SA1B_IMAGES_PER_TAR = 11_186
"""As in the published shards."""

MOST_OBJECTS = 65_535
"""Objects that a 16-bit map can number."""

_NOT_OF_SOURCE = frozenset({"source_id", "category_id", "import", "boxes", "reading"})


class Sa1bWriter:
    """Writes tars of `sa_<id>.jpg` and `sa_<id>.json`. Nothing is lost.

    Fields beyond SA-1B's follow its own, as in the engine's shards.
    """

    def __init__(self, out: Path, survey: Survey) -> None:  # noqa: ARG002 - as every writer
        self._out = out
        self._count = 0
        self._length = 0
        self._path = out / "sa_000000.tar"
        self._file = self._path.open("wb")

    def add(self, image: ExportedImage, losses: Tally) -> None:  # noqa: ARG002
        """See `Writer.add`."""
        if self._count and self._count % SA1B_IMAGES_PER_TAR == 0:
            self.finish()
            self._length = 0
            self._path = self._out / f"sa_{self._count // SA1B_IMAGES_PER_TAR:06d}.tar"
            self._file = self._path.open("wb")
        self._count += 1
        record = image.record
        if image.load is not None:
            self._member(record.file_name, image.load())
        self._member(f"sa_{record.image_id}.json", _sa1b_json(image))

    def finish(self) -> None:
        """See `Writer.finish`."""
        self._file.write(tar.end_bytes(self._length))
        self._file.close()

    def _member(self, name: str, data: bytes) -> None:
        member = tar.member_bytes(name, data)
        self._file.write(member)
        self._length += len(member)


class LabelmeWriter:
    """Writes each picture with a JSON file beside it. Nothing is lost.

    A mask without holes becomes polygons, those of one mask with one `group_id`; one with holes
    becomes a `mask` shape. labelme keeps fields that it does not know.
    """

    def __init__(self, out: Path, survey: Survey) -> None:  # noqa: ARG002 - as every writer
        self._out = out

    def add(self, image: ExportedImage, losses: Tally) -> None:
        """See `Writer.add`."""
        record = image.record
        shapes: list[dict[str, Any]] = []
        groups = _Groups(record)
        for mask, mask_id in zip(record.annotations, image.mask_ids, strict=True):
            if mask.category is None:
                losses.add(Note(Lossy.CATEGORY_ADDED, f"mask {mask_id}"))
            shapes += _labelme_shapes(mask, mask_id, groups)
        extra = {
            key: value
            for key, value in record.attributes.items()
            if key not in _NOT_OF_SOURCE and key not in ("file_name", "version", "flags")
        }
        content = {
            "version": "5.5.0",
            "flags": record.attributes.get("flags") or {},
            "shapes": shapes,
            "imagePath": image.name.rpartition("/")[2],
            "imageData": None,
            "imageHeight": record.height,
            "imageWidth": record.width,
            **extra,
        }
        data = json.dumps(content, indent=1, allow_nan=False).encode("ascii")
        write_file(self._out / _with_ending(image.name, "json"), data)
        if image.load is not None:
            write_file(self._out / image.name, image.load())

    def finish(self) -> None:
        """Nothing is left to do."""


class YoloWriter:
    """Writes `images`, `labels` and `data.yaml`.

    One ring a mask: holes and further parts are joined by cuts without width, from which the
    even-odd rule makes the same mask again.
    """

    def __init__(self, out: Path, survey: Survey) -> None:
        self._out = out
        self._numbers = {name: number for number, name in enumerate(survey.category_ids)}
        self._none = survey.category_of_none
        lines = [
            "path: .",
            "train: images",
            "val: images",
            "names:",
            *(f"  {number}: {json.dumps(name)}" for name, number in self._numbers.items()),
        ]
        write_file(out / "data.yaml", ("\n".join(lines) + "\n").encode())

    def add(self, image: ExportedImage, losses: Tally) -> None:
        """See `Writer.add`."""
        record = image.record
        rows = []
        for mask, mask_id in zip(record.annotations, image.mask_ids, strict=True):
            parts = to_parts(mask.segmentation)
            _count_cuts(parts, mask, mask_id, losses)
            ring = to_single_ring(parts) / (record.width, record.height)
            name = self._none if mask.category is None else mask.category
            numbers = " ".join(f"{value:.10g}" for value in ring.reshape(-1))
            rows.append(f"{self._numbers[name or '']} {numbers}\n")
        path = self._out / "labels" / _with_ending(image.name, "txt")
        write_file(path, "".join(rows).encode("ascii"))
        if image.load is not None:
            write_file(self._out / "images" / image.name, image.load())

    def finish(self) -> None:
        """Nothing is left to do."""


class MapWriter:
    """Writes a 16-bit PNG a picture under `masks`, in which each pixel has one object's number.

    Objects are numbered from 1 in the order of the masks; where masks overlap, the pixel is the
    smallest one's.
    """

    def __init__(self, out: Path, survey: Survey) -> None:  # noqa: ARG002 - as every writer
        self._out = out

    def add(self, image: ExportedImage, losses: Tally) -> None:
        """See `Writer.add`."""
        record = image.record
        labels = np.zeros((record.height, record.width), dtype=np.uint16)
        masks = record.annotations
        for mask, mask_id in zip(masks, image.mask_ids, strict=True):
            if mask.category is not None:
                losses.add(Note(Lossy.NO_CATEGORY, f"mask {mask_id}"))
            if has_details(mask):
                losses.add(Note(Lossy.NO_DETAILS, f"mask {mask_id}"))
        # The largest first, so that smaller ones lie on top.
        order = sorted(range(len(masks)), key=lambda place: (-masks[place].area, place))
        for place in order:
            if place < MOST_OBJECTS:
                window, (x, y) = decode_window(masks[place].segmentation)
                height, width = window.shape
                labels[y : y + height, x : x + width][window] = place + 1
        left = np.bincount(labels.reshape(-1), minlength=len(masks) + 1)[1:]
        for place, mask_id in enumerate(image.mask_ids):
            if left[place] == 0:
                losses.add(Note(Lossy.HIDDEN, f"mask {mask_id}"))
            elif left[place] < masks[place].area:
                losses.add(Note(Lossy.OVERLAPPED, f"mask {mask_id}"))
        write_file(self._out / "masks" / _with_ending(image.name, "png"), png.encode(labels))
        if image.load is not None:
            write_file(self._out / "images" / image.name, image.load())

    def finish(self) -> None:
        """Nothing is left to do."""


class _Groups:
    """Group numbers of labelme for masks of several parts, none of them taken by the source."""

    def __init__(self, record: ImageRecord) -> None:
        given = (mask.attributes.get("group_id") for mask in record.annotations)
        self._last = max((group for group in given if isinstance(group, int)), default=0)

    def next(self) -> int:
        self._last += 1
        return self._last


def _labelme_shapes(mask: MaskRecord, mask_id: int, groups: _Groups) -> list[dict[str, Any]]:
    parts = to_parts(mask.segmentation)
    extra = {k: v for k, v in mask.attributes.items() if k not in _NOT_OF_SOURCE}
    known = {
        "label": mask.category if mask.category is not None else "object",
        "group_id": None,
        "description": "",
        "flags": {},
        **extra,
        **details(mask, mask_id),
        **({"iscrowd": True} if mask.iscrowd else {}),
    }
    # A group of one's own, or shapes of other masks would join this one.
    known["group_id"] = groups.next() if len(parts) > 1 else None
    if not any(part.holes for part in parts):
        return [
            {**known, "points": part.outer.tolist(), "shape_type": "polygon", "mask": None}
            for part in parts
        ]
    window, (x, y) = decode_window(mask.segmentation)
    height, width = window.shape
    patch = base64.b64encode(png.encode_bits(window)).decode("ascii")
    corners = [[x, y], [x + width - 1, y + height - 1]]
    return [{**known, "group_id": None, "points": corners, "shape_type": "mask", "mask": patch}]


def _count_cuts(parts: list[PolygonPart], mask: MaskRecord, mask_id: int, losses: Tally) -> None:
    what = f"mask {mask_id}"
    if mask.category is None:
        losses.add(Note(Lossy.CATEGORY_ADDED, what))
    if any(part.holes for part in parts):
        losses.add(Note(Lossy.HOLES_CUT, what))
    if len(parts) > 1:
        losses.add(Note(Lossy.PARTS_CUT, what))
    if has_details(mask):
        losses.add(Note(Lossy.NO_DETAILS, what))


def _sa1b_json(image: ExportedImage) -> bytes:
    record = image.record
    content = {
        "image": {
            "image_id": record.image_id,
            "width": record.width,
            "height": record.height,
            "file_name": record.file_name,
            **{
                k: v
                for k, v in record.attributes.items()
                if k not in (*_NOT_OF_SOURCE, "file_name")
            },
        },
        "annotations": [
            sa1b_json.annotation_to_json(mask, mask_id)
            for mask, mask_id in zip(record.annotations, image.mask_ids, strict=True)
        ],
    }
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")


def _with_ending(name: str, ending: str) -> str:
    return name.rpartition(".")[0] + "." + ending
