import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from sa_engine.model.encoders.lite import LiteEncoder
from sa_engine.model.layers import HeadMlp
from sa_engine.model.sam import Sam
from sa_engine.model.variants import build_sam


@pytest.fixture(scope="session")
def picture() -> NDArray[np.uint8]:
    """A 120x180 picture of overlapping discs and boxes in plain colours."""
    rng = np.random.default_rng(4)
    image = np.full((120, 180, 3), 90, dtype=np.uint8)
    for _ in range(25):
        colour = rng.integers(0, 256, 3).tolist()
        x, y = int(rng.integers(0, 180)), int(rng.integers(0, 120))
        if rng.random() < 0.5:
            cv2.circle(image, (x, y), int(rng.integers(4, 25)), colour, -1)
        else:
            corner = (x + int(rng.integers(6, 50)), y + int(rng.integers(6, 40)))
            cv2.rectangle(image, (x, y), corner, colour, -1)
    return image


@pytest.fixture(scope="session")
def random_sam() -> Sam:
    """A small model with random weights, scaled so that logits and predicted IoU are spread out."""
    torch.manual_seed(0)
    return spread_out(build_sam("vit_t", 128).eval())


@pytest.fixture(scope="session")
def random_lite() -> Sam:
    """The same with a lite encoder, whose skips are not zero."""
    torch.manual_seed(0)
    sam = build_sam("lite0", 128).eval()
    assert isinstance(sam.image_encoder, LiteEncoder)
    neck = sam.image_encoder.neck
    for last in (neck.skip8, neck.skip4, neck.top4):
        nn.init.normal_(last.weight, std=0.2)
    return spread_out(sam)


def spread_out(sam: Sam) -> Sam:
    """Scale the heads so that logits and predicted IoU are spread out, in place."""
    with torch.no_grad():
        for mlp in sam.mask_decoder.output_hypernetworks_mlps:
            assert isinstance(mlp, HeadMlp)
            last = mlp.layers[2]
            assert isinstance(last, nn.Linear)
            last.weight *= 40
        head = sam.mask_decoder.iou_prediction_head.layers[2]
        assert isinstance(head, nn.Linear)
        head.weight *= 2
        head.bias.fill_(0.7)
    return sam
