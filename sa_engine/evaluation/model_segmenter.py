"""The promptable model as a segmenter under evaluation."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sa_engine.evaluation.clicks import Click
from sa_engine.evaluation.segmenters import Answer, BoxXyxy
from sa_engine.model.predictor import Predictor


class ModelSegmenter:
    """Answers a lone click or box with three masks and keeps the one it predicts to be best.

    To several prompts it gives the single mask, with its last logits fed back, as in training; the
    three others still count for the oracle.
    """

    takes_boxes = True

    def __init__(self, predictor: Predictor, *, name: str = "model") -> None:
        self.name = name
        self._predictor = predictor
        self._fed_back: NDArray[np.float32] | None = None

    def set_image(self, rgb_HW3: NDArray[np.uint8]) -> None:
        """See `Segmenter`."""
        self._predictor.set_image(rgb_HW3)

    def start_object(self) -> None:
        """See `Segmenter`."""
        self._fed_back = None

    def answer(self, clicks: Sequence[Click], box_xyxy: BoxXyxy | None = None) -> Answer:
        """See `Segmenter`."""
        points = [(c.x, c.y) for c in clicks] or None
        labels = [int(c.foreground) for c in clicks] or None
        several = len(clicks) + (box_xyxy is not None) > 1
        answers = [
            self._predictor.predict(
                points_xy=points,
                labels=labels,
                box_xyxy=box_xyxy,
                mask_logits=self._fed_back,
                multimask=multimask,
            )
            for multimask in ((False, True) if several else (True,))
        ]
        masks = np.concatenate([a.masks for a in answers])
        scores = np.concatenate([a.iou for a in answers])
        logits = np.concatenate([a.low_res_logits for a in answers])
        chosen = 0 if several else int(scores.argmax())
        self._fed_back = logits[chosen : chosen + 1]
        return Answer(masks, scores, chosen)
