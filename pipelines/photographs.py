"""The photograph of a record: the stored one, or the one that it was made from."""

import cv2
import numpy as np
from numpy.typing import NDArray

from sa_engine.dataset.images.reading import read_rgb
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageRecord
from sa_engine.dataset.sources.listing import read_source_bytes
from sa_engine.errors import DatasetError, ImageError


def photograph(dataset: Dataset, record: ImageRecord) -> NDArray[np.uint8] | None:
    """(H, W, 3) uint8 at the record's size; None if it can be had neither from the dataset nor from
    where it came from, or is another one by now."""
    try:
        if dataset.has_image(record):
            return dataset.read_rgb(record)
        index = dataset.manifest.shard_of(record.image_id)
        first = dataset.manifest.image_ids(index)[0]
        source = dataset.inputs().shard(index)[record.image_id - first]
        rgb = read_rgb(read_source_bytes(source))
    except (ImageError, DatasetError):
        return None
    if rgb.shape[:2] == (record.height, record.width):
        return rgb
    if min(rgb.shape[:2]) > min(record.height, record.width):
        # It was downsized on its way in.
        size_wh = (record.width, record.height)
        return cv2.resize(rgb, size_wh, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return None


def to_jpeg(rgb: NDArray[np.uint8], quality: int) -> bytes:
    """The content of a JPEG file. rgb: (H, W, 3) uint8; quality: 1 to 100."""
    _, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()
