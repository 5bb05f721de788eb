"""A helper head for training from random weights: which pixels are like the clicked one.

A decoder alone can please for long by drawing a blob around the click whatever the image is. This
head has nothing but the image: from the embedding at the click it makes a filter for the upscaled
embedding. It shares the decoder's upscaling, is thrown away after training and costs next to
nothing. How much of the gain is its own was not measured by itself.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sa_engine.model.sam import Sam


class ClickSimilarity(nn.Module):
    """Mask logits from the features under a click alone."""

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        channels = sam.mask_decoder.iou_token.weight.shape[1]
        features = channels // 8
        last = nn.Linear(channels, features)
        self.turn = nn.Sequential(nn.Linear(channels + features, channels), nn.GELU(), last)
        # At first the filter is the clicked feature itself: likeness of colour, which even random
        # convolutions keep, is a start to improve on.
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.scale = nn.Parameter(torch.tensor(6.0))
        self.bias = nn.Parameter(torch.tensor(-3.0))

    def forward(
        self, sam: Sam, embedding_BCHW: Tensor, points_P2: Tensor, image_index_P: Tensor
    ) -> Tensor:
        """Logits (P, S/4, S/4).

        points_P2: (x, y) in pixels of the model's input. image_index_P: the image of each.
        """
        fine_BDhw = sam.mask_decoder.output_upscaling(embedding_BCHW)
        # What all of an image has in common tells nothing of the clicked thing.
        fine_BDhw = fine_BDhw - fine_BDhw.mean(dim=(2, 3), keepdim=True)
        clicked_PC = _sample(embedding_BCHW, points_P2, image_index_P, sam.image_size)
        clicked_PD = _sample(fine_BDhw, points_P2, image_index_P, sam.image_size)
        clicked_PD = F.normalize(clicked_PD, dim=1)
        turned = clicked_PD + self.turn(torch.cat([clicked_PC, clicked_PD], dim=1))
        near = F.normalize(fine_BDhw, dim=1)[image_index_P]
        logits: Tensor = torch.einsum("pd,pdhw->phw", turned, near)
        return logits.float() * self.scale + self.bias


def _sample(map_BCHW: Tensor, points_P2: Tensor, image_index_P: Tensor, size: int) -> Tensor:
    """The map at points, bilinear, (P, C)."""
    grid = (points_P2 + 0.5) / size * 2 - 1
    # In float32: bfloat16 cannot tell neighbouring pixels apart.
    found = F.grid_sample(map_BCHW[image_index_P].float(), grid[:, None, None], align_corners=False)
    return found[:, :, 0, 0]
