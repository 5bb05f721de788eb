"""Synthetic scenes written as a dataset through the package's own writer."""

import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image

from sa_engine.dataset.manifest import Manifest, open_output
from sa_engine.dataset.records import ImageRecord, MaskRecord, Stage
from sa_engine.dataset.shards.writer import ShardWriter, clear_scratch, pending_shards
from sa_engine.dataset.sources.source_list import Source
from sa_engine.masks import rle
from sa_engine.training.data.scene_config import SceneConfig
from sa_engine.training.data.scenes import render_scene


def write_scenes(
    out: Path,
    seeds: range,
    *,
    size: int = 64,
    stage: Stage = Stage.MANUAL,
    min_area: int = 24,
    config: SceneConfig | None = None,
) -> Path:
    """A dataset of one shard, a scene for each seed."""
    chosen = config or SceneConfig(size=size, min_area=min_area)
    manifest = open_output(
        out,
        Manifest(stage=stage, num_images=len(seeds), images_per_shard=len(seeds)),
        [Source(f"/scenes/{seed}.png", f"{seed}.png") for seed in seeds],
    )
    for index in pending_shards(out, manifest):
        with ShardWriter(out, index, manifest=manifest) as writer:
            for image_id in manifest.image_ids(index):
                record, data = _scene(image_id, seeds[image_id - 1], chosen, stage)
                writer.add(record, data, seconds=0.0)
            writer.finish()
    clear_scratch(out, manifest)
    return out


def _scene(
    image_id: int, seed: int, config: SceneConfig, stage: Stage
) -> tuple[ImageRecord, bytes]:
    scene, size = render_scene(seed, config), config.size
    buffer = io.BytesIO()
    Image.fromarray(scene.rgb_HW3).save(buffer, "PNG")
    data = buffer.getvalue()
    record = ImageRecord(
        image_id=image_id,
        file_name=f"sa_{image_id}.png",
        source=f"{seed}.png",
        width=size,
        height=size,
        sha256=hashlib.sha256(data).hexdigest(),
        annotations=tuple(_record(mask, size, stage) for mask in scene.masks_MHW),
    )
    return record, data


def _record(mask: np.ndarray, size: int, stage: Stage) -> MaskRecord:
    coded = rle.encode(mask)
    return MaskRecord(
        segmentation=coded,
        bbox_xywh=rle.bbox_xywh(coded),
        area=rle.area(coded),
        stage=stage,
        crop_box_xywh=(0.0, 0.0, float(size), float(size)),
    )
