"""What one image adds to its shard: a stretch of the tar, and a row."""

import json
from collections.abc import Mapping
from typing import Any

from sa_engine.dataset.records import ImageRecord, ImageStatus
from sa_engine.dataset.shards import rows, sa1b_json, tar


def encode(
    record: ImageRecord, image_bytes: bytes | None, *, start: int
) -> tuple[bytes, dict[str, Any]]:
    """The image's members of the tar, and its light row (its masks are in its JSON there).

    image_bytes: the file to store; None to store the JSON alone. A failed image has no members.
    start: where in the tar the members will begin.

    Raises ValueError if the record holds what JSON or the rows cannot.
    """
    record = record.storable()
    parts: list[bytes] = []
    image_span = json_span = None
    try:
        if record.status is ImageStatus.OK:
            if image_bytes is not None:
                image_span = _member(parts, record.file_name, image_bytes, start)
            text = sa1b_json.encode(record)
            json_span = _member(parts, f"sa_{record.image_id}.json", text, start)
        row = rows.to_light_row(record, image_span=image_span, json_span=json_span)
        data = b"".join(parts)
        # What the rows cannot hold is refused now: once it is in, the shard could not be finished.
        rows.check(whole_row(row, data, start=start))
    except (TypeError, OverflowError) as error:
        raise ValueError(f"image {record.image_id} cannot be stored: {error}") from error
    return data, row


def whole_row(light_row: Mapping[str, Any], segment: bytes, *, start: int) -> dict[str, Any]:
    """The image's row with its masks, from what `encode` gave."""
    span = rows.json_span(light_row)
    if span is None:
        return rows.to_row(light_row, [])
    place = span.offset - start
    content = json.loads(segment[place : place + span.size])
    return rows.to_row(light_row, content["annotations"])


def moved(light_row: Mapping[str, Any], *, by: int) -> dict[str, Any]:
    """The image's light row when its members begin `by` bytes further on in the tar."""
    row = dict(light_row)
    for name in ("image_offset", "json_offset"):
        if row[name] is not None:
            row[name] += by
    return row


def _member(parts: list[bytes], name: str, data: bytes, start: int) -> rows.Span:
    offset = start + sum(map(len, parts)) + tar.BLOCK
    parts.append(tar.member_bytes(name, data))
    return rows.Span(offset, len(data))
