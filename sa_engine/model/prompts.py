"""What the model is asked: points, boxes, masks."""

from dataclasses import dataclass

from torch import Tensor

PADDING, BACKGROUND, FOREGROUND, BOX_FIRST, BOX_SECOND = -1, 0, 1, 2, 3
"""Point labels. A box may also be given as its two corners among the points (top left with
BOX_FIRST, bottom right with BOX_SECOND), so that one batch can mix boxes and points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """P prompts; all fields have the same P, and at least one field is given.

    points_PN2: (x, y) in pixels of the model's input frame, float32, or None.
    labels_PN: one label per point (FOREGROUND, BACKGROUND, PADDING, ...), or None.
    boxes_P4: (x0, y0, x1, y1) in pixels of the model's input frame, float32, or None.
    masks_P1HW: low-resolution logits, a quarter of the input's side, or None.
    padded: the points bring their padding, or a box's corners, themselves: nothing is added to
        them, so that prompts with a box and prompts with points have equally many tokens.
    """

    points_PN2: Tensor | None = None
    labels_PN: Tensor | None = None
    boxes_P4: Tensor | None = None
    masks_P1HW: Tensor | None = None
    padded: bool = False

    def __post_init__(self) -> None:
        if (self.points_PN2 is None) != (self.labels_PN is None):
            raise ValueError("points and labels come together: give both or neither")
        given = [
            t
            for t in (self.points_PN2, self.labels_PN, self.boxes_P4, self.masks_P1HW)
            if t is not None
        ]
        if not given:
            raise ValueError("a prompt needs points, boxes or masks")
        counts = {len(t) for t in given}
        if len(counts) > 1:
            raise ValueError(f"points, labels, boxes and masks disagree on the count: {counts}")

    def __len__(self) -> int:
        for field in (self.points_PN2, self.boxes_P4, self.masks_P1HW):
            if field is not None:
                return len(field)
        raise AssertionError("checked in __post_init__")
