"""Frames: the rectangle of an image that an embedding was made of, and where it is kept."""

from dataclasses import dataclass
from pathlib import Path

Rect = tuple[int, int, int, int]
"""(x, y, width, height) in pixels of the image."""


@dataclass(frozen=True, slots=True)
class ModelFrame:
    """A rectangle of an image as a model sees it; the whole image has its full size."""

    model: str
    image: str
    rect: Rect

    def path(self, cache: Path) -> Path:
        """The file of its embedding. model, image: SHA-256 of the two files."""
        x, y, w, h = self.rect
        return cache / self.model[:16] / f"{self.image}-{x}-{y}-{w}-{h}.safetensors"

    def holds(self, points_xy: list[tuple[float, float]], image_hw: tuple[int, int]) -> bool:
        """Whether points lie inside with 5 % to spare, but where the frame ends with the image."""
        x, y, w, h = self.rect
        height, width = image_hw
        left = x if x == 0 else x + 0.05 * w
        top = y if y == 0 else y + 0.05 * h
        right = x + w if x + w >= width else x + 0.95 * w
        bottom = y + h if y + h >= height else y + 0.95 * h
        return all(left <= px <= right and top <= py <= bottom for px, py in points_xy)


def trim_cache(cache: Path, limit_bytes: int) -> int:
    """Remove the embeddings that were used longest ago until the limit holds; bytes removed."""
    files = []
    for path in cache.rglob("*.safetensors"):
        try:
            files.append((path.stat(), path))
        except FileNotFoundError:
            continue
    left = sum(stat.st_size for stat, _ in files)
    removed = 0
    for stat, path in sorted(files, key=lambda each: each[0].st_mtime_ns):
        if left - removed <= limit_bytes:
            break
        path.unlink(missing_ok=True)
        removed += stat.st_size
    return removed
