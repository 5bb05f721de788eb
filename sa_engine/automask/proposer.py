"""Stage 2 for one image: a detector's boxes prompt the model, and masks it is sure of are proposed.

Source: "Segment Anything", section 4, "Semi-automatic stage". The image is encoded once, for the
detector and for the mask decoder. A box is a little ambiguous, too (an object or what lies in it):
of the model's three answers the one is taken that it predicts to be good and that fills its box.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sa_engine.automask import outlines
from sa_engine.automask.proposal_config import ProposalConfig
from sa_engine.automask.tiles import measure, tiling
from sa_engine.dataset.records import MaskRecord, Stage
from sa_engine.detection.boxes import BoxFilter, FoundBoxes
from sa_engine.detection.finder import BoxFinder, EncodedImage
from sa_engine.detection.network import Detector
from sa_engine.masks import boxes as box_algebra
from sa_engine.masks import rle as run_lengths
from sa_engine.masks.nms import Overlap, mask_nms
from sa_engine.masks.rle import Rle
from sa_engine.masks.stability import stability_from_counts
from sa_engine.model.crew import in_order, one_thread_an_operator
from sa_engine.model.framing import to_input_frame
from sa_engine.model.mask_decoder import NUM_MASKS, DecodedTokens, prompts_per_chunk
from sa_engine.model.prompts import Prompts
from sa_engine.model.sam import Sam

_USUAL_TOKENS, _MOST_PROMPTS = 64 * 64, 16
"""Few prompts at a time, so that threads share those of an image."""
_LOGIT_STRIDE = 4


@dataclass(frozen=True, slots=True)
class _Answers:
    """One mask for each of K boxes: which box, its low-resolution logits, its predicted IoU."""

    box_K: Tensor
    logits_KHW: Tensor
    iou_K: Tensor


class Proposer:
    """Proposes the masks of whole images with one model, one detector and one configuration.

    The model is moved to the device and cast to the precision; the detector stays float32.
    provenance: JSON values that every mask carries in its attributes, such as digests.
    """

    def __init__(
        self,
        sam: Sam,
        detector: Detector,
        config: ProposalConfig,
        *,
        device: torch.device | str = "cpu",
        precision: torch.dtype = torch.float32,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.config = config.with_thresholds_of(sam.card)
        self._sam = sam
        self._finder = BoxFinder(sam, detector, device=device, precision=precision)
        self._provenance = dict(provenance or {})

    @torch.inference_mode()
    def propose(self, rgb_HW3: NDArray[np.uint8], existing: Sequence[Rle] = ()) -> list[MaskRecord]:
        """The proposals for an upright RGB image, (H, W, 3) uint8, best first.

        existing: masks of the image that are there already; what repeats them is not proposed.
        Returns records of stage "semi-automatic" with the box that prompted each and its score.
        """
        with one_thread_an_operator(self._sam.device):
            return self._propose(rgb_HW3, existing)

    def _propose(self, rgb_HW3: NDArray[np.uint8], existing: Sequence[Rle]) -> list[MaskRecord]:
        config = self.config
        image = self._finder.encode(rgb_HW3)
        found = self._finder.find(
            image,
            BoxFilter(
                score_thresh=config.box_score_thresh,
                nms_thresh=config.box_nms_thresh,
                max_boxes=config.max_boxes,
            ),
        )
        found = _without_existing(found, existing, config)
        if not len(found):
            return []
        records = self._measured(self._answers(image, found), image, found)
        records = _without_duplicates(records, config)
        return _new_ones(records, existing, config)

    def _answers(self, image: EncodedImage, found: FoundBoxes) -> _Answers:
        """The best answer to each box, for boxes that have one that the model is sure of."""
        sam = self._sam
        decoder, device = sam.mask_decoder, sam.device
        corners_2N2 = found.boxes_xyxy_N4.reshape(-1, 2, 2)
        scaled = to_input_frame(corners_2N2, image.size_hw, sam.image_size)
        boxes_N4 = torch.from_numpy(scaled.astype(np.float32).reshape(-1, 4)).to(device)
        dense = sam.prompt_encoder.no_mask_embed.weight[:, :, None, None]
        context = decoder.prepare(
            image.encoded.embedding,
            sam.prompt_encoder.image_pe(),
            shared_dense_1C11=dense,
        )

        def answer(begin: int) -> _Answers | None:
            boxes_P4 = boxes_N4[begin : begin + step]
            sparse, dense_1C11 = sam.prompt_encoder(Prompts(boxes_P4=boxes_P4))
            found = self._best(decoder.attend(context, sparse, dense_1C11), boxes_P4)
            return None if found is None else replace(found, box_K=found.box_K + begin)

        step = prompts_per_chunk(device) * _USUAL_TOKENS // (sam.image_size // 16) ** 2
        step = max(1, min(step, _MOST_PROMPTS))
        parts = in_order(answer, range(0, len(boxes_N4), step))
        kept = [part for part in parts if part is not None]
        if not kept:
            none = torch.zeros(0, device=device)
            return _Answers(none.long(), none.view(0, *_low_hw(sam)), none)
        return _Answers(
            torch.cat([part.box_K for part in kept]),
            torch.cat([part.logits_KHW for part in kept]),
            torch.cat([part.iou_K for part in kept]),
        )

    def _best(self, tokens: DecodedTokens, boxes_P4: Tensor) -> _Answers | None:
        """The best answer to each of some boxes; None if the model is sure of none."""
        iou_P3 = tokens.iou_P4[:, 1:]
        sure_S = torch.nonzero(_is_sure(iou_P3.amax(dim=1), self.config))[:, 0]
        if not len(sure_S):
            return None
        answers = NUM_MASKS - 1
        drawn = self._sam.mask_decoder.masks(
            tokens,
            sure_S.repeat_interleave(answers),
            torch.arange(1, NUM_MASKS, device=sure_S.device).repeat(len(sure_S)),
        ).view(len(sure_S), answers, *_low_hw(self._sam))
        iou_S3 = iou_P3[sure_S]
        # An answer that the model is not sure of cannot win.
        merit_S3 = iou_S3 * (0.1 + _fit(drawn, boxes_P4[sure_S]))
        merit_S3 = torch.where(_is_sure(iou_S3, self.config), merit_S3, -1.0)
        best_S1 = merit_S3.argmax(dim=1, keepdim=True)
        rows_S = torch.arange(len(sure_S), device=sure_S.device)
        return _Answers(sure_S, drawn[rows_S, best_S1[:, 0]], iou_S3.gather(1, best_S1)[:, 0])

    def _measured(
        self, answers: _Answers, image: EncodedImage, found: FoundBoxes
    ) -> list[MaskRecord]:
        """Records of the masks that are stable, of a sensible size and fill their boxes."""
        config, size_hw = self.config, image.size_hw
        if not len(answers.box_K):
            return []
        tiles = tiling(
            size_hw=size_hw,
            input_hw=image.input_hw,
            image_size=self._sam.image_size,
            low_size=self._sam.image_size // _LOGIT_STRIDE,
            device=str(self._sam.device),
        )
        measured = measure(
            answers.logits_KHW,
            tiles,
            threshold=self._sam.mask_threshold,
            offset=config.stability_score_offset,
            least_stability=config.least_stability,
        )
        box_K = answers.box_K.cpu().numpy()
        iou_K = answers.iou_K.float().cpu().numpy()
        area_K = measured.area_M.cpu().numpy()
        stability_K = stability_from_counts(
            measured.high_M.cpu().numpy(), measured.low_M.cpu().numpy()
        )
        own_boxes = measured.boxes_xyxy_M4.cpu().numpy().astype(np.float64)
        own_boxes[:, 2:] += 1
        prompts = found.boxes_xyxy_N4[box_K].astype(np.float64)
        keep = area_K >= max(1, config.min_mask_area)
        if config.least_stability > 0:
            keep &= stability_K >= np.float32(config.least_stability)
        if config.max_mask_area_ratio < 1:
            keep &= area_K < config.max_mask_area_ratio * size_hw[0] * size_hw[1]
        keep &= box_algebra.paired_iou(own_boxes, prompts) >= config.box_fit_thresh
        chosen = np.flatnonzero(keep)
        records = []
        for k, tile_mask in zip(chosen, outlines.split(measured.masks, chosen), strict=True):
            rle = outlines.encode(tile_mask, origin_xy=(0, 0), image_size_hw=size_hw)
            x0, y0, x1, y1 = prompts[k].tolist()
            records.append(
                MaskRecord(
                    segmentation=rle,
                    bbox_xywh=run_lengths.bbox_xywh(rle),
                    area=run_lengths.area(rle),
                    stage=Stage.SEMI_AUTOMATIC,
                    predicted_iou=float(min(max(iou_K[k], 0.0), 1.0)),
                    stability_score=float(stability_K[k]),
                    crop_box_xywh=(0.0, 0.0, float(size_hw[1]), float(size_hw[0])),
                    prompt_box_xywh=(x0, y0, x1 - x0, y1 - y0),
                    box_score=float(found.scores_N[box_K[k]]),
                    attributes=self._provenance,
                )
            )
        return records


def _low_hw(sam: Sam) -> tuple[int, int]:
    """(height, width) of the decoder's low-resolution logits."""
    side = sam.image_size // _LOGIT_STRIDE
    return side, side


def rank(record: MaskRecord) -> float:
    """What proposals are ordered by: the detector's score times the predicted IoU."""
    return (record.box_score or 0.0) * (record.predicted_iou or 0.0)


def _is_sure(iou: Tensor, config: ProposalConfig) -> Tensor:
    if config.least_predicted_iou > 0:
        return iou > config.least_predicted_iou
    return torch.ones_like(iou, dtype=torch.bool)


def _fit(logits_SMHW: Tensor, boxes_S4: Tensor) -> Tensor:
    """IoU of each mask's own box, as far as low resolution tells it, with its prompt, (S, M)."""
    on = logits_SMHW > 0
    ends = []
    for axis in (-2, -1):
        line = on.any(dim=axis).int()
        first = line.argmax(dim=-1)
        last = line.shape[-1] - line.flip(-1).argmax(dim=-1)
        ends.append((first * _LOGIT_STRIDE, last * _LOGIT_STRIDE))
    (x0, x1), (y0, y1) = ends
    px0, py0, px1, py1 = boxes_S4[:, :, None].unbind(dim=1)
    shared = (torch.minimum(x1, px1) - torch.maximum(x0, px0)).clamp(min=0) * (
        torch.minimum(y1, py1) - torch.maximum(y0, py0)
    ).clamp(min=0)
    union = (x1 - x0) * (y1 - y0) + (px1 - px0) * (py1 - py0) - shared
    fit: Tensor = shared / union.clamp(min=1e-6) * on.flatten(2).any(dim=2)
    return fit


def _without_existing(
    found: FoundBoxes, existing: Sequence[Rle], config: ProposalConfig
) -> FoundBoxes:
    """The boxes that are not those of masks that are there already."""
    if not existing or config.existing_box_thresh >= 1 or not len(found):
        return found
    there = box_algebra.xywh_to_xyxy(np.array(run_lengths.boxes_xywh(list(existing))))
    ious = box_algebra.iou_matrix(found.boxes_xyxy_N4, there)
    new = ious.max(axis=1) <= config.existing_box_thresh
    return FoundBoxes(found.boxes_xyxy_N4[new], found.scores_N[new])


def _without_duplicates(records: list[MaskRecord], config: ProposalConfig) -> list[MaskRecord]:
    """Best first; of those that repeat each other the best."""
    records = sorted(records, key=rank, reverse=True)
    for threshold, overlap in (
        (config.mask_nms_thresh, Overlap.IOU),
        (config.containment_thresh, Overlap.CONTAINMENT),
    ):
        if threshold < 1:
            segmentations = [record.segmentation for record in records]
            ranks = np.array([rank(record) for record in records])
            keep = mask_nms(segmentations, ranks, threshold=threshold, overlap=overlap)
            records = [records[i] for i in keep]
    return records


def _new_ones(
    records: list[MaskRecord], existing: Sequence[Rle], config: ProposalConfig
) -> list[MaskRecord]:
    """The proposals that repeat no mask that is there already."""
    if not existing or not records:
        return records
    ious = run_lengths.iou_matrix([record.segmentation for record in records], existing)
    areas = np.array([record.area for record in records], dtype=np.float64)[:, None]
    there = np.array(run_lengths.areas(list(existing)), dtype=np.float64)[None, :]
    shared = run_lengths.shared_pixels(ious, areas + there)
    inside = shared / np.maximum(areas, 1)
    repeats = (ious > config.existing_iou_thresh) | (inside > config.existing_containment_thresh)
    return [records[i] for i in np.flatnonzero(~repeats.any(axis=1))]
