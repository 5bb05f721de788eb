"""A dataset as a source of training samples: jitter, crop, flip, light."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from sa_engine.dataset.records import ImageRecord, ImageStatus, MaskRecord, Stage
from sa_engine.errors import UsageError
from sa_engine.masks import rle
from sa_engine.training.data.samples import PromptConfig, Sample, build_sample

_MOST_PICTURES = 250
"""Random images, each with four crops, that are tried for a mask of a usable size."""


class ImageSet(Protocol):
    """Images with masks: a `Dataset`, or a set of a pack."""

    def images(self, *, status: ImageStatus | None = None) -> Iterator[ImageRecord]:
        """All records in order; only those of a status if given."""

    def read_rgb(self, record: ImageRecord) -> NDArray[np.uint8]:
        """The image's pixels, (H, W, 3) uint8, as its masks were made on them."""

    def digest(self) -> str:
        """Hex SHA-256 of the content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JitterConfig:
    """How an image is varied; scales are those of large-scale jitter (Ghiasi et al., 2021).

    min_scale: smallest longer side of the image as a share of the model's input, before it is
        cropped to that; drawn log-uniformly.
    max_scale: largest longer side as a share of the model's input.
    aspect: deviation of the logarithm of the aspect ratio, >= 0.
    flip_probability: chance of a mirror image, [0, 1].
    colour: strength of changes of brightness, contrast and hue, [0, 1].
    grey_probability: chance of a grey image, [0, 1].
    """

    min_scale: float = 0.1
    max_scale: float = 2.0
    aspect: float = 0.0
    flip_probability: float = 0.5
    colour: float = 0.0
    grey_probability: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.min_scale <= self.max_scale:
            raise ValueError(f"scales must satisfy 0 < {self.min_scale} <= {self.max_scale}")
        for name in ("flip_probability", "colour", "grey_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a value in [0, 1]")


@dataclass(frozen=True, slots=True)
class Window:
    """What of an image is shown: source pixels x0..x1, y0..y1, at size_hw, mirrored if flipped."""

    x0: int
    y0: int
    x1: int
    y1: int
    size_hw: tuple[int, int]
    flipped: bool

    def cut(self, array: NDArray[np.uint8], *, nearest: bool = False) -> NDArray[np.uint8]:
        """An image or a mask as shown, (h, w, ...) uint8."""
        piece = array[self.y0 : self.y1, self.x0 : self.x1]
        smooth = cv2.INTER_AREA if self.size_hw[0] < piece.shape[0] else cv2.INTER_LINEAR
        method = cv2.INTER_NEAREST if nearest else smooth
        resized = cv2.resize(piece, self.size_hw[::-1], interpolation=method)
        return np.ascontiguousarray(resized[:, ::-1] if self.flipped else resized, dtype=np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoSource:
    """Images of a dataset that have masks, each as likely as any other.

    stage_weights: how much more often a mask of a stage is chosen than others of its image.
    mask_area_power: a mask is chosen with a weight of its area to this power; 0 treats all alike,
        above 0 keeps a crowd of tiny regions from drowning the things they make up.
    """

    name: str
    dataset: ImageSet
    records: list[ImageRecord]
    size: int
    prompts: PromptConfig
    jitter: JitterConfig = JitterConfig()
    stage_weights: Mapping[Stage, float] = field(default_factory=dict)
    mask_area_power: float = 0.0

    def draw(self, rng: np.random.Generator, *, key: int) -> Sample:
        """A random image, varied, with masks that are visible in it.

        Raises UsageError if masks of a usable size are nowhere to be found.
        """
        record, window, masks = self._find(rng)
        rgb = relight(window.cut(self.dataset.read_rgb(record)), self.jitter, rng)
        return build_sample(rgb, masks, size=self.size, config=self.prompts, rng=rng, key=key)

    def check(self) -> None:
        """Raises UsageError, with counts, if no mask has a usable size; asked before training."""
        self._find(np.random.default_rng(0))

    def _find(
        self, rng: np.random.Generator
    ) -> tuple[ImageRecord, Window, list[NDArray[np.bool_]]]:
        for _ in range(max(_MOST_PICTURES, 10 * len(self.records))):
            record = self.records[int(rng.integers(len(self.records)))]
            for _ in range(4):
                window = draw_window(record, rng, size=self.size, jitter=self.jitter)
                masks = self._masks(record, window, rng)
                if masks:
                    return record, window, masks
        raise UsageError(self._nothing_fits())

    def _nothing_fits(self) -> str:
        limits, small, large = self.prompts, 0, 0
        areas = [(m.area, r) for r in self.records for m in r.annotations if not m.iscrowd]
        for area, record in areas:
            zoom = self.jitter.max_scale * self.size / max(record.width, record.height)
            small += area * zoom**2 < limits.min_area
            large += area > limits.max_area_fraction * record.width * record.height
        return (
            f"{self.name} has {len(areas)} masks on {len(self.records)} images and none can be "
            f"trained on: {small} are under {limits.min_area:g} pixels of the model's input "
            f"(--min-area), {large} cover over {limits.max_area_fraction:g} of their image "
            f"(--max-area-fraction), {len(areas) - small - large} were not seen in a random crop; "
            "change these limits, or leave the set out"
        )

    def stage_share(self) -> float:
        """The mean weight of the set's masks by their stages: how much more often it is drawn."""
        if not self.stage_weights:
            return 1.0
        counts = Counter(m.stage for r in self.records for m in r.annotations if not m.iscrowd)
        weighted = sum(n * self.stage_weights.get(stage, 1.0) for stage, n in counts.items())
        return weighted / counts.total()

    def _masks(
        self, record: ImageRecord, window: Window, rng: np.random.Generator
    ) -> list[NDArray[np.bool_]]:
        """Masks with enough to see in the window, as drawn in it."""
        candidates = [m for m in record.annotations if not m.iscrowd and meets(m, window)]
        if not candidates:
            return []
        weights = np.array(
            [
                self.stage_weights.get(m.stage, 1.0) * max(m.area, 1) ** self.mask_area_power
                for m in candidates
            ]
        )
        # Weighted order without replacement (Efraimidis and Spirakis, 2006).
        order = np.argsort(rng.random(len(candidates)) ** (1 / np.maximum(weights, 1e-9)))[::-1]
        shown_area = window.size_hw[0] * window.size_hw[1]
        chosen: list[NDArray[np.bool_]] = []
        for i in order[: 3 * self.prompts.masks_per_image]:
            full = rle.decode(candidates[i].segmentation).view(np.uint8)
            # Targets are averaged over logit cells later, which smooths this again.
            drawn = window.cut(full, nearest=True).view(np.bool_)
            area = int(drawn.sum())
            if self.prompts.min_area <= area <= self.prompts.max_area_fraction * shown_area:
                chosen.append(drawn)
            if len(chosen) == self.prompts.masks_per_image:
                break
        return chosen


def draw_window(
    record: ImageRecord, rng: np.random.Generator, *, size: int, jitter: JitterConfig
) -> Window:
    """A random part of an image at a random scale, for an input of `size` pixels a side."""
    scale = np.exp(rng.uniform(np.log(jitter.min_scale), np.log(jitter.max_scale)))
    zoom = scale * size / max(record.width, record.height)
    stretch = np.exp(rng.normal(scale=jitter.aspect) / 2) if jitter.aspect else 1.0
    zoom_x, zoom_y = zoom * stretch, zoom / stretch
    width = min(record.width, max(1, round(size / zoom_x)))
    height = min(record.height, max(1, round(size / zoom_y)))
    x0 = int(rng.integers(0, record.width - width + 1))
    y0 = int(rng.integers(0, record.height - height + 1))
    shown = (
        min(size, max(1, round(height * zoom_y))),
        min(size, max(1, round(width * zoom_x))),
    )
    flipped = bool(rng.random() < jitter.flip_probability)
    return Window(x0, y0, x0 + width, y0 + height, shown, flipped)


def usable_records(dataset: ImageSet, name: str) -> list[ImageRecord]:
    """Records of images with at least one mask that is not a crowd.

    Raises UsageError if there are none.
    """
    done = list(dataset.images(status=ImageStatus.OK))
    records = [r for r in done if any(not m.iscrowd for m in r.annotations)]
    if not records:
        crowds = sum(len(record.annotations) for record in done)
        masks = f"{crowds} masks, all of crowds (iscrowd)" if crowds else "not one mask"
        raise UsageError(
            f"{name} holds no image with masks of objects ({len(done)} images, {masks}); "
            "there is nothing to train on"
        )
    return records


def meets(mask: MaskRecord, window: Window) -> bool:
    """Whether a mask's box overlaps the window."""
    x, y, width, height = mask.bbox_xywh
    return x < window.x1 and x + width > window.x0 and y < window.y1 and y + height > window.y0


def relight(
    rgb: NDArray[np.uint8], jitter: JitterConfig, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """An image in other light: brightness, contrast, hue, grey."""
    if not jitter.colour and not jitter.grey_probability:
        return rgb
    if rng.random() < jitter.grey_probability:
        grey = cv2.transform(rgb, np.full((3, 3), 1 / 3, dtype=np.float32))
        rgb = np.asarray(grey, dtype=np.uint8)
    strength = jitter.colour
    mean = float(np.mean(cv2.mean(rgb)[:3]))
    contrast = 1 + strength * rng.uniform(-0.5, 0.5)
    gain_3 = (1 + strength * rng.uniform(-0.4, 0.4)) * (
        1 + strength * rng.uniform(-0.15, 0.15, size=3)
    )
    # Each channel by itself, so 256 values each say it all.
    level_256 = (np.arange(256) - mean) * contrast + mean
    table = np.clip(level_256[:, None] * gain_3, 0, 255).astype(np.uint8)[:, None]
    return np.asarray(cv2.LUT(rgb, table.reshape(1, 256, 3)), dtype=np.uint8)
