"""The practice picture: drawn here, shown to whoever wants to try the tools, and never kept."""

import hashlib
import io
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sa_engine.annotate.models.model_room import EncodablePicture
from sa_engine.annotate.originals import Original
from sa_engine.dataset.sources.listing import Source
from sa_engine.errors import RefusedRequest

NAME = "Practice"
SIZE_HW = (600, 900)


def draw_picture() -> NDArray[np.uint8]:
    """The picture, (600, 900, 3) uint8 RGB: a ball, a book, a ring and a leaf on a rough ground.

    The same on every call.
    """
    height, width = SIZE_HW
    rng = np.random.default_rng(7)
    fine = rng.normal(0, 1, (height, width, 1))
    coarse = cv2.GaussianBlur(rng.normal(0, 1, (height, width)), (0, 0), 24)[..., None] * 30
    ground = np.array([168, 150, 126]) + 5 * fine + 9 * coarse
    picture = np.clip(ground, 0, 255).astype(np.uint8)
    _lay(picture, [(620, 110), (800, 150), (770, 330), (590, 290)], (52, 86, 140), fine)
    _lay(picture, [(640, 150), (745, 173), (740, 205), (634, 182)], (226, 214, 178), fine)
    _lay(picture, _ellipse((235, 215), 120, 120), (196, 62, 48), fine)
    _lay(picture, _ellipse((195, 172), 34, 22), (238, 168, 150), fine, shadow=0)
    ring = [*_ellipse((620, 455), 105, 80), *_ellipse((620, 455), 62, 44)[::-1]]
    _lay(picture, ring, (224, 182, 62), fine)
    turn = np.linspace(0, 2 * np.pi, 90)
    leaf = [(300 + 130 * np.cos(t), 465 + 52 * np.sin(t) ** 3 - 30 * np.cos(t)) for t in turn]
    _lay(picture, leaf, (74, 124, 58), fine)
    return picture


def _ellipse(middle: tuple[int, int], a: int, b: int) -> list[tuple[float, float]]:
    turn = np.linspace(0, 2 * np.pi, 120)
    return [(middle[0] + a * np.cos(t), middle[1] + b * np.sin(t)) for t in turn]


def _lay(
    picture: NDArray[np.uint8],
    outline: list[tuple[float, float]],
    colour: tuple[int, int, int],
    grain: NDArray[np.float64],
    *,
    shadow: int = 12,
) -> None:
    """Put a thing on the picture, lit from the upper left, with its shadow."""
    rows, columns = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    corners = np.round(np.array(outline) * 16).astype(np.int32)
    if shadow:
        below = np.zeros(SIZE_HW, np.float32)
        cv2.fillPoly(below, [corners + 16 * shadow], (0.5,), shift=4)
        dark = cv2.GaussianBlur(below, (0, 0), 6)[..., None]
        picture[:] = (picture * (1 - dark)).astype(np.uint8)
    cover = np.zeros(SIZE_HW, np.uint8)
    cv2.fillPoly(cover, [corners], (255,), cv2.LINE_AA, 4)
    x, y = np.mean(outline, axis=0)
    light = 1.0 - 0.0012 * ((columns - x) + (rows - y))
    thing = np.clip(np.array(colour) * light[..., None] + 3 * grain, 0, 255)
    share = cover[..., None] / 255
    picture[:] = (share * thing + (1 - share) * picture).astype(np.uint8)


@cache
def practice_original() -> Original:
    """The picture as a browser is sent it."""
    buffer = io.BytesIO()
    Image.fromarray(draw_picture()).save(buffer, "PNG")
    data = buffer.getvalue()
    return Original(SIZE_HW, hashlib.sha256(data).hexdigest(), data, "image/png")


def practice_picture(cache_folder: Path | None) -> EncodablePicture:
    """The picture as the model needs it: a file beside the embeddings, which may go any time.

    cache_folder: None where there is no model: then there is no file. Raises RefusedRequest 507.
    """
    original = practice_original()
    if cache_folder is None:
        return EncodablePicture(Source("", NAME), original)
    path = cache_folder / "practice.png"
    try:
        if not path.is_file() or path.stat().st_size != len(original.data):
            cache_folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(".tmp")
            temporary.write_bytes(original.data)
            temporary.replace(path)
    except OSError as error:
        raise RefusedRequest(
            507, "disk-full", f"the practice picture cannot be written: {error}"
        ) from error
    return EncodablePicture(Source(str(path), NAME), original)


def practice_image(model: dict[str, Any] | None) -> dict[str, Any]:
    """What the page is told of the picture, as of any image. model: as `describe` gives it."""
    height, width = SIZE_HW
    return {
        "id": 0,
        "place": 0,
        "name": NAME,
        "width": width,
        "height": height,
        "picture": "/api/practice/picture",
        "model": model,
        "masks": [],
        "proposals": [],
        "existing": [],
        "draft": None,
    }
