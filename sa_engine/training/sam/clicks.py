"""Points for later rounds, drawn on the device from where mask and target disagree.

Randomness is a hash of (sample key, prompt, round, cell), not a generator with a state: the same
sample gets the same points in one process or eight, on a fresh or a resumed run.
"""

import torch
from torch import Tensor

from sa_engine.training.data.samples import LOGIT_STRIDE


def hashed_uniform(keys_P: Tensor, count: int, *, salt: int) -> Tensor:
    """`count` numbers in [0, 1) for each key, (P, count) float32.

    keys_P: int64. salt: another salt gives other numbers.
    """
    x = torch.arange(count, device=keys_P.device, dtype=torch.int64)[None, :]
    salted = (salt * 2685821657736338717 + 2**63) % 2**64 - 2**63
    x = x * -7046029254386353131 + keys_P[:, None] * -4417276706812531889 + salted
    # splitmix64's finaliser; int64 products wrap, and the mask makes the shift a logical one.
    for shift, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
        x = (x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))) * factor
    x = x ^ ((x >> 31) & ((1 << 33) - 1))
    return ((x >> 40) & 0xFFFFFF).float() / float(1 << 24)


@torch.no_grad()
def error_points(
    logits_Phw: Tensor, targets_Phw: Tensor, *, keys_P: Tensor, salt: int
) -> tuple[Tensor, Tensor]:
    """A random point of each prompt's error region (paper, appendix A, "Training algorithm").

    logits_Phw: the last mask's logits. targets_Phw: float share of a cell that is foreground.
    Returns points_P2, pixels (x, y) of the model's input, and labels_P, 1 where the mask missed
    foreground and 0 where it took background. Without any error the point is a random one of the
    target, label 1.
    """
    height, width = logits_Phw.shape[1:]
    wanted = (targets_Phw >= 0.5).flatten(1)
    error = (logits_Phw > 0).flatten(1) ^ wanted
    region = torch.where(error.any(dim=1, keepdim=True), error, wanted)
    # A cell that the target barely touches leaves no cell at all; then any cell does.
    score = hashed_uniform(keys_P, height * width, salt=salt) * region + region
    cell = score.argmax(dim=1)
    labels = wanted.gather(1, cell[:, None])[:, 0].long()
    jitter = hashed_uniform(keys_P, 2, salt=~salt) * LOGIT_STRIDE
    x = (cell % width) * LOGIT_STRIDE + jitter[:, 0]
    y = (cell // width) * LOGIT_STRIDE + jitter[:, 1]
    return torch.stack([x, y], dim=1) - 0.5, labels
