"""Which way up a picture is stored, told in one place for reader and import, and turning it.

Orientations are EXIF's, 1..8 (CIPA DC-008, tag 0x0112); 5 to 8 swap the sides.
"""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile

_LATE_NOTES = re.compile(rb"eXIf|XML:com\.adobe\.xmp|Raw profile type")


def orientation(image: ImageFile.ImageFile) -> int:
    """EXIF orientation, wherever the file states it; 1 where it is absent or nonsense.

    To be asked after `load` of a PNG, whose notes may follow its pixels (see `load_late_notes`),
    and before `load` of a TIFF, which drops it.
    """
    try:
        # Not the PNG reader's own: it loads, and hides what goes wrong there.
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except Exception:  # Damaged EXIF raises nearly anything; the pixels may be fine.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def load_late_notes(image: ImageFile.ImageFile, data: bytes) -> None:
    """Make `orientation` right for a PNG that is not loaded otherwise."""
    if image.format == "PNG" and _LATE_NOTES.search(data, max(0, data.find(b"IDAT"))):
        image.load()


def turned(array: NDArray[Any], exif: int) -> NDArray[Any]:
    """A stored (H, W, ...) array as it is upright: a view."""
    if exif in (5, 7):
        flipped = array if exif == 5 else array[::-1, ::-1]
        return flipped.swapaxes(0, 1)
    flips = {2: array[:, ::-1], 3: array[::-1, ::-1], 4: array[::-1]}
    if exif in flips:
        return flips[exif]
    return array if exif == 1 else np.rot90(array, -1 if exif == 6 else 1)
