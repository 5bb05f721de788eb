"""Writing SA-1B: tars of images, each with a JSON file of its masks."""

import json
from pathlib import Path
from typing import Any

from sa_engine.dataset import mask_fields
from sa_engine.dataset.records import MaskRecord
from sa_engine.dataset.shards import tar
from sa_engine.formats.readers.sa1b import ORIGINAL_NAME
from sa_engine.formats.reasons import Tally
from sa_engine.formats.writers.base_writer import NOT_OF_SOURCE, ExportedImage, count_boxes
from sa_engine.formats.writers.survey import Survey

SA1B_IMAGES_PER_TAR = 11_186
"""As in the published shards."""


_OWN_KEYS = frozenset({"image_id", "width", "height", "file_name", ORIGINAL_NAME})


class Sa1bWriter:
    """Writes tars of `sa_<id>.jpg` and `sa_<id>.json`. Boxes without a mask are lost.

    Fields beyond SA-1B's follow its own, as in the engine's shards; scores that a mask does not
    have are left out, and the image's own name is kept beside the shard's.
    """

    def __init__(self, out: Path, survey: Survey) -> None:  # noqa: ARG002 - as every writer
        self._out = out
        self._count = 0
        self._length = 0
        self._path = out / "sa_000000.tar"
        self._file = self._path.open("wb")

    def add(self, image: ExportedImage, losses: Tally) -> None:
        """See `Writer.add`."""
        count_boxes(image, losses)
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


def _sa1b_json(image: ExportedImage) -> bytes:
    record = image.record
    further = {k: v for k, v in record.attributes.items() if k not in NOT_OF_SOURCE}
    content = {
        "image": {
            "image_id": record.image_id,
            "width": record.width,
            "height": record.height,
            "file_name": record.file_name,
            ORIGINAL_NAME: further.get("file_name") or image.name,
            **{k: v for k, v in further.items() if k not in _OWN_KEYS},
        },
        "annotations": [
            _annotation(mask, mask_id)
            for mask, mask_id in zip(record.annotations, image.mask_ids, strict=True)
        ],
    }
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")


def _annotation(mask: MaskRecord, mask_id: int) -> dict[str, Any]:
    item = mask_fields.to_json(mask, mask_id)
    scores = ("predicted_iou", "stability_score")
    return {key: value for key, value in item.items() if key not in scores or value is not None}
