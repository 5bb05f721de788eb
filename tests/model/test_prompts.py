import pytest
import torch

from sa_engine.model.prompts import Prompts


def test_needs_something() -> None:
    with pytest.raises(ValueError, match="needs points, boxes or masks"):
        Prompts()


def test_points_need_labels() -> None:
    with pytest.raises(ValueError, match="points and labels come together"):
        Prompts(points_PN2=torch.zeros(1, 1, 2))


def test_counts_agree() -> None:
    with pytest.raises(ValueError, match="disagree on the count"):
        Prompts(boxes_P4=torch.zeros(2, 4), masks_P1HW=torch.zeros(3, 1, 16, 16))


def test_length() -> None:
    assert len(Prompts(boxes_P4=torch.zeros(2, 4))) == 2
    assert len(Prompts(masks_P1HW=torch.zeros(3, 1, 16, 16))) == 3
