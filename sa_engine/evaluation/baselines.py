"""Baselines that learned nothing, given the same clicks."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from sa_engine.evaluation.clicks import Click
from sa_engine.evaluation.segmenters import Answer, BoxXyxy

_SEED_RADIUS = 3


class RegionGrowing:
    """Grows a region of like colour (CIE Lab) from each foreground click.

    tolerance: how far each Lab channel may stray from the clicked colour, [0, 255]. Regions grown
    from background clicks are taken away.
    """

    name = "region growing"
    takes_boxes = False

    def __init__(self, *, tolerance: int = 12) -> None:
        self._tolerance = tolerance
        self._lab_HW3: NDArray[np.uint8] = np.zeros((1, 1, 3), dtype=np.uint8)

    def set_image(self, rgb_HW3: NDArray[np.uint8]) -> None:
        """See `Segmenter`."""
        smooth = cv2.medianBlur(np.ascontiguousarray(rgb_HW3), 5)
        self._lab_HW3 = np.asarray(cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB), dtype=np.uint8)

    def start_object(self) -> None:
        """See `Segmenter`."""

    def answer(
        self,
        clicks: Sequence[Click],
        box_xyxy: BoxXyxy | None = None,  # noqa: ARG002 - the protocol's signature
    ) -> Answer:
        """See `Segmenter`."""
        mask = np.zeros(self._lab_HW3.shape[:2], dtype=np.bool_)
        for click in clicks:
            if click.foreground:
                mask |= self._grow(click)
        for click in clicks:
            if not click.foreground:
                mask &= ~self._grow(click)
        return Answer(mask[None], np.ones(1, dtype=np.float32), 0)

    def _grow(self, click: Click) -> NDArray[np.bool_]:
        height, width = self._lab_HW3.shape[:2]
        # OpenCV wants a rim of one pixel around the region map.
        region = np.zeros((height + 2, width + 2), dtype=np.uint8)
        allowed = (self._tolerance,) * 3
        flags = 4 | cv2.FLOODFILL_MASK_ONLY | cv2.FLOODFILL_FIXED_RANGE | (1 << 8)
        seed = (click.x, click.y)
        cv2.floodFill(self._lab_HW3, region, seed, (0, 0, 0), allowed, allowed, flags)
        return np.asarray(region[1:-1, 1:-1] != 0)


class GrabCut:
    """OpenCV's GrabCut (Rother et al., 2004), seeded with discs around the clicks.

    Without a background click the image's rim is probable background; a box makes everything
    outside it background.

    iterations: of the graph cut. max_side: images are shrunk to this long side, pixels.
    """

    name = "grabCut"
    takes_boxes = True

    def __init__(self, *, iterations: int = 3, max_side: int = 320) -> None:
        self._iterations = iterations
        self._max_side = max_side
        self._small_HW3: NDArray[np.uint8] = np.zeros((1, 1, 3), dtype=np.uint8)
        self._size_hw = (1, 1)

    def set_image(self, rgb_HW3: NDArray[np.uint8]) -> None:
        """See `Segmenter`."""
        self._size_hw = (rgb_HW3.shape[0], rgb_HW3.shape[1])
        scale = min(1.0, self._max_side / max(self._size_hw))
        small = cv2.resize(rgb_HW3, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        self._small_HW3 = np.ascontiguousarray(small[:, :, ::-1])

    def start_object(self) -> None:
        """See `Segmenter`."""

    def answer(self, clicks: Sequence[Click], box_xyxy: BoxXyxy | None = None) -> Answer:
        """See `Segmenter`."""
        trimap = self._trimap(clicks, box_xyxy)
        background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.setRNGSeed(0)
        known_background = bool(np.isin(trimap, (cv2.GC_BGD, cv2.GC_PR_BGD)).any())
        known_foreground = bool(np.isin(trimap, (cv2.GC_FGD, cv2.GC_PR_FGD)).any())
        if known_background and known_foreground:
            no_rectangle = (0, 0, 0, 0)
            cv2.grabCut(
                self._small_HW3,
                trimap,
                no_rectangle,
                background,
                foreground,
                self._iterations,
                cv2.GC_INIT_WITH_MASK,
            )
        small = np.isin(trimap, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
        height, width = self._size_hw
        mask = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST) != 0
        return Answer(np.asarray(mask)[None], np.ones(1, dtype=np.float32), 0)

    def _trimap(self, clicks: Sequence[Click], box_xyxy: BoxXyxy | None) -> NDArray[np.uint8]:
        height, width = self._small_HW3.shape[:2]
        scale_x, scale_y = width / self._size_hw[1], height / self._size_hw[0]
        trimap = np.full((height, width), cv2.GC_PR_BGD, dtype=np.uint8)
        if box_xyxy is not None:
            x0, y0, x1, y1 = box_xyxy
            trimap[:] = cv2.GC_BGD
            rows = slice(int(y0 * scale_y), max(int(np.ceil(y1 * scale_y)), int(y0 * scale_y) + 1))
            columns = slice(
                int(x0 * scale_x), max(int(np.ceil(x1 * scale_x)), int(x0 * scale_x) + 1)
            )
            trimap[rows, columns] = cv2.GC_PR_FGD
        elif clicks:
            # Near a foreground click, foreground is as likely as not.
            near = np.zeros_like(trimap)
            for click in clicks:
                if click.foreground:
                    at = (int(click.x * scale_x), int(click.y * scale_y))
                    cv2.circle(near, at, max(height, width) // 6, 1, -1)
            trimap[near != 0] = cv2.GC_PR_FGD
        for click in clicks:
            at = (int(click.x * scale_x), int(click.y * scale_y))
            sure = cv2.GC_FGD if click.foreground else cv2.GC_BGD
            cv2.circle(trimap, at, _SEED_RADIUS, int(sure), -1)
        return trimap
