"""What is known of a mask, once: each field's name, its key in files, its column and its JSON.

SA-1B's JSON, the columns of Parquet files and `MaskRecord` follow from this table: a new field is a
line here and one in the record. The keys and their order are SA-1B's, then `stage`, then whatever
else is known; where nothing further is known there are no further keys, so readers of SA-1B see
what they expect.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from sa_engine.dataset.records import MaskRecord, Stage
from sa_engine.masks.rle import Rle

_BOX = pa.list_(pa.float64())


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class MaskField:
    """A field of `MaskRecord`.

    name: in the record. key: in JSON, and of the column. column: its Arrow type.
    to_json, from_json: a value that is known.
    is_required: whether the key is always there; a value that is not known is null then. Else it
        is left out where the record has `default`.
    """

    name: str
    key: str
    column: pa.DataType
    to_json: Callable[[Any], Any] = _same
    from_json: Callable[[Any], Any] = _same
    is_required: bool = False
    default: Any = None


def _box(values: Any) -> tuple[float, float, float, float]:
    x, y, width, height = values
    return (x, y, width, height)


def _box_to_json(values: Any) -> list[float]:
    return list(map(float, _box(values)))


def _rle(value: Mapping[str, Any]) -> Rle:
    height, width = value["size"]
    return Rle((height, width), value["counts"])


def _points(values: Any) -> tuple[tuple[float, float], ...]:
    return tuple((x, y) for x, y in values)


def _points_to_json(values: Any) -> list[list[float]]:
    return [[float(x), float(y)] for x, y in values]


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


MASK_FIELDS = (
    MaskField(
        "segmentation",
        "segmentation",
        pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string())]),
        Rle.to_coco,
        _rle,
        is_required=True,
    ),
    MaskField("bbox_xywh", "bbox", _BOX, _box_to_json, _box, is_required=True),
    MaskField("area", "area", pa.int64(), is_required=True),
    MaskField("predicted_iou", "predicted_iou", pa.float64(), float, is_required=True),
    MaskField("stability_score", "stability_score", pa.float64(), float, is_required=True),
    MaskField("crop_box_xywh", "crop_box", _BOX, _box_to_json, _box, is_required=True),
    MaskField(
        "point_coords_xy",
        "point_coords",
        pa.list_(_BOX),
        _points_to_json,
        _points,
        is_required=True,
    ),
    MaskField("stage", "stage", pa.string(), lambda stage: stage.value, Stage, is_required=True),
    MaskField("prompt_box_xywh", "prompt_box", _BOX, _box_to_json, _box),
    MaskField("box_score", "box_score", pa.float64(), float),
    MaskField("category", "category", pa.string()),
    MaskField("annotator", "annotator", pa.string()),
    MaskField("time_spent_s", "time_spent_s", pa.float64(), float),
    MaskField("iscrowd", "iscrowd", pa.bool_(), bool, bool, default=False),
    # Text in columns, since their keys differ from mask to mask.
    MaskField("attributes", "attributes", pa.string(), _ordered, default={}),
)

COLUMNS = pa.struct([("id", pa.int64()), *((each.key, each.column) for each in MASK_FIELDS)])
"""A mask in a row of a Parquet file."""


def to_json(mask: MaskRecord, mask_id: int) -> dict[str, Any]:
    """A mask under SA-1B's keys.

    Numbers that may be fractions are always spelled as such, as the rows of a shard have them.
    Raises ValueError or TypeError for what is no box, point or number.
    """
    item: dict[str, Any] = {"id": mask_id}
    for each in MASK_FIELDS:
        value = getattr(mask, each.name)
        if each.is_required:
            item[each.key] = None if value is None else each.to_json(value)
        elif value is not None and value != each.default:
            item[each.key] = each.to_json(value)
    return item


def from_json(item: Mapping[str, Any]) -> MaskRecord:
    """The mask that `to_json` made this of.

    Raises KeyError where a required key is missing, ValueError or TypeError for other values.
    """
    values: dict[str, Any] = {}
    for each in MASK_FIELDS:
        value = item[each.key] if each.is_required else item.get(each.key)
        if value is not None:
            values[each.name] = each.from_json(value)
    return MaskRecord(**values)
