"""Which way up annotations were drawn, and how to turn them upright.

Cameras store a picture on its side with a note how to turn it (EXIF orientation). Some tools obey
the note and some do not, so masks come in either frame; the width and height that the annotation
states tell which, where the note says a quarter turn. Where they do not, other pictures of the same
source do. One tool's export states the sides of the stored picture beside shares of the upright
one: it is known by its name.
"""

from dataclasses import dataclass
from enum import Enum

from sa_engine.dataset.images.orientation import turned
from sa_engine.formats.base import Box
from sa_engine.masks.rle import Rle, decode_window, encode_window, from_runs


class Frame(Enum):
    """How the annotation's frame lies to the upright picture."""

    UPRIGHT = "upright"
    STORED = "as stored"
    STRETCHED = "stretched"
    SWAPPED = "swapped"
    OTHER = "other size"


@dataclass(frozen=True, slots=True)
class Orientation:
    """EXIF orientation of a picture, 1..8, and its upright (height, width)."""

    exif: int
    upright_hw: tuple[int, int]

    @property
    def is_quarter_turned(self) -> bool:
        """Whether the stored picture lies on its side."""
        return self.exif >= 5

    @property
    def stored_hw(self) -> tuple[int, int]:
        """(height, width) of the picture as stored."""
        height, width = self.upright_hw
        return (width, height) if self.is_quarter_turned else (height, width)


def is_undecided(declared_hw: tuple[int, int] | None, picture: Orientation) -> bool:
    """Whether the size does not tell the frame: half turns, mirrors, squares, or no size at all."""
    if declared_hw is None:
        return picture.exif != 1
    return picture.exif != 1 and declared_hw == picture.upright_hw == picture.stored_hw


def frame_of(
    declared_hw: tuple[int, int] | None, picture: Orientation, *, ignores_exif: bool = False
) -> Frame:
    """The frame that annotations for a picture of `declared_hw` were drawn in.

    ignores_exif: what other pictures of the source tell of its tool; used where size does not tell.
        Without it, it is taken that the tool obeyed the note, as browsers do.
    """
    height, width = picture.upright_hw
    if ignores_exif and is_undecided(declared_hw, picture):
        return Frame.STORED
    if declared_hw is None or declared_hw == picture.upright_hw:
        return Frame.UPRIGHT
    if declared_hw == (width, height):
        return Frame.STORED if picture.is_quarter_turned else Frame.SWAPPED
    return Frame.OTHER


def turn_mask(mask: Rle, exif: int) -> Rle:
    """A mask of the stored picture as a mask of the upright one."""
    if exif == 1:
        return mask
    window, origin_xy = decode_window(mask)
    height, width = mask.size_hw
    size_hw = (width, height) if exif >= 5 else (height, width)
    if not window.size:
        return from_runs([height * width], size_hw)
    h, w = window.shape
    x, y, _, _ = turn_box((*origin_xy, w, h), exif, mask.size_hw)
    return encode_window(turned(window, exif), origin_xy=(int(x), int(y)), size_hw=size_hw)


def turn_box(box_xywh: Box, exif: int, size_hw: tuple[int, int]) -> Box:
    """A box in the stored picture of (height, width) as a box in the upright one."""
    height, width = size_hw
    x, y, w, h = box_xywh
    right, below = width - x - w, height - y - h
    return {
        1: (x, y, w, h),
        2: (right, y, w, h),
        3: (right, below, w, h),
        4: (x, below, w, h),
        5: (y, x, h, w),
        6: (below, x, h, w),
        7: (below, right, h, w),
        8: (y, right, h, w),
    }[exif]
