"""Pictures and masks that can be seen in a test."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sa_engine.masks.rle import Rle, decode


def grid(*rows: str) -> NDArray[np.bool_]:
    """A mask from rows of "." and "#"."""
    return np.array([[cell == "#" for cell in row] for row in rows])


def rows(mask: Rle) -> list[str]:
    """A mask as rows of "." and "#"."""
    return ["".join("#" if cell else "." for cell in row) for row in decode(mask)]


def save_picture(path: Path, size_wh: tuple[int, int] = (8, 6), exif: int | None = None) -> Path:
    """A picture of noise, told apart by its name; with an EXIF orientation if one is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size_wh
    random = np.random.default_rng(list(path.name.encode()))
    image = Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
    if exif is None:
        image.save(path)
    else:
        tags = Image.Exif()
        tags[0x0112] = exif
        image.save(path, exif=tags)
    return path
