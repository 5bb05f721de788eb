"""What a promptable model's training says of its progress."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepReport:
    """What the steps since the last report did; means over the prompts of all processes.

    step: steps done. first_best_iou: round 1, best of three masks; first_own_iou: the one that the
    model predicts to be best; last_iou: after the last round. iou_error: |predicted − true| IoU in
    round 1. images_per_s: of all processes, since the last report. data_wait_share: of that time
    the main process waited for samples; well above 0, more processes should prepare them.
    horizon: steps that the run will have had at its end, as far as can be told.
    """

    step: int
    loss: float
    first_best_iou: float
    first_own_iou: float
    last_iou: float
    iou_error: float
    lr: float
    grad_norm: float
    images_per_s: float
    data_wait_share: float = 0.0
    horizon: int = 0
