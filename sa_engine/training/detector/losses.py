"""Which places answer for which object, and what the answers cost.

Assignment follows the network's own answers (Feng et al., "TOOD", 2021): of the places inside an
object those take it whose score and box together are best. Scores are trained towards the IoU that
the box reaches (Zhang et al., "VarifocalNet", 2021), boxes by generalised IoU (Rezatofighi et al.,
2019).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sa_engine.detection.network import Answers
from sa_engine.training.detector.config import DetectorLossConfig


@dataclass(frozen=True, slots=True)
class DetectorLoss:
    """What a batch gave.

    loss: differentiable. score_loss, box_loss: its parts, unweighted.
    box_iou: mean IoU of the boxes at the places that answer for an object, weighted by how good a
        place is beside the object's best.
    """

    loss: Tensor
    score_loss: Tensor
    box_loss: Tensor
    box_iou: Tensor


@dataclass(frozen=True, slots=True)
class Assigned:
    """The places of one image that answer for an object.

    place_K: (K,) int64. object_K: (K,) int64. target_K: (K,) the score they should have.
    share_K: (K,) how good each is beside its object's best place, [0, 1].
    """

    place_K: Tensor
    object_K: Tensor
    target_K: Tensor
    share_K: Tensor


def detector_loss(
    answers: Answers,
    objects: list[Tensor],
    *,
    usable_BL: Tensor,
    config: DetectorLossConfig,
) -> DetectorLoss:
    """The loss of a batch.

    objects: for each image its boxes (G, 4), xyxy in pixels of the model's input; G may be 0.
    usable_BL: places that lie on the image; the others cost nothing.
    """
    score_sum = answers.score_logits_BL.new_zeros(())
    box_sum = iou_sum = target_sum = share_sum = score_sum
    for b, boxes_G4 in enumerate(objects):
        logits_L, boxes_L4 = answers.score_logits_BL[b], answers.boxes_BL4[b]
        with torch.no_grad():
            found = assign(
                logits_L.sigmoid(),
                boxes_L4,
                boxes_G4,
                centres_L2=answers.places.centres_L2,
                usable_L=usable_BL[b],
                config=config,
            )
        target_L = torch.zeros_like(logits_L)
        target_L[found.place_K] = found.target_K
        score_sum = score_sum + _score_loss(logits_L, target_L, usable_BL[b], config)
        giou_K, iou_K = generalised_iou(boxes_L4[found.place_K], boxes_G4[found.object_K])
        # By share, not by target: an object that no box fits yet needs its boxes moved the most.
        box_sum = box_sum + ((1 - giou_K) * found.share_K).sum()
        iou_sum = iou_sum + (iou_K.detach() * found.share_K).sum()
        target_sum = target_sum + found.target_K.sum()
        share_sum = share_sum + found.share_K.sum()
    # Few or no objects in a batch: the background must not count for more than it does elsewhere.
    score = score_sum / target_sum.clamp(min=1.0 * len(objects))
    box = box_sum / share_sum.clamp(min=1.0)
    loss = score + config.box_weight * box
    return DetectorLoss(loss, score.detach(), box.detach(), iou_sum / share_sum.clamp(min=1e-6))


def assign(
    scores_L: Tensor,
    boxes_L4: Tensor,
    objects_G4: Tensor,
    *,
    centres_L2: Tensor,
    usable_L: Tensor,
    config: DetectorLossConfig,
) -> Assigned:
    """Choose the places that answer for each object of one image.

    An object too small to hold a place's centre has the nearest one. A place that several objects
    want answers for the one that its box fits best.
    """
    if not len(objects_G4):
        none = torch.zeros(0, dtype=torch.int64, device=scores_L.device)
        return Assigned(none, none, scores_L[:0], scores_L[:0])
    x, y = centres_L2.unbind(dim=1)
    x0, y0, x1, y1 = objects_G4[:, :, None].unbind(dim=1)
    candidate_GL = (x > x0) & (x < x1) & (y > y0) & (y < y1) & usable_L
    middle_G2 = (objects_G4[:, :2] + objects_G4[:, 2:]) / 2
    distance_GL = torch.cdist(middle_G2, centres_L2)
    nearest_G = distance_GL.masked_fill(~usable_L, torch.inf).argmin(dim=1)
    rows_G = torch.arange(len(objects_G4), device=scores_L.device)
    candidate_GL[rows_G, nearest_G] = True
    iou_GL = box_iou(objects_G4, boxes_L4)
    fit_GL = scores_L**config.score_power * iou_GL**config.iou_power
    # Where no box reaches the object yet, nearness decides.
    fit_GL = fit_GL + 1e-12 / (1 + distance_GL)
    fit_GL = torch.where(candidate_GL, fit_GL, -1.0)
    top = min(config.places_per_object, fit_GL.shape[1])
    best_GT, place_GT = fit_GL.topk(top, dim=1)
    chosen_GL = torch.zeros_like(candidate_GL).scatter_(1, place_GT, best_GT > 0)
    wanted_L = torch.where(chosen_GL, iou_GL, -1.0)
    object_L = wanted_L.argmax(dim=0)
    place_K = torch.nonzero(chosen_GL.any(dim=0))[:, 0]
    object_K = object_L[place_K]
    # The best place of an object should score the IoU that it reaches, the others in proportion.
    fit_K, iou_K = fit_GL[object_K, place_K], iou_GL[object_K, place_K]
    best_fit_G = torch.zeros_like(middle_G2[:, 0]).scatter_reduce(0, object_K, fit_K, "amax")
    best_iou_G = torch.zeros_like(middle_G2[:, 0]).scatter_reduce(0, object_K, iou_K, "amax")
    share_K = fit_K / best_fit_G[object_K].clamp(min=1e-20)
    return Assigned(place_K, object_K, share_K * best_iou_G[object_K], share_K)


def box_iou(first_N4: Tensor, second_M4: Tensor) -> Tensor:
    """IoU of every box of `first` with every box of `second`, xyxy: (N, M)."""
    left_top = torch.maximum(first_N4[:, None, :2], second_M4[:, :2])
    right_bottom = torch.minimum(first_N4[:, None, 2:], second_M4[:, 2:])
    shared = (right_bottom - left_top).clamp(min=0).prod(dim=-1)
    area_N, area_M = ((b[:, 2:] - b[:, :2]).prod(dim=-1) for b in (first_N4, second_M4))
    return shared / (area_N[:, None] + area_M - shared).clamp(min=1e-6)


def generalised_iou(first_K4: Tensor, second_K4: Tensor) -> tuple[Tensor, Tensor]:
    """Generalised IoU and IoU of pairs of boxes, xyxy, (K,) each."""
    left_top = torch.maximum(first_K4[:, :2], second_K4[:, :2])
    right_bottom = torch.minimum(first_K4[:, 2:], second_K4[:, 2:])
    shared = (right_bottom - left_top).clamp(min=0).prod(dim=-1)
    area_1, area_2 = ((b[:, 2:] - b[:, :2]).prod(dim=-1) for b in (first_K4, second_K4))
    union = (area_1 + area_2 - shared).clamp(min=1e-6)
    hull_low = torch.minimum(first_K4[:, :2], second_K4[:, :2])
    hull_high = torch.maximum(first_K4[:, 2:], second_K4[:, 2:])
    hull = (hull_high - hull_low).prod(dim=-1).clamp(min=1e-6)
    iou = shared / union
    return iou - (hull - union) / hull, iou


def _score_loss(
    logits_L: Tensor, target_L: Tensor, usable_L: Tensor, config: DetectorLossConfig
) -> Tensor:
    scores = logits_L.detach().sigmoid()
    negative = config.negative_weight * scores**config.focus
    weight = torch.where(target_L > 0, target_L, negative) * usable_L
    return (F.binary_cross_entropy_with_logits(logits_L, target_L, reduction="none") * weight).sum()
