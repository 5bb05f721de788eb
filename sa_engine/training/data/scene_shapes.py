"""The things of a synthetic scene: solid, thin, hollow, and made of parts."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sa_engine.training.data.scene_config import SceneConfig

Polygon = NDArray[np.float32]
Rng = np.random.Generator


def thing(rng: Rng, config: SceneConfig) -> list[NDArray[np.uint8]]:
    """A thing's pieces, each (size, size) uint8: the first is its body, later ones lie over it."""
    size = config.size
    # Log-uniform from small to half of the picture, as areas in photographs are.
    radius = size * float(np.exp(rng.uniform(np.log(0.05), np.log(0.42))))
    centre = rng.uniform(-0.05, 1.05, size=2) * size
    kind = rng.random()
    body = np.zeros((size, size), dtype=np.uint8)
    if kind < 0.1:
        _draw_thin(rng, body, centre, radius)
        return [body]
    outline = _outline_shape(rng, centre, radius)
    cv2.fillPoly(body, [_fixed(outline)], 1, shift=4)
    if kind < 0.2:
        shrunk = centre + (outline - centre) * rng.uniform(0.4, 0.85)
        cv2.fillPoly(body, [_fixed(shrunk)], 0, shift=4)
        return [body]
    if rng.random() >= config.part_probability:
        return [body]
    return [body, *_parts(rng, body, centre, radius)]


def _parts(
    rng: Rng, body: NDArray[np.uint8], centre: Any, radius: float
) -> list[NDArray[np.uint8]]:
    """Parts of a body: patches on it, limbs that stick out of it, or a cut across it."""
    size = body.shape[0]
    style = rng.integers(3)
    parts: list[NDArray[np.uint8]] = []
    if style == 2:
        angle = rng.uniform(0, 2 * np.pi)
        normal = np.array([np.cos(angle), np.sin(angle)])
        offset = centre + normal * rng.uniform(-0.3, 0.3) * radius
        y, x = np.ogrid[:size, :size]
        side = (x - offset[0]) * normal[0] + (y - offset[1]) * normal[1] > 0
        return [(body & side).astype(np.uint8)]
    for _ in range(int(rng.integers(1, 5))):
        angle = rng.uniform(0, 2 * np.pi)
        distance = radius * (rng.uniform(0, 0.5) if style == 0 else rng.uniform(0.7, 1.1))
        at = centre + distance * np.array([np.cos(angle), np.sin(angle)])
        part = np.zeros_like(body)
        outline = _outline_shape(rng, at, radius * rng.uniform(0.2, 0.5))
        cv2.fillPoly(part, [_fixed(outline)], 1, shift=4)
        parts.append(part & body if style == 0 else part)
    return parts


def _outline_shape(rng: Rng, centre: Any, radius: float) -> Polygon:
    """A closed polygon around `centre` (x, y): ellipse, box, star, few corners or blob."""
    kind = rng.integers(5)
    if kind == 0:
        angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    elif kind == 1:
        points = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=np.float64) * 0.85
        points += rng.normal(scale=0.08, size=(4, 2)) * (rng.random() < 0.5)
    elif kind == 2:
        corners = int(rng.integers(4, 11))
        angles = np.linspace(0, 2 * np.pi, 2 * corners, endpoint=False)
        lengths = np.where(np.arange(2 * corners) % 2 == 0, 1.0, rng.uniform(0.35, 0.8))
        points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * lengths[:, None]
    elif kind == 3:
        corners = int(rng.integers(3, 8))
        angles = np.sort(rng.uniform(0, 2 * np.pi, size=corners))
        angles += np.linspace(0, 2 * np.pi, corners, endpoint=False)
        angles /= 2
        points = np.stack([np.cos(2 * angles), np.sin(2 * angles)], axis=1) * rng.uniform(
            0.7, 1, size=(corners, 1)
        )
    else:
        angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        lengths = np.ones_like(angles)
        for harmonic in range(2, int(rng.integers(4, 9))):
            lengths += (rng.normal(scale=0.35) / harmonic) * np.cos(
                harmonic * angles + rng.uniform(0, 2 * np.pi)
            )
        lengths = np.clip(lengths, 0.2, 1.8)
        points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * lengths[:, None]
    stretch = float(np.exp(rng.normal(scale=0.4)))
    points = points * np.array([stretch**0.5, stretch**-0.5])
    turn = rng.uniform(0, 2 * np.pi) if rng.random() < 0.7 else 0.0
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    polygon: Polygon = (centre + radius * (points @ rotation)).astype(np.float32)
    return polygon


def _draw_thin(rng: Rng, mask: NDArray[np.uint8], centre: Any, radius: float) -> None:
    """A curve or a branching line, a few pixels wide."""
    size = mask.shape[0]
    thickness = max(2, round(size * float(rng.uniform(0.012, 0.05))))
    for _ in range(int(rng.integers(1, 4))):
        knots = centre + rng.normal(scale=max(radius, 0.15 * size) * 1.2, size=(4, 2))
        knots[0] = centre
        t = np.linspace(0, 1, 24)[:, None]
        # Cubic Bezier.
        curve = (
            (1 - t) ** 3 * knots[0]
            + 3 * (1 - t) ** 2 * t * knots[1]
            + 3 * (1 - t) * t**2 * knots[2]
            + t**3 * knots[3]
        )
        cv2.polylines(mask, [_fixed(curve)], False, 1, thickness, shift=4)


def _fixed(points: Any) -> NDArray[np.int32]:
    """Points in OpenCV's fixed-point form with 4 fractional bits."""
    return np.round(np.asarray(points) * 16).astype(np.int32)


def window_of(mask: NDArray[np.uint8]) -> tuple[slice, slice] | None:
    x, y, width, height = cv2.boundingRect(mask)
    if width == 0:
        return None
    return slice(y, y + height), slice(x, x + width)
