"""One image's annotations as SA-1B's JSON, and back; its masks as `mask_fields` has them."""

import json
from typing import Any

from sa_engine.dataset import image_fields
from sa_engine.dataset.mask_fields import from_json, to_json
from sa_engine.dataset.records import ImageRecord, MaskRecord


def encode(record: ImageRecord) -> bytes:
    """The image's JSON file. ValueError if a number is not finite."""
    content = {
        "image": image_fields.to_json(record),
        "annotations": [
            to_json(mask, record.mask_id(position))
            for position, mask in enumerate(record.annotations)
        ],
    }
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")


def decode_annotations(data: bytes) -> tuple[MaskRecord, ...]:
    """The masks of a JSON file that `encode` wrote.

    Raises ValueError, KeyError or TypeError if it is another file.
    """
    content = json.loads(data)
    return tuple(from_json(item) for item in content["annotations"])


def decode_image(data: bytes) -> dict[str, Any]:
    """What a JSON file that `encode` wrote says of its image: id, width, height, file name.

    Raises ValueError, KeyError or TypeError if it is another file.
    """
    return dict(json.loads(data)["image"])
