"""One image's annotations as SA-1B's JSON, and back.

The keys and their order are SA-1B's, then `stage`, then whatever else is known of a mask. Where
nothing further is known there are no further keys, so readers of SA-1B see what they expect.
"""

import json
from collections.abc import Mapping
from typing import Any

from sa_engine.dataset.records import ImageRecord, MaskRecord, Stage
from sa_engine.masks.rle import Rle


def encode(record: ImageRecord) -> bytes:
    """The image's JSON file. ValueError if a number is not finite."""
    content = {
        "image": {
            "image_id": record.image_id,
            "width": record.width,
            "height": record.height,
            "file_name": record.file_name,
        },
        "annotations": [
            annotation_to_json(mask, record.mask_id(position))
            for position, mask in enumerate(record.annotations)
        ],
    }
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")


def decode_annotations(data: bytes) -> tuple[MaskRecord, ...]:
    """The masks of a JSON file that `encode` wrote.

    Raises ValueError, KeyError or TypeError if it is another file.
    """
    content = json.loads(data)
    return tuple(annotation_from_json(item) for item in content["annotations"])


def decode_image(data: bytes) -> dict[str, Any]:
    """What a JSON file that `encode` wrote says of its image: id, width, height, file name.

    Raises ValueError, KeyError or TypeError if it is another file.
    """
    return dict(json.loads(data)["image"])


def annotation_to_json(mask: MaskRecord, mask_id: int) -> dict[str, Any]:
    """A mask under SA-1B's keys; further keys only where something is known.

    Numbers that may be fractions are always spelled as such, as the rows of a shard have them.
    Raises ValueError or TypeError for what is no box, point or number.
    """
    item: dict[str, Any] = {
        "id": mask_id,
        "segmentation": mask.segmentation.to_coco(),
        "bbox": list(map(float, _box(mask.bbox_xywh))),
        "area": mask.area,
        "predicted_iou": _optional(mask.predicted_iou),
        "stability_score": _optional(mask.stability_score),
        "crop_box": list(map(float, _box(mask.crop_box_xywh))),
        "point_coords": [[float(x), float(y)] for x, y in mask.point_coords_xy],
        "stage": mask.stage.value,
    }
    if mask.prompt_box_xywh is not None:
        item["prompt_box"] = list(map(float, _box(mask.prompt_box_xywh)))
    if mask.box_score is not None:
        item["box_score"] = float(mask.box_score)
    if mask.category is not None:
        item["category"] = mask.category
    if mask.annotator is not None:
        item["annotator"] = mask.annotator
    if mask.time_spent_s is not None:
        item["time_spent_s"] = float(mask.time_spent_s)
    if mask.iscrowd:
        item["iscrowd"] = True
    if mask.attributes:
        item["attributes"] = _ordered(mask.attributes)
    return item


def annotation_from_json(item: Mapping[str, Any]) -> MaskRecord:
    """The mask of one annotation that `annotation_to_json` made."""
    height, width = item["segmentation"]["size"]
    prompt_box = item.get("prompt_box")
    return MaskRecord(
        segmentation=Rle((height, width), item["segmentation"]["counts"]),
        bbox_xywh=_box(item["bbox"]),
        area=item["area"],
        stage=Stage(item["stage"]),
        predicted_iou=item["predicted_iou"],
        stability_score=item["stability_score"],
        crop_box_xywh=_box(item["crop_box"]),
        point_coords_xy=tuple((x, y) for x, y in item["point_coords"]),
        prompt_box_xywh=None if prompt_box is None else _box(prompt_box),
        box_score=item.get("box_score"),
        category=item.get("category"),
        annotator=item.get("annotator"),
        time_spent_s=item.get("time_spent_s"),
        iscrowd=item.get("iscrowd", False),
        attributes=item.get("attributes", {}),
    )


def _ordered(value: Any) -> Any:
    """A JSON value with the keys of its objects sorted, as the rows of a shard have them."""
    if isinstance(value, dict):
        return {
            key: _ordered(inner) if isinstance(inner, dict | list | tuple) else inner
            for key, inner in sorted(value.items())
        }
    if isinstance(value, list | tuple):
        return [_ordered(item) for item in value]
    return _ordered(dict(value)) if isinstance(value, Mapping) else value


def _optional(value: float | None) -> float | None:
    return None if value is None else float(value)


def _box(values: Any) -> tuple[float, float, float, float]:
    x, y, width, height = values
    return (x, y, width, height)
