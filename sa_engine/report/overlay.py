"""Pictures of masks: coloured over their photograph."""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from sa_engine.masks.rle import Rle, decode

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
    masks: at the photograph's size; the colour of each follows from its place in the sequence.
    opacity: of the fill, [0, 1].
    outline_px: thickness of the outline in pixels; by default it grows with the photograph.

    Returns (H, W, 3) uint8.
    """
    picture = rgb.copy()
    thickness = outline_px if outline_px is not None else max(1, round(max(rgb.shape[:2]) / 640))
    drawn = [(decode(rle), colour) for rle, colour in zip(masks, palette(len(masks)), strict=True)]
    for mask, colour in sorted(drawn, key=lambda pair: -int(pair[0].sum())):
        tint = np.array(colour, dtype=np.float32)
        picture[mask] = (picture[mask] * (1 - opacity) + tint * opacity).astype(np.uint8)
        rings, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, rings, -1, colour, thickness, cv2.LINE_8)
    return picture
