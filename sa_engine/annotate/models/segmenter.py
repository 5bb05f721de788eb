"""Answers to clicks: the decoder, with the frames that were used last."""

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sa_engine.annotate.models.clicks import Clicks
from sa_engine.annotate.models.embedding_file import read_embedding
from sa_engine.annotate.models.frames import ModelFrame
from sa_engine.masks.rle import Rle, decode_window
from sa_engine.model.checkpoint import load_checkpoint
from sa_engine.model.device import choose_device, choose_precision
from sa_engine.model.framing import fitted_size
from sa_engine.model.predictor import Encoded, LowRes, Predictor

_FRAMES = 8
_PREDICTIONS = 128
_GAIN = 8.0
"""Logit of a mask prompt that is made of a mask: the answers were alike for 3, 8 and 16."""


@dataclass(frozen=True, slots=True)
class ClickAnswer:
    """Candidates from the largest to the smallest.

    id: to be named as `previous`; "" of a preview. logits: (M, S/4, S/4) float32 of the frame.
    iou, area: of each; the area in pixels of the image, roughly.
    """

    id: str
    frame: ModelFrame
    input_hw: tuple[int, int]
    logits: NDArray[np.float32]
    iou: Sequence[float]
    area: Sequence[int]


class ClickSegmenter:
    """A loaded model that answers clicks. Not for several threads at once.

    name: for people. image_size: the model's input, pixels.
    """

    def __init__(
        self, checkpoint: Path, *, sha256: str, name: str, device: str, precision: str, cache: Path
    ) -> None:
        where = choose_device(device)
        self._predictor = Predictor(
            load_checkpoint(checkpoint), where, choose_precision(precision, where)
        )
        self.checkpoint = checkpoint
        self.sha256 = sha256
        self.name = name
        self.image_size = self._predictor.sam.image_size
        self._cache = cache
        self._frames: OrderedDict[ModelFrame, Encoded] = OrderedDict()
        self._predictions: OrderedDict[str, tuple[ModelFrame, NDArray[np.float32]]] = OrderedDict()
        self._numbers = itertools.count(1)

    def answer(self, frame: ModelFrame, clicks: Clicks) -> ClickAnswer:
        """Answer a prompt from a frame.

        Raises FileNotFoundError or DamagedError if the frame's embedding is not there.
        """
        self._take_up(frame)
        x, y, _, _ = frame.rect
        points = [(px - x, py - y) for px, py in clicks.points_xy]
        labels = list(clicks.labels)
        prompt: dict[str, Any] = {}
        if clicks.box_xyxy is not None:
            prompt["box_xyxy"] = np.array(clicks.box_xyxy) - (x, y, x, y)
        if clicks.base is not None:
            logits, inner = base_prompt(clicks.base, frame, self.image_size)
            prompt["mask_logits"] = logits
            points, labels = [inner, *points], [1, *labels]
        elif (before := self._before(frame, clicks)) is not None:
            prompt["mask_logits"] = before
        if points:
            prompt |= {"points_xy": points, "labels": labels}
        found = self._predictor.answer(**prompt, multimask=clicks.multimask)
        if not clicks.multimask and clicks.base is None and self._is_wrong(found, points, labels):
            found = self._predictor.answer(**prompt, multimask=True)
        return self._ordered(frame, found, is_kept=not clicks.preview)

    def _take_up(self, frame: ModelFrame) -> None:
        encoded = self._frames.pop(frame, None)
        if encoded is None:
            _, _, w, h = frame.rect
            embedding = read_embedding(frame.path(self._cache), model=self.sha256)
            self._predictor.set_embedding(embedding, (h, w))
            encoded = self._predictor.encoded
            while len(self._frames) >= _FRAMES:
                self._frames.popitem(last=False)
        self._frames[frame] = encoded
        self._predictor.encoded = encoded

    def _before(self, frame: ModelFrame, clicks: Clicks) -> NDArray[np.float32] | None:
        held = None if clicks.previous is None else self._predictions.get(clicks.previous)
        if held is None or held[0] != frame or clicks.candidate >= len(held[1]):
            return None
        logits: NDArray[np.float32] = held[1][clicks.candidate]
        return logits

    def _is_wrong(
        self, found: LowRes, points: Sequence[tuple[float, float]], labels: Sequence[int]
    ) -> bool:
        """Whether a single answer lost a point of the object, or holds one of the background."""
        height, width = self._predictor.size_hw
        input_hw = fitted_size((height, width), self.image_size)
        for (x, y), label in zip(points, labels, strict=True):
            row = min(int(y / height * input_hw[0] / 4), found.logits.shape[1] - 1)
            column = min(int(x / width * input_hw[1] / 4), found.logits.shape[2] - 1)
            if (found.logits[0, max(0, row), max(0, column)] > 0) != bool(label):
                return True
        return False

    def _ordered(self, frame: ModelFrame, found: LowRes, *, is_kept: bool) -> ClickAnswer:
        _, _, w, h = frame.rect
        input_hw = fitted_size((h, w), self.image_size)
        rows, columns = -(-input_hw[0] // 4), -(-input_hw[1] // 4)
        on = (found.logits[:, :rows, :columns] > 0).sum(axis=(1, 2))
        area = on * (16.0 * w * h / (input_hw[0] * input_hw[1]))
        order = np.argsort(-area, kind="stable")
        logits = np.ascontiguousarray(found.logits[order])
        name = ""
        if is_kept:
            name = f"p-{next(self._numbers)}"
            self._predictions[name] = (frame, logits)
        while len(self._predictions) > _PREDICTIONS:
            self._predictions.popitem(last=False)
        return ClickAnswer(
            name,
            frame,
            input_hw,
            logits,
            [round(float(value), 4) for value in found.iou[order]],
            [round(float(value)) for value in area[order]],
        )


def base_prompt(
    base: Rle, frame: ModelFrame, image_size: int
) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """A mask as a mask prompt (S/4, S/4) of a frame, and its innermost point there, (x, y)."""
    x, y, w, h = frame.rect
    window, (x0, y0) = decode_window(base)
    canvas = np.zeros((h, w), np.uint8)
    left, top = max(x0, x), max(y0, y)
    right = min(x0 + window.shape[1], x + w)
    bottom = min(y0 + window.shape[0], y + h)
    if right > left and bottom > top:
        canvas[top - y : bottom - y, left - x : right - x] = window[
            top - y0 : bottom - y0, left - x0 : right - x0
        ]
    input_hw = fitted_size((h, w), image_size)
    rows, columns = -(-input_hw[0] // 4), -(-input_hw[1] // 4)
    small = cv2.resize(canvas.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    logits = np.full((image_size // 4, image_size // 4), -_GAIN, np.float32)
    logits[:rows, :columns] = (2.0 * small - 1.0) * _GAIN
    # A frame of zeros around, for the innermost point of a mask that touches the border.
    depth = cv2.distanceTransform(np.pad((small > 0.5).astype(np.uint8), 1), cv2.DIST_L2, 3)
    if depth.max() == 0:
        ys, xs = np.nonzero(canvas)
        middle = len(xs) // 2
        return logits, (float(xs[middle]), float(ys[middle])) if len(xs) else (w / 2, h / 2)
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return logits, ((column - 0.5) * w / columns, (row - 0.5) * h / rows)
