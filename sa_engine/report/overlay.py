"""Pictures of masks: coloured over their photograph."""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from sa_engine.masks.rle import Rle, area
from sa_engine.masks.sampled import sample_window

GOLDEN_RATIO = 0.618033988749895
"""Successive hues this far apart on the colour circle stay apart, however many there are."""


def palette(count: int) -> list[tuple[int, int, int]]:
    """`count` RGB colours, 0 to 255, neighbours in the list well apart; the same every time."""
    colours = []
    for index in range(count):
        hue = (0.58 + index * GOLDEN_RATIO) % 1.0
        red, green, blue = colorsys.hsv_to_rgb(hue, (0.9, 0.65, 0.8)[index % 3], 1.0)
        colours.append((round(red * 255), round(green * 255), round(blue * 255)))
    return colours


def overlay(
    rgb: NDArray[np.uint8],
    masks: Sequence[Rle],
    *,
    opacity: float = 0.45,
    outline_px: int | None = None,
) -> NDArray[np.uint8]:
    """Colour masks over a photograph, large ones first, so that parts stay visible on wholes.

    rgb: (H, W, 3) uint8; it is not changed.
    masks: of the photograph, at its size or at another; they are looked at in its size, one after
        the other. The colour of each follows from its place in the sequence.
    opacity: of the fill, [0, 1].
    outline_px: thickness of the outline in pixels; by default it grows with the photograph.

    Returns (H, W, 3) uint8.
    """
    picture = rgb.copy()
    size_hw = (rgb.shape[0], rgb.shape[1])
    thickness = outline_px if outline_px is not None else max(1, round(max(size_hw) / 640))
    colours = palette(len(masks))
    for index in np.argsort([-_area(mask) for mask in masks], kind="stable"):
        try:
            window, (x, y) = sample_window(masks[index], size_hw)
        except ValueError:
            # Damaged: it cannot be drawn, the others can.
            continue
        if not window.any():
            continue
        pixels = np.ascontiguousarray(window).view(np.uint8)
        part = picture[y : y + window.shape[0], x : x + window.shape[1]]
        values = np.arange(256, dtype=np.float32)[:, None] * (1 - opacity)
        tinted = (values + np.array(colours[index]) * opacity).astype(np.uint8)
        part[:] = cv2.copyTo(cv2.LUT(part, tinted[None]), pixels, part.copy())
        rings, _ = cv2.findContours(pixels, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x, y))
        cv2.drawContours(picture, rings, -1, colours[index], thickness, cv2.LINE_8)
    return picture


def _area(mask: Rle) -> int:
    """Foreground pixels; 0 of a mask that is damaged."""
    try:
        return area(mask)
    except ValueError:
        return 0


def reduced(rgb: NDArray[np.uint8], long_side: int) -> NDArray[np.uint8]:
    """The photograph with a long side of at most `long_side` pixels; as it is if it is smaller."""
    height, width = rgb.shape[:2]
    scale = long_side / max(height, width, 1)
    if scale >= 1:
        return rgb
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(rgb, size_wh, interpolation=cv2.INTER_AREA).astype(np.uint8)
