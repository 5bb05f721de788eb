"""Ask a model about one image, in the image's own pixels."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sa_engine.dataset.images.given import AnyImage, rgb_of
from sa_engine.model.embedding import ImageEmbedding
from sa_engine.model.framing import (
    fitted_size,
    logits_at_full_size,
    resize_to_input,
    to_input_frame,
)
from sa_engine.model.mask_decoder import (
    NUM_MASKS,
    ImageContext,
    prompts_per_chunk,
)
from sa_engine.model.prompts import BACKGROUND, FOREGROUND, Prompts
from sa_engine.model.sam import Sam


class Prediction(NamedTuple):
    """The answers to one prompt, best or not: M is 3, or 1 without `multimask`.

    masks: (M, H, W) bool at the image's size.
    iou: (M,) float32, the model's estimate of each mask's IoU.
    low_res_logits: (M, S/4, S/4) float32; one of them, (1, S/4, S/4), can be the next mask prompt.
    """

    masks: NDArray[np.bool_]
    iou: NDArray[np.float32]
    low_res_logits: NDArray[np.float32]


class LowRes(NamedTuple):
    """The answers to one prompt, before any is drawn at the image's size.

    logits: (M, S/4, S/4) float32, of the model's square input: above 0 is the object.
    iou: (M,) float32, the model's estimate of each mask's IoU.
    """

    logits: NDArray[np.float32]
    iou: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Encoded:
    """An image that a predictor has taken up, to be taken up again at once; opaque to others."""

    size_hw: tuple[int, int]
    embedding: ImageEmbedding
    context: ImageContext


class Predictor:
    """Encodes an image once and answers prompts about it. Not for use by several threads at once.

    The model is moved to the device and cast to the precision; None leaves it where and as it is.
    """

    def __init__(
        self,
        sam: Sam,
        device: torch.device | str | None = None,
        precision: torch.dtype | None = None,
    ) -> None:
        self.sam = sam.to(sam.device if device is None else device).eval()
        if precision is not None:
            self.sam.set_precision(precision)
        self._encoded: Encoded | None = None

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) of the image that was set."""
        return self.encoded.size_hw

    @property
    def embedding(self) -> ImageEmbedding:
        """The encoded image, to be kept for `set_embedding`."""
        return self.encoded.embedding

    @property
    def encoded(self) -> Encoded:
        """The image and what its prompts share: to go back to it without any work."""
        if self._encoded is None:
            raise RuntimeError("no image: call set_image or set_embedding first")
        return self._encoded

    @encoded.setter
    def encoded(self, encoded: Encoded) -> None:
        self._encoded = encoded

    @torch.inference_mode()
    def set_image(self, image: AnyImage) -> None:
        """Encode an image: the path of a file, a PIL image, or upright RGB (H, W, 3) uint8.

        Raises UsageError if there is no such file, ImageError if it cannot be read, ValueError for
        another kind of array.
        """
        rgb_HW3 = rgb_of(image)
        small = resize_to_input(rgb_HW3, self.sam.image_size)
        image_3HW = torch.tensor(small, device=self.sam.device).permute(2, 0, 1).float()
        embedding = self.sam.encode_image(self.sam.preprocess(image_3HW)[None])
        self.set_embedding(embedding, (rgb_HW3.shape[0], rgb_HW3.shape[1]))

    @torch.inference_mode()
    def set_embedding(self, embedding: ImageEmbedding, size_hw: tuple[int, int]) -> None:
        """Take up an image of (height, width) `size_hw` that was encoded before."""
        embedding = embedding.to(self.sam.device)
        encoder = self.sam.prompt_encoder
        context = self.sam.mask_decoder.prepare(
            embedding,
            encoder.image_pe(),
            shared_dense_1C11=encoder.no_mask_embed.weight[:, :, None, None],
        )
        self._encoded = Encoded(size_hw, embedding, context)

    def predict(
        self,
        *,
        points_xy: Any = None,
        labels: Any = None,
        box_xyxy: Any = None,
        mask_logits: NDArray[np.float32] | None = None,
        multimask: bool = True,
    ) -> Prediction:
        """Answer one prompt of points, a box, a mask, or several of these.

        points_xy: (N, 2) pixels of the image; labels: (N,) 1 foreground, 0 background; None for
            foreground everywhere.
        box_xyxy: (4,) pixels of the image.
        mask_logits: (1, S/4, S/4) or (S/4, S/4), from an earlier answer's `low_res_logits`.
        multimask: three answers, for an ambiguous prompt such as one point; else one.

        Raises ValueError for prompts of a wrong shape, none at all, or unknown labels.
        """
        prompts = self._prompts(points_xy, labels, box_xyxy, mask_logits)
        masks, iou, logits = self._answer(prompts, multimask=multimask)
        return Prediction(masks[0], iou[0], logits[0])

    def answer(
        self,
        *,
        points_xy: Any = None,
        labels: Any = None,
        box_xyxy: Any = None,
        mask_logits: NDArray[np.float32] | None = None,
        multimask: bool = True,
    ) -> LowRes:
        """`predict` without drawing masks at the image's size, which on a large image takes most
        of the time. Arguments and errors are those of `predict`.
        """
        prompts = self._prompts(points_xy, labels, box_xyxy, mask_logits)
        (_, iou, logits) = next(self._decoded(prompts, multimask=multimask))
        return LowRes(logits[0].cpu().numpy(), iou[0].cpu().numpy())

    def answer_points(self, points_xy: Any) -> LowRes:
        """`answer` for P prompts of one foreground point each, (P, 2), pixels of the image.

        Returns logits (P, 3, S/4, S/4) and iou (P, 3).
        """
        points = np.asarray(points_xy, dtype=np.float64).reshape(-1, 1, 2)
        points_PN2 = self._in_frame(points)
        labels_PN = torch.full(points_PN2.shape[:2], FOREGROUND, device=self.sam.device)
        prompts = Prompts(points_PN2=points_PN2, labels_PN=labels_PN)
        parts = list(self._decoded(prompts, multimask=True))
        return LowRes(
            np.concatenate([logits.cpu().numpy() for _, _, logits in parts]),
            np.concatenate([iou.cpu().numpy() for _, iou, _ in parts]),
        )

    def predict_boxes(
        self, boxes_xyxy: Any, *, multimask: bool = False
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Answer P boxes (P, 4), pixels of the image: masks (P, M, H, W) and IoU (P, M).

        P·M masks of full size are returned; of a large image ask for some at a time.
        """
        boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
        if not len(boxes):
            m = NUM_MASKS - 1 if multimask else 1
            return np.zeros((0, m, *self.size_hw), np.bool_), np.zeros((0, m), np.float32)
        masks, iou, _ = self._answer(
            Prompts(boxes_P4=self._boxes_in_frame(boxes)), multimask=multimask
        )
        return masks, iou

    def _prompts(
        self,
        points_xy: Any,
        labels: Any,
        box_xyxy: Any,
        mask_logits: NDArray[np.float32] | None,
    ) -> Prompts:
        points_PN2 = labels_PN = boxes_P4 = masks_P1HW = None
        if points_xy is not None:
            points_PN2 = self._in_frame(np.asarray(points_xy, dtype=np.float64).reshape(1, -1, 2))
            ones = np.full(points_PN2.shape[1], FOREGROUND)
            given = np.asarray(ones if labels is None else labels).reshape(1, -1)
            if given.shape[1] != points_PN2.shape[1]:
                raise ValueError(f"{points_PN2.shape[1]} points but {given.shape[1]} labels")
            if not np.isin(given, (BACKGROUND, FOREGROUND)).all():
                raise ValueError(f"labels are 1 (foreground) or 0 (background), got {given[0]}")
            labels_PN = torch.tensor(given, dtype=torch.int64, device=self.sam.device)
        if box_xyxy is not None:
            boxes_P4 = self._boxes_in_frame(np.asarray(box_xyxy, dtype=np.float64).reshape(1, 4))
        if mask_logits is not None:
            side = self.sam.image_size // 4
            masks_P1HW = torch.tensor(mask_logits, dtype=torch.float32, device=self.sam.device)
            if masks_P1HW.numel() != side * side:
                shape = tuple(masks_P1HW.shape)
                raise ValueError(f"mask prompt is {shape}; expected (1, {side}, {side})")
            masks_P1HW = masks_P1HW.view(1, 1, side, side)
        return Prompts(
            points_PN2=points_PN2, labels_PN=labels_PN, boxes_P4=boxes_P4, masks_P1HW=masks_P1HW
        )

    @torch.inference_mode()
    def _answer(
        self, prompts: Prompts, *, multimask: bool
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]]:
        input_hw = fitted_size(self.size_hw, self.sam.image_size)
        masks, ious, logits = [], [], []
        for p, iou, drawn_PMHW in self._decoded(prompts, multimask=multimask):
            full_KHW = logits_at_full_size(
                drawn_PMHW.flatten(0, 1),
                input_hw=input_hw,
                size_hw=self.size_hw,
                image_size=self.sam.image_size,
            )
            on_KHW = full_KHW > self.sam.mask_threshold
            masks.append(on_KHW.view(p, -1, *on_KHW.shape[1:]).cpu().numpy())
            ious.append(iou.cpu().numpy())
            logits.append(drawn_PMHW.cpu().numpy())
        return np.concatenate(masks), np.concatenate(ious), np.concatenate(logits)

    @torch.inference_mode()
    def _decoded(
        self, prompts: Prompts, *, multimask: bool
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Some prompts at a time: how many, P, their IoU (P, M) and logits (P, M, S/4, S/4)."""
        context = self.encoded.context
        decoder = self.sam.mask_decoder
        sparse, dense = self.sam.prompt_encoder(prompts)
        chosen = torch.arange(1, NUM_MASKS) if multimask else torch.arange(1)
        chosen = chosen.to(self.sam.device)
        step = prompts_per_chunk(self.sam.device)
        for i in range(0, len(prompts), step):
            at = slice(i, i + step)
            own = dense if prompts.masks_P1HW is None else dense[at]
            tokens = decoder.attend(context, sparse[at], own)
            p, m = len(tokens), len(chosen)
            drawn_KHW = decoder.masks(
                tokens,
                torch.arange(p, device=chosen.device).repeat_interleave(m),
                chosen.repeat(p),
            )
            yield p, tokens.iou_P4[:, chosen], drawn_KHW.view(p, m, *drawn_KHW.shape[1:])

    def _in_frame(self, points_xy: NDArray[np.float64]) -> Tensor:
        scaled = to_input_frame(points_xy, self.size_hw, self.sam.image_size)
        # float32 before the move: Apple's GPUs have no float64.
        return torch.from_numpy(scaled.astype(np.float32)).to(self.sam.device)

    def _boxes_in_frame(self, boxes_xyxy: NDArray[np.float64]) -> Tensor:
        return self._in_frame(boxes_xyxy.reshape(-1, 2, 2)).view(-1, 4)
