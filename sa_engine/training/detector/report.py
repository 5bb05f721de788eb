"""What a detector's training says of its progress."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DetectorReport:
    """What the steps since the last report did; means over the images of all processes.

    step: steps done. score_loss, box_loss: the two parts of the loss. box_iou: mean IoU of the
    boxes at the places that answer for an object. objects: an image. images_per_s: of all
    processes, since the last report. data_wait_share: of that time the main process waited for
    samples. horizon: steps that the run will have had at its end, as far as can be told.
    """

    step: int
    loss: float
    score_loss: float
    box_loss: float
    box_iou: float
    objects: float
    lr: float
    grad_norm: float
    images_per_s: float
    data_wait_share: float = 0.0
    horizon: int = 0
