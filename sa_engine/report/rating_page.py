"""A page on which a person rates masks from 1 to 10 by the paper's guide (appendix G)."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

import cv2
import numpy as np
from numpy.typing import NDArray

from sa_engine.masks.rle import Rle, bbox_xywh
from sa_engine.masks.sampled import sample
from sa_engine.report.overlay import reduced

GENERATOR = "sa-engine audit rate"
LONG_SIDE = 640
_AROUND = 0.6
"""Of the mask's box that is shown on each side of it."""
_LEAST = 48


@dataclass(frozen=True, slots=True)
class RatedMask:
    """A mask on the page: JPEG files of the whole photograph and of what is near, both outlined."""

    mask_id: int
    whole: bytes
    near: bytes


def outlined(rgb: NDArray[np.uint8], mask: Rle) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The photograph with the mask's outline, and the part of it around the mask.

    rgb: (H, W, 3) uint8 at the mask's size. Both are at most LONG_SIDE pixels long.
    """
    x, y, w, h = bbox_xywh(mask)
    around = max(_AROUND * max(w, h), _LEAST)
    left, top = max(0, int(x - around)), max(0, int(y - around))
    right, bottom = int(x + w + around) + 1, int(y + h + around) + 1
    pixels = sample(mask, (rgb.shape[0], rgb.shape[1]))
    near = rgb[top:bottom, left:right]
    return _outline(rgb, pixels), _outline(near, pixels[top:bottom, left:right])


def rating_page(title: str, masks: Sequence[RatedMask]) -> str:
    """The page; it loads nothing. What a person said is kept in the browser."""
    data = [
        {"id": each.mask_id, "whole": _uri(each.whole), "near": _uri(each.near)} for each in masks
    ]
    digest = hashlib.sha256(f"{title} {[m.mask_id for m in masks]}".encode()).hexdigest()[:16]
    parts = {
        "generator": GENERATOR,
        "title": escape(title),
        "digest": digest,
        "data": json.dumps(data).replace("<", "\\u003c"),
    }
    page = resources.files("sa_engine.report").joinpath("rating.html").read_text("utf-8")
    for name, text in parts.items():
        page = page.replace("{{" + name + "}}", text)
    return page


def _outline(rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The outline in white on black, so that it is seen on any ground; small parts are enlarged."""
    picture = reduced(rgb, LONG_SIDE)
    longest = max(picture.shape[:2])
    scale = max(1, LONG_SIDE // 2 // longest)
    size_wh = (picture.shape[1] * scale, picture.shape[0] * scale)
    picture = cv2.resize(picture, size_wh, interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    drawn = cv2.resize(mask.view(np.uint8), size_wh, interpolation=cv2.INTER_NEAREST)
    rings, _ = cv2.findContours(drawn, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, rings, -1, (0, 0, 0), 3)
    cv2.drawContours(picture, rings, -1, (255, 255, 255), 1)
    return picture


def _uri(data: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")
