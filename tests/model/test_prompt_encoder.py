import math

import torch

from sa_engine.model.prompt_encoder import FourierPositions, PromptEncoder
from sa_engine.model.prompts import Prompts
from tests.support.weights import randomise


def encoder() -> PromptEncoder:
    encoder = PromptEncoder(image_size=64, channels=8)
    randomise(encoder, seed=0)
    return encoder.eval()


def test_positions_by_hand() -> None:
    positions = FourierPositions(4)
    positions.positional_encoding_gaussian_matrix = torch.tensor([[1.0, 0.0], [0.0, 0.25]])
    # (0.75, 1) is (0.5, 1) from the centre: angles 2π·0.5 and 2π·0.25.
    found = positions(torch.tensor([[0.75, 1.0]]))
    expected = torch.tensor(
        [[math.sin(math.pi), math.sin(math.pi / 2), math.cos(math.pi), math.cos(math.pi / 2)]]
    )
    torch.testing.assert_close(found, expected)


def test_positions_keep_float32_under_autocast() -> None:
    positions = FourierPositions(256)
    xy = torch.rand(50, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = positions(xy)
    torch.testing.assert_close(found, positions(xy), rtol=0, atol=0)


@torch.no_grad()
def test_a_box_equals_its_corners_among_points() -> None:
    model = encoder()
    as_box, _ = model(Prompts(boxes_P4=torch.tensor([[3.0, 4.0, 30.0, 40.0]])))
    as_points, _ = model(
        Prompts(
            points_PN2=torch.tensor([[[3.0, 4.0], [30.0, 40.0]]]), labels_PN=torch.tensor([[2, 3]])
        )
    )
    assert as_box.shape == (1, 2, 8)
    # Points are followed by one of padding.
    assert as_points.shape == (1, 3, 8)
    torch.testing.assert_close(as_points[:, :2], as_box)
    torch.testing.assert_close(as_points[0, 2], model.not_a_point_embed.weight[0])


@torch.no_grad()
def test_padding_has_no_position() -> None:
    sparse, dense = encoder()(
        Prompts(
            points_PN2=torch.tensor([[[3.0, 4.0], [0.0, 0.0]], [[3.0, 4.0], [50.0, 9.0]]]),
            labels_PN=torch.tensor([[1, -1], [0, -1]]),
        )
    )
    torch.testing.assert_close(sparse[0, 1], sparse[1, 1])
    assert not torch.allclose(sparse[0, 0], sparse[1, 0])
    assert dense.shape == (1, 8, 1, 1)


@torch.no_grad()
def test_masks_become_a_map() -> None:
    sparse, dense = encoder()(Prompts(masks_P1HW=torch.zeros(2, 1, 16, 16)))
    assert sparse.shape == (2, 0, 8)
    assert dense.shape == (2, 8, 4, 4)
