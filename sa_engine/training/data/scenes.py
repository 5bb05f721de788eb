"""Synthetic scenes: layered textured shapes with perfect masks, deterministic by seed.

They teach "this point, that region" before the first photograph is seen, and stand in for data in
tests. A scene is a background and a stack of things: solid, thin, hollow, and things made of parts,
whose whole and parts are both in the answer, as a click on a part means either. Things cast
shadows, hide one another and are filled with flat colours, gradients, noise, patterns, or pieces
of photographs given by the caller. Last comes a camera: light, blur, sensor noise, JPEG.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sa_engine.training.data.scene_config import SceneConfig
from sa_engine.training.data.scene_fills import (
    Rgb,
    Rng,
    backdrop,
    colour,
    fill,
    ramp,
    relit,
    shaded,
)
from sa_engine.training.data.scene_shapes import thing, window_of


@dataclass(frozen=True, slots=True)
class Scene:
    """One rendered scene.

    rgb_HW3: uint8 picture.
    masks_MHW: visible masks, bool; wholes and their parts, never empty masks.
    whole_M: True where the mask is a whole thing rather than a part of one.
    """

    rgb_HW3: Rgb
    masks_MHW: NDArray[np.bool_]
    whole_M: NDArray[np.bool_]


def render_scene(
    seed: int | Sequence[int], config: SceneConfig, *, photos: Sequence[Rgb] = ()
) -> Scene:
    """Render one scene.

    seed: whatever `numpy.random.default_rng` takes; same seed, config and photos, same scene.
    photos: (H, W, 3) uint8 photographs, at least 16 px a side, to cut fills from.
    """
    rng = np.random.default_rng(seed)
    size = config.size
    behind, piece_HW = backdrop(rng, size, config=config, photos=photos)
    canvas = behind.astype(np.float32)
    # Every drawn piece gets a number; a later piece overwrites the earlier ones it hides.
    pieces = int(piece_HW.max())
    wholes: list[list[int]] = [[number] for number in range(1, pieces + 1)]
    for _ in range(int(rng.integers(config.min_things, config.max_things + 1))):
        masks = thing(rng, config)
        if rng.random() < 0.4:
            _cast_shadow(rng, canvas, masks[0])
        numbers = []
        base: Rgb | None = None
        for position, mask in enumerate(masks):
            window = window_of(mask)
            if window is None:
                continue
            rows, columns = window
            height, width = rows.stop - rows.start, columns.stop - columns.start
            related = base is not None and rng.random() < 0.4
            filled = fill(rng, height, width, config=config, photos=photos)
            if related and base is not None:
                # A part often shares its whole's material under another light.
                filled = relit(rng, cv2.resize(base, (width, height)))
            inside = mask[rows, columns] != 0
            canvas[rows, columns][inside] = shaded(rng, filled)[inside]
            if rng.random() < 0.15:
                _outline(rng, canvas, mask)
            pieces += 1
            piece_HW[rows, columns][inside] = pieces
            numbers.append(pieces)
            if position == 0:
                base = filled
        if numbers:
            wholes.append(numbers)
    masks_MHW, whole_M = _visible(piece_HW, wholes, pieces, config.min_area)
    return Scene(_photograph(rng, canvas, config), masks_MHW, whole_M)


def _visible(
    piece_HW: NDArray[np.int32], wholes: list[list[int]], pieces: int, min_area: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    masks: list[NDArray[np.bool_]] = []
    whole: list[bool] = []
    areas = np.bincount(piece_HW.ravel(), minlength=pieces + 1)
    for numbers in wholes:
        total = int(areas[numbers].sum())
        if total < min_area:
            continue
        first, last = numbers[0], numbers[-1]
        masks.append((piece_HW >= first) & (piece_HW <= last))
        whole.append(True)
        if len(numbers) > 1:
            for number in numbers[1:]:
                # A part that is nearly the whole would be the same mask twice.
                if min_area <= areas[number] < 0.9 * total:
                    masks.append(piece_HW == number)
                    whole.append(False)
    if not masks:
        return np.zeros((0, *piece_HW.shape), dtype=np.bool_), np.zeros(0, dtype=np.bool_)
    return np.stack(masks), np.asarray(whole)


def _outline(rng: Rng, canvas: NDArray[np.float32], mask: NDArray[np.uint8]) -> None:
    """A line along a piece's edge, drawn just inside it."""
    inner = cv2.erode(mask, np.ones((3, 3), dtype=np.uint8))
    canvas[(mask != 0) & (inner == 0)] = colour(rng)


def _cast_shadow(rng: Rng, canvas: NDArray[np.float32], mask: NDArray[np.uint8]) -> None:
    size = mask.shape[0]
    shift = rng.normal(scale=0.04 * size, size=2)
    move = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], dtype=np.float32)
    shadow = cv2.warpAffine(mask.astype(np.float32), move, (size, size))
    width = int(rng.integers(1, max(2, size // 24))) * 2 + 1
    shadow = cv2.blur(shadow, (width, width))
    canvas *= (1 - rng.uniform(0.2, 0.7) * shadow)[:, :, None]


def _photograph(rng: Rng, canvas: NDArray[np.float32], config: SceneConfig) -> Rgb:
    """What a camera makes of the scene: light, blur, noise, JPEG."""
    size = config.size
    if rng.random() < config.camera_probability:
        depth = rng.uniform(0.1, 0.6)
        canvas = canvas * (1 - depth / 2 + depth * ramp(rng, size, size))[:, :, None]
    if rng.random() < config.camera_probability:
        blurred = cv2.GaussianBlur(canvas, (0, 0), float(rng.uniform(0.4, 1.4)))
        canvas = np.asarray(blurred, dtype=np.float32)
    if rng.random() < config.camera_probability:
        canvas = canvas + rng.standard_normal(canvas.shape, dtype=np.float32) * rng.uniform(1, 14)
    rgb = np.clip(canvas, 0, 255).astype(np.uint8)
    if rng.random() < config.camera_probability:
        quality = int(rng.integers(35, 96))
        _, data = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
    return rgb
