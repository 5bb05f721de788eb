"""Stability of a mask: how little it changes when the threshold of its logits moves.

The score is the IoU of the masks at `threshold + offset` and `threshold - offset` (paper, fully
automatic stage; there the offset is 1). The first lies inside the second, so it is a ratio of two
counts.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def stability_score(
    logits: NDArray[Any], *, threshold: float = 0.0, offset: float = 1.0
) -> NDArray[np.float32]:
    """Scores in [0, 1] of masks given as logits (..., H, W), shape (...)."""
    high = np.count_nonzero(logits > threshold + offset, axis=(-2, -1))
    low = np.count_nonzero(logits > threshold - offset, axis=(-2, -1))
    return stability_from_counts(high, low)


def stability_from_counts(high: NDArray[Any] | int, low: NDArray[Any] | int) -> NDArray[np.float32]:
    """Scores from the pixels above the high and above the low threshold.

    high, low: integers of one shape, high <= low.
    A mask with no pixel above the low threshold has no IoU; it scores 0, as nothing is less stable.
    """
    high, low = np.asarray(high, dtype=np.int64), np.asarray(low, dtype=np.int64)
    scores: NDArray[np.float32] = (high / np.maximum(low, 1)).astype(np.float32)
    return scores
