"""Fields of foreign records that the engine has a place for, and the rest made safe to keep."""

import math
from collections.abc import Mapping, Set
from typing import Any

from sa_engine.dataset.records import Stage
from sa_engine.formats.base import Box
from sa_engine.formats.codecs import geometry

_DEEPEST = 30

ENGINE_KEYS = frozenset(
    {
        "stage",
        "predicted_iou",
        "stability_score",
        "crop_box",
        "point_coords",
        "prompt_box",
        "box_score",
        "proposal_id",
    }
)


def text(value: object) -> str | None:
    """A name as text that can be stored; None for anything but text and whole numbers."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).encode("utf-8", "replace").decode() or None


def number(value: object) -> float | None:
    """A finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        real = float(value)
    except OverflowError:
        return None
    return real if math.isfinite(real) else None


def whole_size(height: object, width: object) -> tuple[int, int] | None:
    """(height, width) if both are whole numbers above 0; None otherwise."""
    if not geometry.is_whole(height) or not geometry.is_whole(width):
        return None
    size_hw = (int(height), int(width))  # type: ignore[call-overload]  # just shown to be whole
    return size_hw if min(size_hw) > 0 and max(size_hw) < 1 << 31 else None


def keepable(value: Any, depth: int = 0) -> Any:
    """A JSON value that strict JSON can hold: numbers that are not finite become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        if depth == _DEEPEST:
            return None
        return {str(key): keepable(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return None if depth == _DEEPEST else [keepable(item, depth + 1) for item in value]
    return value if isinstance(value, str | int | None) else str(value)


def engine_fields(
    record: Mapping[str, Any], known: Set[str], *, default_stage: Stage | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of `ImportedMask` that a record states, and what it holds beyond `known`.

    A record that names a stage was written by the engine: then its scores and prompts are the
    engine's own. `default_stage` takes records that name none as the engine's too.
    """
    if default_stage is None and record.keys() <= known:
        return {}, {}
    fields: dict[str, Any] = {}
    annotator = text(record.get("annotator"))
    if annotator is not None:
        fields["annotator"] = annotator
    time_spent_s = number(record.get("time_spent_s"))
    if time_spent_s is not None:
        fields["time_spent_s"] = time_spent_s
    used = {*known, *(key for key in ("annotator", "time_spent_s") if key in fields)}
    stage = _stage(record.get("stage")) or default_stage
    if stage is not None:
        fields |= _provenance(record, stage)
        used |= ENGINE_KEYS
    return fields, {key: keepable(value) for key, value in record.items() if key not in used}


def _stage(value: object) -> Stage | None:
    return Stage(value) if isinstance(value, str) and value in set(Stage) else None


def _provenance(record: Mapping[str, Any], stage: Stage) -> dict[str, Any]:
    boxes = {key: _box(record.get(key)) for key in ("crop_box", "prompt_box")}
    proposal_id = record.get("proposal_id")
    return {
        "stage": stage,
        "predicted_iou": number(record.get("predicted_iou")),
        "stability_score": number(record.get("stability_score")),
        "crop_box_xywh": boxes["crop_box"],
        "point_coords_xy": _points(record.get("point_coords")),
        "prompt_box_xywh": boxes["prompt_box"],
        "box_score": number(record.get("box_score")),
        "proposal_id": proposal_id if isinstance(proposal_id, int) else None,
    }


def _box(value: object) -> Box | None:
    return geometry.box(value) if isinstance(value, list) else None


def _points(value: object) -> tuple[tuple[float, float], ...]:
    if not isinstance(value, list):
        return ()
    points = []
    for point in value:
        if not isinstance(point, list) or len(point) != 2:
            return ()
        x, y = number(point[0]), number(point[1])
        if x is None or y is None:
            return ()
        points.append((x, y))
    return tuple(points)
