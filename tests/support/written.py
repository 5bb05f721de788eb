"""Datasets written from arrays and masks in sight, through the package's own writer."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sa_engine.dataset.manifest import Manifest, ModelRef, open_output
from sa_engine.dataset.records import ImageRecord, ImageStatus, MaskRecord, Stage
from sa_engine.dataset.shards.writer import ShardWriter, clear_scratch, pending_shards
from sa_engine.dataset.sources.source_list import Source
from sa_engine.masks import rle


@dataclass(frozen=True, slots=True)
class Written:
    """An image to be written: its pixels (None if it failed) and its masks."""

    rgb: NDArray[np.uint8] | None
    masks: Sequence[MaskRecord] = ()
    name: str | None = None


def mask_record(mask: NDArray[Any], *, stage: Stage = Stage.AUTOMATIC, **known: Any) -> MaskRecord:
    """The record of a (H, W) mask."""
    coded = rle.encode(mask)
    height, width = mask.shape
    return MaskRecord(
        segmentation=coded,
        bbox_xywh=rle.bbox_xywh(coded),
        area=rle.area(coded),
        stage=stage,
        crop_box_xywh=(0.0, 0.0, float(width), float(height)),
        **known,
    )


def write_dataset(
    out: Path,
    images: Sequence[Written],
    *,
    images_per_shard: int = 100,
    shards: int | None = None,
    model: ModelRef | None = None,
    stage: Stage | None = Stage.AUTOMATIC,
) -> Path:
    """A dataset of the images; only its first `shards` shards if a number is given."""
    names = [each.name or f"picture {i:03d}.png" for i, each in enumerate(images)]
    manifest = open_output(
        out,
        Manifest(
            stage=stage, num_images=len(images), images_per_shard=images_per_shard, model=model
        ),
        [Source(f"/pictures/{name}", name) for name in names],
    )
    for index in list(pending_shards(out, manifest))[:shards]:
        with ShardWriter(out, index, manifest=manifest) as writer:
            for image_id in manifest.image_ids(index):
                each = images[image_id - 1]
                record, data = _record(image_id, names[image_id - 1], each)
                writer.add(record, data, seconds=0.0)
            writer.finish()
    clear_scratch(out, manifest)
    return out


def _record(image_id: int, name: str, image: Written) -> tuple[ImageRecord, bytes | None]:
    if image.rgb is None:
        failed = ImageRecord(
            image_id=image_id,
            file_name="",
            source=name,
            width=0,
            height=0,
            sha256="",
            status=ImageStatus.FAILED,
            error="truncated: it ends after 12 bytes",
        )
        return failed, None
    held = io.BytesIO()
    Image.fromarray(image.rgb).save(held, "PNG")
    data = held.getvalue()
    height, width = image.rgb.shape[:2]
    record = ImageRecord(
        image_id=image_id,
        file_name=f"sa_{image_id}.png",
        source=name,
        width=width,
        height=height,
        sha256=hashlib.sha256(data).hexdigest(),
        annotations=tuple(image.masks),
    )
    return record, data
