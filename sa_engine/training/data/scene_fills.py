"""What the things and backdrops of a synthetic scene are filled with."""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sa_engine.training.data.scene_config import SceneConfig

Rgb = NDArray[np.uint8]
Rng = np.random.Generator


def fill(
    rng: Rng,
    height: int,
    width: int,
    *,
    config: SceneConfig,
    photos: Sequence[Rgb],
) -> Rgb:
    """A (height, width, 3) material."""
    if photos and rng.random() < config.photo_probability:
        return _photo_piece(rng, height, width, photos[int(rng.integers(len(photos)))], whole=False)
    textured = rng.random() < config.texture_probability
    kinds: tuple[Callable[[Rng, int, int], Rgb], ...] = (
        (_noise, _noise, _pattern) if textured else (_flat, _gradient)
    )
    return kinds[int(rng.integers(len(kinds)))](rng, height, width)


def backdrop(
    rng: Rng, size: int, *, config: SceneConfig, photos: Sequence[Rgb]
) -> tuple[Rgb, NDArray[np.int32]]:
    """What lies behind everything, and its regions numbered from 1; 0 where nothing is known.

    A plain backdrop is a region, as sky or a wall is; a photograph has regions nobody drew.
    """
    if photos and rng.random() < config.photo_probability:
        photo = photos[int(rng.integers(len(photos)))]
        return _photo_piece(rng, size, size, photo, whole=True), np.zeros((size, size), np.int32)
    textured = rng.random() < config.texture_probability
    if textured and rng.random() < 0.5:
        return _landscape(rng, size, size)
    kinds: tuple[Callable[[Rng, int, int], Rgb], ...] = (
        (_noise, _pattern) if textured else (_flat, _gradient)
    )
    return kinds[int(rng.integers(2))](rng, size, size), np.ones((size, size), np.int32)


_SPREADS = (8.0, 30.0, 70.0)


def colour(rng: Rng) -> NDArray[np.float32]:
    """A colour: mostly muted, as in photographs."""
    spread = _SPREADS[int(rng.integers(3))]
    mixed = 15 + 230 * rng.random() + spread * rng.standard_normal(3, dtype=np.float32)
    return np.asarray(np.minimum(np.maximum(mixed, 0), 255), dtype=np.float32)


def _flat(rng: Rng, height: int, width: int) -> Rgb:
    return np.broadcast_to(colour(rng), (height, width, 3)).astype(np.uint8)


def ramp(rng: Rng, height: int, width: int) -> NDArray[np.float32]:
    """A linear ramp in [0, 1] at a random angle, (height, width)."""
    angle = rng.uniform(0, 2 * np.pi)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    ramp = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    return np.clip((ramp + 1.4) / 2.8, 0, 1)


def _gradient(rng: Rng, height: int, width: int) -> Rgb:
    mix = ramp(rng, height, width)[:, :, None]
    return (colour(rng) * mix + colour(rng) * (1 - mix)).astype(np.uint8)


def _cloud(rng: Rng, height: int, width: int) -> NDArray[np.float32]:
    """Fractal noise, mean 0 and about unit deviation, (height, width)."""
    total = np.zeros((height, width), dtype=np.float32)
    cells = int(rng.integers(2, 9))
    strength, fade = 1.0, float(rng.uniform(0.4, 0.9))
    for _ in range(int(rng.integers(2, 5))):
        coarse = rng.standard_normal((cells, cells), dtype=np.float32)
        if rng.random() < 0.25:
            coarse = np.repeat(coarse[:1], cells, axis=0)
        total += strength * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
        strength *= fade
        cells *= 2
    return total


def _noise(rng: Rng, height: int, width: int) -> Rgb:
    mix = 1 / (1 + np.exp(-_cloud(rng, height, width) * rng.uniform(0.4, 2.5)))[:, :, None]
    picture = colour(rng) * mix + colour(rng) * (1 - mix)
    return np.asarray(np.clip(picture, 0, 255), dtype=np.uint8)


def _pattern(rng: Rng, height: int, width: int) -> Rgb:
    """Stripes, checks or spots of two materials."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(4, 20)
    u = (x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period)
    v = (y * np.cos(angle) - x * np.sin(angle)) * (2 * np.pi / period)
    kind = rng.integers(3)
    if kind == 0:
        on = np.sin(u) > rng.uniform(-0.6, 0.6)
    elif kind == 1:
        on = np.sin(u) * np.sin(v) > 0
    else:
        on = np.sin(u) + np.sin(v) > rng.uniform(0.3, 1.2)
    first = _noise(rng, height, width) if rng.random() < 0.5 else _flat(rng, height, width)
    second = relit(rng, first) if rng.random() < 0.5 else _flat(rng, height, width)
    return np.where(on[:, :, None], first, second)


def _landscape(rng: Rng, height: int, width: int) -> tuple[Rgb, NDArray[np.int32]]:
    """Bands with rough borders, as sky, hills and ground, and their numbers from 1."""
    picture = _gradient(rng, height, width) if rng.random() < 0.7 else _noise(rng, height, width)
    rows = np.arange(height)[:, None]
    bands = np.ones((height, width), dtype=np.int32)
    for number in range(2, 2 + int(rng.integers(1, 4))):
        cells = int(rng.integers(3, 12))
        ridge = cv2.resize(rng.standard_normal((1, cells), dtype=np.float32), (width, 1))
        ridge = ridge.reshape(-1) * height * rng.uniform(0.01, 0.1) + height * rng.uniform(
            0.2, 0.95
        )
        ground = _noise(rng, height, width)
        below = rows > ridge
        picture = np.where(below[:, :, None], ground, picture)
        bands[below] = number
    return picture, bands


def _photo_piece(rng: Rng, height: int, width: int, photo: Rgb, *, whole: bool) -> Rgb:
    """A random window of a photograph, resized; `whole` takes most of it."""
    full_height, full_width = photo.shape[:2]
    share = rng.uniform(0.5, 1.0) if whole else rng.uniform(0.1, 0.6)
    h, w = max(8, int(full_height * share)), max(8, int(full_width * share))
    y = int(rng.integers(0, full_height - h + 1))
    x = int(rng.integers(0, full_width - w + 1))
    piece = cv2.resize(photo[y : y + h, x : x + w], (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(piece[:, ::-1] if rng.random() < 0.5 else piece, dtype=np.uint8)


def relit(rng: Rng, picture: Any) -> Rgb:
    gain = rng.uniform(0.6, 1.5, size=3) if rng.random() < 0.5 else rng.uniform(0.5, 1.6)
    lit = np.clip(np.asarray(picture, dtype=np.float32) * gain, 0, 255)
    return np.asarray(lit, dtype=np.uint8)


def shaded(rng: Rng, picture: Rgb) -> NDArray[np.float32]:
    """Light that falls from one side."""
    shaded = picture.astype(np.float32)
    if rng.random() < 0.5:
        height, width = picture.shape[:2]
        depth = rng.uniform(0.2, 0.8)
        shaded *= (1 - depth / 2 + depth * ramp(rng, height, width))[:, :, None]
    return shaded
