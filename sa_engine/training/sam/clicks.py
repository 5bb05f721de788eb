"""Points for later rounds, drawn on the device from where mask and target disagree.

Randomness is a hash of (sample key, prompt, round, cell), not a generator with a state: the same
sample gets the same points in one process or eight, on a fresh or a resumed run.
"""

import torch
import torch.nn.functional as F
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
    logits_Phw: Tensor,
    targets_Phw: Tensor,
    *,
    keys_P: Tensor,
    salt: int,
    inner_probability: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """A point of each prompt's error region (paper, appendix A, "Training algorithm").

    logits_Phw: the last mask's logits. targets_Phw: float share of a cell that is foreground.
    inner_probability: how often it is one of the innermost cells rather than any, [0, 1].
    Returns points_P2, pixels (x, y) of the model's input, and labels_P, 1 where the mask missed
    foreground and 0 where it took background. Without any error the point is one of the target,
    label 1.
    """
    height, width = logits_Phw.shape[1:]
    wanted = targets_Phw >= 0.5
    error = (logits_Phw > 0) ^ wanted
    region = torch.where(error.flatten(1).any(dim=1)[:, None, None], error, wanted)
    score = region.float()
    if inner_probability:
        # Missed foreground and wrong background are regions of their own, as people see them.
        depth = torch.maximum(depth_of(region & wanted), depth_of(region & ~wanted))
        inner_P = hashed_uniform(keys_P, 1, salt=salt ^ 0x5BD1E995) < inner_probability
        score = torch.where(inner_P[:, :, None], depth, score)
    # A cell that the target barely touches leaves no cell at all; then any cell does.
    random = hashed_uniform(keys_P, height * width, salt=salt) * region.flatten(1)
    cell = (score.flatten(1) + random).argmax(dim=1)
    labels = wanted.flatten(1).gather(1, cell[:, None])[:, 0].long()
    jitter = hashed_uniform(keys_P, 2, salt=~salt) * LOGIT_STRIDE
    x = (cell % width) * LOGIT_STRIDE + jitter[:, 0]
    y = (cell // width) * LOGIT_STRIDE + jitter[:, 1]
    return torch.stack([x, y], dim=1) - 0.5, labels


def depth_of(region_Phw: Tensor, *, most: int = 24) -> Tensor:
    """How many cells from the region's edge each cell lies, at most `most`; 0 outside, float.

    By erosion with a square and a cross in turn, so that distance is about that of an octagon.
    Beyond the map's border there is no region.
    """
    inside = region_Phw.to(torch.float16 if region_Phw.is_cuda else torch.float32)[:, None]
    depth = inside.clone()
    for step in range(most - 1):
        holes = F.pad(1 - inside, (1, 1, 1, 1), value=1.0)
        if step % 2:
            grown = F.max_pool2d(holes, 3, stride=1)
        else:
            across = F.max_pool2d(holes[:, :, 1:-1], (1, 3), stride=1)
            grown = torch.maximum(across, F.max_pool2d(holes[..., 1:-1], (3, 1), stride=1))
        inside = 1 - grown
        depth += inside
    return depth[:, 0].float()
