import pytest
import torch

from sa_engine.model.embedding import ImageEmbedding


def test_one_of_several_images() -> None:
    maps = torch.randn(3, 8, 2, 2), torch.randn(3, 2, 4, 4), torch.randn(3, 1, 8, 8)
    embedding = ImageEmbedding(*maps)
    assert len(embedding) == 3
    for whole, one in zip(maps, embedding.image(1).maps, strict=True):
        assert torch.equal(one, whole[1:2])
    assert len(ImageEmbedding(maps[0]).image(2).maps) == 1
    assert embedding.to(torch.device("cpu")).device.type == "cpu"


def test_skips_come_together() -> None:
    with pytest.raises(ValueError, match="give both or neither"):
        ImageEmbedding(torch.zeros(1, 8, 2, 2), torch.zeros(1, 2, 4, 4))
