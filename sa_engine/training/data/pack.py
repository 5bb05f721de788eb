"""A training set in one file: images of one or several datasets, encoded again, and their masks.

What travels to a machine that trains, and is in its memory within seconds. The file is Parquet, one
row an image: the set's name, the size, the image as WebP, the masks as COCO RLE with their stages.
Images larger than asked for are made smaller, and their masks with them; groups of objects
(`iscrowd`) are left out, as training leaves them out. Sets' digests and weights are in the file's
metadata, so that a run by a pack has the same card whoever made the trip.
"""

import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from sa_engine.dataset.folder.draft import written_whole
from sa_engine.dataset.records import ImageRecord, ImageStatus, MaskRecord, Stage
from sa_engine.errors import DamagedError, DatasetError, ImageError, UsageError
from sa_engine.masks import rle
from sa_engine.training.available import available_bytes
from sa_engine.training.data.photos import ImageSet, usable_records

Rgb = NDArray[np.uint8]

_KEY = b"sa_engine_pack"
_VERSION = 1
_ROWS_AT_ONCE = 64
_RESIDENT_SHARE = 0.25
"""Decoded images stay in memory while they take no more than this share of what is free."""

_SCHEMA = pa.schema(
    [
        ("set", pa.string()),
        ("source", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("image", pa.binary()),
        ("masks", pa.list_(pa.struct([("counts", pa.string()), ("stage", pa.string())]))),
    ]
)
_MASK_COLUMNS = ("masks.list.element.counts", "masks.list.element.stage")
_SMALL = ("set", "source", "width", "height", *_MASK_COLUMNS)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackConfig:
    """How images are packed.

    image_size: longest side of a packed image, pixels; smaller images keep their size.
    quality: of WebP, 1 to 100.
    """

    image_size: int = 1024
    quality: int = 85

    def __post_init__(self) -> None:
        if self.image_size < 16:
            raise ValueError(f"image_size is {self.image_size}; give at least 16")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality is {self.quality}; give a value from 1 to 100")


@dataclass(frozen=True, slots=True)
class PackSummary:
    """What was packed.

    images, masks: by set. failures: images that could not be read, as (source, reason).
    num_bytes: of the file.
    """

    images: Mapping[str, int]
    masks: Mapping[str, int]
    failures: Sequence[tuple[str, str]]
    num_bytes: int


def write_pack(
    sets: Mapping[str, ImageSet],
    out: Path,
    *,
    config: PackConfig,
    weights: Mapping[str, float],
    threads: int | None = None,
) -> PackSummary:
    """Write a pack of sets by name, whole or not at all; the same sets, the same bytes.

    weights: by set or stage; training takes those that it is not told itself.
    threads: that encode images; None for one a processor.
    An image that cannot be read is left out. Raises UsageError for a set without masks, OutputError
    if it cannot be written.
    """
    images: Counter[str] = Counter()
    masks: Counter[str] = Counter()
    failures: list[tuple[str, str]] = []
    digests: dict[str, str] = {}
    with (
        written_whole(out) as draft,
        ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool,
        pq.ParquetWriter(
            draft,
            _SCHEMA,
            compression={"image": "none", **dict.fromkeys(_SMALL, "zstd")},
            compression_level=dict.fromkeys(_SMALL, 19),
            use_dictionary=["set", _MASK_COLUMNS[1]],
            write_page_checksum=True,
        ) as writer,
    ):
        for name, images_of in sets.items():
            digest = hashlib.sha256()
            records = usable_records(images_of, name)
            for start in range(0, len(records), _ROWS_AT_ONCE):
                rows: list[dict[str, Any]] = []
                some = records[start : start + _ROWS_AT_ONCE]
                made = pool.map(lambda r, s=images_of, n=name: _row(n, s, r, config), some)
                for record, row in zip(some, made, strict=True):
                    if isinstance(row, str):
                        failures.append((record.source, row))
                    elif row["masks"]:
                        rows.append(row)
                        digest.update(json.dumps(row["masks"]).encode() + row["image"])
                        images[name] += 1
                        masks[name] += len(row["masks"])
                writer.write_table(pa.Table.from_pylist(rows, _SCHEMA))
            digests[name] = digest.hexdigest()
        header = {"version": _VERSION, "digests": digests, "weights": dict(weights)}
        header["config"] = asdict(config)
        writer.add_key_value_metadata({_KEY: json.dumps(header, sort_keys=True)})
    return PackSummary(images, masks, failures, out.stat().st_size)


def _row(
    name: str, images: ImageSet, record: ImageRecord, config: PackConfig
) -> dict[str, Any] | str:
    """An image's row, or why there is none."""
    try:
        rgb = images.read_rgb(record)
    except (ImageError, DatasetError) as error:
        return str(error)
    height, width = rgb.shape[:2]
    scale = min(1.0, config.image_size / max(height, width))
    size_hw = (max(1, round(height * scale)), max(1, round(width * scale)))
    buffer = io.BytesIO()
    Image.fromarray(_resized(rgb, size_hw, cv2.INTER_AREA)).save(
        buffer, "WEBP", quality=config.quality, method=6
    )
    masks = []
    for mask in record.annotations:
        counts = mask.segmentation.counts
        if scale < 1:
            full = rle.decode(mask.segmentation).view(np.uint8)
            small = _resized(full, size_hw, cv2.INTER_NEAREST)
            counts = rle.encode(small).counts if small.any() else ""
        if counts and not mask.iscrowd:
            masks.append({"counts": counts, "stage": mask.stage.value})
    return {
        "set": name,
        "source": record.source,
        "width": size_hw[1],
        "height": size_hw[0],
        "image": buffer.getvalue(),
        "masks": masks,
    }


def _resized(array: NDArray[np.uint8], size_hw: tuple[int, int], method: int) -> NDArray[np.uint8]:
    if array.shape[:2] == size_hw:
        return array
    return np.asarray(cv2.resize(array, size_hw[::-1], interpolation=method), dtype=np.uint8)


class PackedSet:
    """One set of a pack, all of it in memory. Can be forked: pixels are shared then."""

    def __init__(self, path: Path, digest: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self._path, self._digest = path, digest
        self._encoded: list[bytes] = [row["image"] for row in rows]
        self._records = [_record(i + 1, row) for i, row in enumerate(rows)]
        self._pixels: list[Rgb] = []
        size = sum(3 * r.width * r.height for r in self._records)
        if size <= _RESIDENT_SHARE * available_bytes():
            with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
                self._pixels = list(pool.map(self._decode, self._records))
            self._encoded.clear()

    def images(self, *, status: ImageStatus | None = None) -> Iterator[ImageRecord]:
        """All records, with their masks; every image of a pack is OK."""
        return iter(self._records if status in (None, ImageStatus.OK) else [])

    def read_rgb(self, record: ImageRecord) -> Rgb:
        """The image's pixels, (H, W, 3) uint8, not to be written to."""
        return self._pixels[record.image_id - 1] if self._pixels else self._decode(record)

    def digest(self) -> str:
        """Hex SHA-256 of images and masks."""
        return self._digest

    def _decode(self, record: ImageRecord) -> Rgb:
        data = np.frombuffer(self._encoded[record.image_id - 1], dtype=np.uint8)
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR)
        if bgr is None or bgr.shape[:2] != (record.height, record.width):
            raise DamagedError(f"{self._path}: the image of {record.source} is damaged")
        rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        rgb.flags.writeable = False
        return np.asarray(rgb, dtype=np.uint8)


def _record(image_id: int, row: Mapping[str, Any]) -> ImageRecord:
    size_hw = (row["height"], row["width"])
    segmentations = [rle.Rle(size_hw, mask["counts"]) for mask in row["masks"]]
    whole = (0.0, 0.0, float(row["width"]), float(row["height"]))
    masks = zip(
        segmentations,
        rle.boxes_xywh(segmentations),
        rle.areas(segmentations),
        row["masks"],
        strict=True,
    )
    return ImageRecord(
        image_id=image_id,
        file_name="",
        source=row["source"],
        width=row["width"],
        height=row["height"],
        sha256="",
        annotations=tuple(
            MaskRecord(
                segmentation=segmentation,
                bbox_xywh=box,
                area=area,
                stage=Stage(mask["stage"]),
                crop_box_xywh=whole,
            )
            for segmentation, box, area, mask in masks
        ),
    )


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack that was read: its sets by name, and the weights that it was made with."""

    sets: Mapping[str, PackedSet]
    weights: Mapping[str, float]


def read_pack(path: Path) -> Pack:
    """Read a pack into memory, its pixels, too, where they fit.

    Raises UsageError for a file that is no pack, DamagedError for one whose bytes changed.
    """
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise UsageError(
            f"{path} is neither a dataset's folder nor a pack; `sa-engine train pack` makes packs"
        ) from error
    header_text = (file.schema_arrow.metadata or {}).get(_KEY) or file.metadata.metadata.get(_KEY)
    if header_text is None:
        raise UsageError(f"{path} is a Parquet file of something else, not a pack")
    header = json.loads(header_text)
    if header["version"] != _VERSION:
        raise UsageError(
            f"{path} is a pack of version {header['version']}, known is {_VERSION}; "
            "make it again with `sa-engine train pack`"
        )
    try:
        rows = file.read().to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise DamagedError(f"{path} is damaged ({error}); make or copy it again") from error
    by_set: dict[str, list[dict[str, Any]]] = {name: [] for name in header["digests"]}
    for row in rows:
        by_set[row["set"]].append(row)
    sets = {name: PackedSet(path, header["digests"][name], by_set[name]) for name in by_set}
    return Pack(sets, header["weights"])
