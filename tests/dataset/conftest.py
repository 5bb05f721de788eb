"""Small datasets made through the package's own writer."""

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sa_engine.dataset.manifest import Manifest, open_output
from sa_engine.dataset.records import ImageRecord, ImageStatus, MaskRecord, Stage
from sa_engine.dataset.shards.writer import ShardWriter, clear_scratch, pending_shards
from sa_engine.dataset.sources.source_list import Source
from sa_engine.masks import rle

Maker = Callable[..., Path]


def png(seed: int, *, size_wh: tuple[int, int] = (24, 16)) -> bytes:
    """A small picture that depends on the seed alone."""
    width, height = size_wh
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def mask(
    seed: int, *, size_hw: tuple[int, int] = (16, 24), stage: Stage = Stage.AUTOMATIC
) -> MaskRecord:
    """A rectangle that depends on the seed alone, as the engine records it."""
    height, width = size_hw
    draw = np.random.default_rng(seed)
    y0, x0 = int(draw.integers(0, height - 2)), int(draw.integers(0, width - 2))
    y1, x1 = int(draw.integers(y0 + 1, height)), int(draw.integers(x0 + 1, width))
    pixels = np.zeros(size_hw, dtype=np.bool_)
    pixels[y0:y1, x0:x1] = True
    coded = rle.encode(pixels)
    return MaskRecord(
        segmentation=coded,
        bbox_xywh=rle.bbox_xywh(coded),
        area=rle.area(coded),
        stage=stage,
        predicted_iou=float(draw.random()),
        stability_score=float(draw.random()),
        crop_box_xywh=(0.0, 0.0, float(width), float(height)),
        point_coords_xy=((x0 + 0.5, y0 + 0.5),),
    )


def png_record(image_id: int, *, source: str, **more: Any) -> ImageRecord:
    """The record of one of these pictures."""
    file_name = f"sa_{image_id}.png"
    return ImageRecord(
        image_id=image_id, file_name=file_name, source=source, width=24, height=16, **more
    )


def image_record(
    image_id: int, seed: int, *, num_masks: int = 2, source: str | None = None
) -> tuple[ImageRecord, bytes | None]:
    """A record and its file; every fifth seed is a failure."""
    name = source or f"photo {seed:03d}.png"
    data = png(seed)
    digest = hashlib.sha256(data).hexdigest()
    if seed % 5 == 4:
        failed = ImageRecord(
            image_id=image_id,
            file_name="",
            source=name,
            width=0,
            height=0,
            sha256=digest,
            status=ImageStatus.FAILED,
            error="truncated: the file ends too early",
        )
        return failed, None
    masks = tuple(mask(seed * 100 + k) for k in range(num_masks))
    return png_record(image_id, source=name, sha256=digest, annotations=masks), data


@pytest.fixture
def make_dataset() -> Maker:
    """`make_dataset(folder, seeds, images_per_shard=…)` writes a dataset of pictures by seed."""

    def make(
        out: Path,
        seeds: Sequence[int],
        *,
        images_per_shard: int = 4,
        with_images: bool = True,
        num_masks: int = 2,
    ) -> Path:
        sources = [
            Source(f"/photos/photo {seed:03d}.png", f"photo {seed:03d}.png") for seed in seeds
        ]
        manifest = open_output(
            out,
            Manifest(
                stage=Stage.AUTOMATIC, num_images=len(seeds), images_per_shard=images_per_shard
            ),
            sources,
        )
        for index in pending_shards(out, manifest):
            with ShardWriter(out, index, manifest=manifest) as writer:
                for image_id in manifest.image_ids(index):
                    record, data = image_record(image_id, seeds[image_id - 1], num_masks=num_masks)
                    writer.add(record, data if with_images else None, seconds=0.25)
                writer.finish()
        clear_scratch(out, manifest)
        return out

    return make


@pytest.fixture
def image_of() -> Callable[..., tuple[ImageRecord, bytes | None]]:
    """`image_of(image_id, seed)` gives the record and file that `make_dataset` writes."""
    return image_record


@pytest.fixture
def mask_of() -> Callable[..., MaskRecord]:
    """`mask_of(seed)` gives one of the masks that `make_dataset` writes."""
    return mask
