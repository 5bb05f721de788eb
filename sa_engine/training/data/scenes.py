"""Synthetic scenes: layered textured shapes with perfect masks, deterministic by seed.

They teach "this point, that region" before the first photograph is seen, and stand in for data in
tests. A scene is a background and a stack of things: solid, thin, hollow, and things made of parts,
whose whole and parts are both in the answer, as a click on a part means either. Things cast
shadows, hide one another and are filled with flat colours, gradients, noise, patterns, or pieces
of photographs given by the caller. Last comes a camera: light, blur, sensor noise, JPEG.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]
_Polygon = NDArray[np.float32]
_Rng = np.random.Generator


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneConfig:
    """How scenes are composed.

    size: side of the square picture, pixels, >= 32.
    min_things, max_things: things in a scene, before occlusion.
    part_probability: chance that a thing is made of parts, [0, 1].
    photo_probability: chance that a fill comes from a photograph where some are given, [0, 1].
    texture_probability: chance that a fill is more than a flat colour or a gradient, [0, 1].
    camera_probability: chance of each of blur, noise and JPEG, [0, 1].
    min_area: smallest visible mask kept, pixels.
    """

    size: int = 128
    min_things: int = 2
    max_things: int = 9
    part_probability: float = 0.35
    photo_probability: float = 0.5
    texture_probability: float = 0.7
    camera_probability: float = 0.5
    min_area: int = 24

    def __post_init__(self) -> None:
        if self.size < 32:
            raise ValueError(f"scene size is {self.size} px; give at least 32")
        if not 1 <= self.min_things <= self.max_things:
            raise ValueError(f"things must satisfy 1 <= {self.min_things} <= {self.max_things}")
        for name in (
            "part_probability",
            "photo_probability",
            "texture_probability",
            "camera_probability",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a value in [0, 1]")


EASY = SceneConfig(
    part_probability=0.15,
    photo_probability=0.0,
    texture_probability=0.1,
    camera_probability=0.3,
)
"""Mostly flat colours: from random weights a first lesson that pictures are worth a look."""

MIDDLE = SceneConfig(
    part_probability=0.25,
    photo_probability=0.4,
    texture_probability=0.4,
    camera_probability=0.4,
)

SCENES = {"easy": EASY, "middle": MIDDLE, "full": SceneConfig()}


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
    backdrop, piece_HW = _backdrop(rng, size, config=config, photos=photos)
    canvas = backdrop.astype(np.float32)
    # Every drawn piece gets a number; a later piece overwrites the earlier ones it hides.
    pieces = int(piece_HW.max())
    wholes: list[list[int]] = [[number] for number in range(1, pieces + 1)]
    for _ in range(int(rng.integers(config.min_things, config.max_things + 1))):
        masks = _thing(rng, config)
        if rng.random() < 0.4:
            _cast_shadow(rng, canvas, masks[0])
        numbers = []
        base: Rgb | None = None
        for position, mask in enumerate(masks):
            window = _window(mask)
            if window is None:
                continue
            rows, columns = window
            height, width = rows.stop - rows.start, columns.stop - columns.start
            related = base is not None and rng.random() < 0.4
            fill = _fill(rng, height, width, config=config, photos=photos)
            if related and base is not None:
                # A part often shares its whole's material under another light.
                fill = _relit(rng, cv2.resize(base, (width, height)))
            inside = mask[rows, columns] != 0
            canvas[rows, columns][inside] = _shaded(rng, fill)[inside]
            if rng.random() < 0.15:
                _outline(rng, canvas, mask)
            pieces += 1
            piece_HW[rows, columns][inside] = pieces
            numbers.append(pieces)
            if position == 0:
                base = fill
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


# ---- shapes ------------------------------------------------------------------------------------


def _thing(rng: _Rng, config: SceneConfig) -> list[NDArray[np.uint8]]:
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
    rng: _Rng, body: NDArray[np.uint8], centre: Any, radius: float
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


def _outline_shape(rng: _Rng, centre: Any, radius: float) -> _Polygon:
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
    polygon: _Polygon = (centre + radius * (points @ rotation)).astype(np.float32)
    return polygon


def _draw_thin(rng: _Rng, mask: NDArray[np.uint8], centre: Any, radius: float) -> None:
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


def _window(mask: NDArray[np.uint8]) -> tuple[slice, slice] | None:
    x, y, width, height = cv2.boundingRect(mask)
    if width == 0:
        return None
    return slice(y, y + height), slice(x, x + width)


# ---- fills -------------------------------------------------------------------------------------


def _fill(
    rng: _Rng,
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
    kinds: tuple[Callable[[_Rng, int, int], Rgb], ...] = (
        (_noise, _noise, _pattern) if textured else (_flat, _gradient)
    )
    return kinds[int(rng.integers(len(kinds)))](rng, height, width)


def _backdrop(
    rng: _Rng, size: int, *, config: SceneConfig, photos: Sequence[Rgb]
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
    kinds: tuple[Callable[[_Rng, int, int], Rgb], ...] = (
        (_noise, _pattern) if textured else (_flat, _gradient)
    )
    return kinds[int(rng.integers(2))](rng, size, size), np.ones((size, size), np.int32)


_SPREADS = (8.0, 30.0, 70.0)


def _colour(rng: _Rng) -> NDArray[np.float32]:
    """A colour: mostly muted, as in photographs."""
    spread = _SPREADS[int(rng.integers(3))]
    colour = 15 + 230 * rng.random() + spread * rng.standard_normal(3, dtype=np.float32)
    return np.asarray(np.minimum(np.maximum(colour, 0), 255), dtype=np.float32)


def _flat(rng: _Rng, height: int, width: int) -> Rgb:
    return np.broadcast_to(_colour(rng), (height, width, 3)).astype(np.uint8)


def _ramp(rng: _Rng, height: int, width: int) -> NDArray[np.float32]:
    """A linear ramp in [0, 1] at a random angle, (height, width)."""
    angle = rng.uniform(0, 2 * np.pi)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    ramp = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    return np.clip((ramp + 1.4) / 2.8, 0, 1)


def _gradient(rng: _Rng, height: int, width: int) -> Rgb:
    mix = _ramp(rng, height, width)[:, :, None]
    return (_colour(rng) * mix + _colour(rng) * (1 - mix)).astype(np.uint8)


def _cloud(rng: _Rng, height: int, width: int) -> NDArray[np.float32]:
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


def _noise(rng: _Rng, height: int, width: int) -> Rgb:
    mix = 1 / (1 + np.exp(-_cloud(rng, height, width) * rng.uniform(0.4, 2.5)))[:, :, None]
    picture = _colour(rng) * mix + _colour(rng) * (1 - mix)
    return np.asarray(np.clip(picture, 0, 255), dtype=np.uint8)


def _pattern(rng: _Rng, height: int, width: int) -> Rgb:
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
    second = _relit(rng, first) if rng.random() < 0.5 else _flat(rng, height, width)
    return np.where(on[:, :, None], first, second)


def _landscape(rng: _Rng, height: int, width: int) -> tuple[Rgb, NDArray[np.int32]]:
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


def _photo_piece(rng: _Rng, height: int, width: int, photo: Rgb, *, whole: bool) -> Rgb:
    """A random window of a photograph, resized; `whole` takes most of it."""
    full_height, full_width = photo.shape[:2]
    share = rng.uniform(0.5, 1.0) if whole else rng.uniform(0.1, 0.6)
    h, w = max(8, int(full_height * share)), max(8, int(full_width * share))
    y = int(rng.integers(0, full_height - h + 1))
    x = int(rng.integers(0, full_width - w + 1))
    piece = cv2.resize(photo[y : y + h, x : x + w], (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(piece[:, ::-1] if rng.random() < 0.5 else piece, dtype=np.uint8)


def _relit(rng: _Rng, picture: Any) -> Rgb:
    gain = rng.uniform(0.6, 1.5, size=3) if rng.random() < 0.5 else rng.uniform(0.5, 1.6)
    lit = np.clip(np.asarray(picture, dtype=np.float32) * gain, 0, 255)
    return np.asarray(lit, dtype=np.uint8)


def _shaded(rng: _Rng, picture: Rgb) -> NDArray[np.float32]:
    """Light that falls from one side."""
    shaded = picture.astype(np.float32)
    if rng.random() < 0.5:
        height, width = picture.shape[:2]
        depth = rng.uniform(0.2, 0.8)
        shaded *= (1 - depth / 2 + depth * _ramp(rng, height, width))[:, :, None]
    return shaded


def _outline(rng: _Rng, canvas: NDArray[np.float32], mask: NDArray[np.uint8]) -> None:
    """A line along a piece's edge, drawn just inside it."""
    inner = cv2.erode(mask, np.ones((3, 3), dtype=np.uint8))
    canvas[(mask != 0) & (inner == 0)] = _colour(rng)


def _cast_shadow(rng: _Rng, canvas: NDArray[np.float32], mask: NDArray[np.uint8]) -> None:
    size = mask.shape[0]
    shift = rng.normal(scale=0.04 * size, size=2)
    move = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], dtype=np.float32)
    shadow = cv2.warpAffine(mask.astype(np.float32), move, (size, size))
    width = int(rng.integers(1, max(2, size // 24))) * 2 + 1
    shadow = cv2.blur(shadow, (width, width))
    canvas *= (1 - rng.uniform(0.2, 0.7) * shadow)[:, :, None]


def _photograph(rng: _Rng, canvas: NDArray[np.float32], config: SceneConfig) -> Rgb:
    """What a camera makes of the scene: light, blur, noise, JPEG."""
    size = config.size
    if rng.random() < config.camera_probability:
        depth = rng.uniform(0.1, 0.6)
        canvas = canvas * (1 - depth / 2 + depth * _ramp(rng, size, size))[:, :, None]
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
