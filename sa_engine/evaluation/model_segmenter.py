"""The promptable model as a segmenter under evaluation."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sa_engine.evaluation.clicks import Click
from sa_engine.evaluation.segmenters import Answer, BoxXyxy
from sa_engine.model.prompts import BACKGROUND, FOREGROUND, Prompts
from sa_engine.model.sam import Sam


class ModelSegmenter:
    """Answers a lone click or box with three masks and keeps the one it predicts to be best.

    To several clicks it gives the single mask, with its last logits fed back, as in training; the
    three others still count for the oracle.
    """

    takes_boxes = True

    def __init__(self, sam: Sam, *, name: str = "model") -> None:
        self.name = name
        self._sam = sam.eval()
        self._embedding: Tensor | None = None
        self._size_hw = (1, 1)
        self._fit_hw = (1, 1)
        self._fed_back: Tensor | None = None

    @torch.inference_mode()
    def set_image(self, rgb_HW3: NDArray[np.uint8]) -> None:
        """See `Segmenter`."""
        height, width = rgb_HW3.shape[:2]
        scale = self._sam.image_size / max(height, width)
        self._size_hw = (height, width)
        self._fit_hw = (max(1, round(height * scale)), max(1, round(width * scale)))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = cv2.resize(rgb_HW3, self._fit_hw[::-1], interpolation=method)
        pixels = torch.from_numpy(np.ascontiguousarray(small.transpose(2, 0, 1))).float()
        ready = self._sam.preprocess(pixels[None].to(self._sam.device))
        self._embedding = self._sam.encode_image(ready)

    def start_object(self) -> None:
        """See `Segmenter`."""
        self._fed_back = None

    @torch.inference_mode()
    def answer(self, clicks: Sequence[Click], box_xyxy: BoxXyxy | None = None) -> Answer:
        """See `Segmenter`."""
        if self._embedding is None:
            raise RuntimeError("set_image comes before answer")
        device = self._sam.device
        scale = torch.tensor(
            [self._fit_hw[1] / self._size_hw[1], self._fit_hw[0] / self._size_hw[0]], device=device
        )
        points = labels = box = None
        if clicks:
            xy = torch.tensor([[(c.x + 0.5, c.y + 0.5) for c in clicks]], device=device) * scale
            points = xy - 0.5
            kinds = [FOREGROUND if c.foreground else BACKGROUND for c in clicks]
            labels = torch.tensor([kinds], device=device)
        if box_xyxy is not None:
            box = torch.tensor([box_xyxy], device=device, dtype=torch.float32) * scale.repeat(2)
        prompts = Prompts(
            points_PN2=points, labels_PN=labels, boxes_P4=box, masks_P1HW=self._fed_back
        )
        several = len(clicks) + (box is not None) > 1
        logits, iou = self._sam.decode(self._embedding, prompts, multimask=True)
        if several:
            single, single_iou = self._sam.decode(self._embedding, prompts, multimask=False)
            logits, iou = torch.cat([single, logits], dim=1), torch.cat([single_iou, iou], dim=1)
        chosen = 0 if several else int(iou[0].argmax())
        self._fed_back = logits[:, chosen : chosen + 1].clone()
        return Answer(self._full_size(logits), iou[0].float().cpu().numpy(), chosen)

    def _full_size(self, logits_1Mhw: Tensor) -> NDArray[np.bool_]:
        size = self._sam.image_size
        full = F.interpolate(logits_1Mhw, (size, size), mode="bilinear", align_corners=False)
        full = full[..., : self._fit_hw[0], : self._fit_hw[1]]
        full = F.interpolate(full, self._size_hw, mode="bilinear", align_corners=False)
        return np.asarray((full[0] > self._sam.mask_threshold).cpu().numpy())
