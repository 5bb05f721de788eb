"""Tiles against the published order of work: upsample everything, cut, resize, threshold."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sa_engine.automask import outlines
from sa_engine.automask.tiles import Measured, measure, tiling
from sa_engine.masks import rle as run_lengths

SIDE = 256
LOW = 64
SIZES = [
    (300, 450),
    (450, 300),
    (97, 256),
    (33, 700),
    (20, 31),
    (1, 1),
    (1, 90),
    (64, 64),
    (1500, 1000),
]


def input_size(size_hw: tuple[int, int]) -> tuple[int, int]:
    scale = SIDE / max(size_hw)
    return int(size_hw[0] * scale + 0.5), int(size_hw[1] * scale + 0.5)


def upsample(logits_MHW: Tensor, size_hw: tuple[int, int]) -> Tensor:
    height, width = input_size(size_hw)
    square = F.interpolate(logits_MHW[None], (SIDE, SIDE), mode="bilinear", align_corners=False)
    cut = square[..., :height, :width]
    return F.interpolate(cut, size_hw, mode="bilinear", align_corners=False)[0]


def some_logits(count: int) -> Tensor:
    """Blobs of several sizes, a mask that is empty, one that is full, and one of single cells."""
    generator = torch.Generator().manual_seed(3)
    blobs = [
        F.interpolate(
            9 * torch.randn(count, 1, cells, cells, generator=generator) - 2,
            (LOW, LOW),
            mode="bicubic",
        )[:, 0]
        for cells in (4, 12, LOW)
    ]
    flat = torch.stack([torch.full((LOW, LOW), -5.0), torch.full((LOW, LOW), 5.0)])
    return torch.cat([*blobs, flat])


def measured(logits_MHW: Tensor, size_hw: tuple[int, int], offset: float = 1.0) -> Measured:
    tiles = tiling(size_hw=size_hw, input_hw=input_size(size_hw), image_size=SIDE, low_size=LOW)
    return measure(logits_MHW, tiles, offset=offset)


@pytest.mark.parametrize("size_hw", SIZES)
def test_counts_and_boxes_equal_those_of_whole_masks(size_hw: tuple[int, int]) -> None:
    logits = some_logits(3)
    result = measured(logits, size_hw, offset=0.7)
    whole = upsample(logits, size_hw)
    for counts, threshold in ((result.high_M, 0.7), (result.area_M, 0.0), (result.low_M, -0.7)):
        # A logit within rounding of a threshold may fall on either side.
        np.testing.assert_allclose(counts, (whole > threshold).sum(dim=(1, 2)), rtol=0, atol=2)
    for box, mask in zip(result.boxes_xyxy_M4.tolist(), whole > 0, strict=True):
        y, x = np.nonzero(mask.numpy())
        expected = [x.min(), y.min(), x.max(), y.max()] if x.size else [0, 0, 0, 0]
        assert box == expected


@pytest.mark.parametrize("size_hw", SIZES)
def test_run_lengths_equal_those_of_whole_masks(size_hw: tuple[int, int]) -> None:
    logits = some_logits(2)
    result = measured(logits, size_hw)
    masks = (upsample(logits, size_hw) > 0).numpy()
    tiles = outlines.split(result.masks, np.arange(len(logits)))
    for mask, tiled in zip(masks, tiles, strict=True):
        alone = outlines.encode(tiled, origin_xy=(0, 0), image_size_hw=size_hw)
        assert np.count_nonzero(run_lengths.decode(alone) != mask) <= 2


@pytest.mark.parametrize("margins", [(0, 0, 0, 7), (0, 5, 3, 0), (4, 0, 0, 0), (2, 3, 4, 5)])
def test_a_crops_mask_lies_at_its_place_in_the_image(margins: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = margins
    size_hw = (90, 135)
    logits = some_logits(2)
    image_size_hw = (size_hw[0] + top + bottom, size_hw[1] + left + right)
    masks = (upsample(logits, size_hw) > 0).numpy()
    tiles = outlines.split(measured(logits, size_hw).masks, np.arange(len(logits)))
    for mask, tiled in zip(masks, tiles, strict=True):
        moved = outlines.encode(tiled, origin_xy=(left, top), image_size_hw=image_size_hw)
        padded = np.pad(mask, ((top, bottom), (left, right)))
        assert np.count_nonzero(run_lengths.decode(moved) != padded) <= 2
        assert moved == run_lengths.encode(run_lengths.decode(moved))


def test_only_chosen_masks_are_split_off() -> None:
    logits = some_logits(1)
    result = measured(logits, (50, 70))
    every = outlines.split(result.masks, np.arange(len(logits)))
    (second,) = outlines.split(result.masks, np.array([1]))
    np.testing.assert_array_equal(second.tile_B, every[1].tile_B)
    np.testing.assert_array_equal(second.packed_BN, every[1].packed_BN)


def test_only_tiles_on_an_outline_are_kept() -> None:
    logits = torch.full((1, LOW, LOW), -8.0)
    logits[:, 16:48, 16:48] = 8.0
    masks = measured(logits, (1024, 1024)).masks
    tiles = masks.full_MHW.numel()
    assert 0 < len(masks.bits_BEE) < tiles / 8
    assert masks.full_MHW.sum() > tiles / 8


@pytest.mark.parametrize("least", [0.3, 0.6, 0.9])
def test_masks_that_cannot_be_stable_are_given_up_and_no_others(least: float) -> None:
    # Cones of growing slope: the steeper, the more stable.
    away = (torch.arange(LOW) - LOW / 2.2) ** 2
    distance = (away[:, None] + away).sqrt()
    logits = torch.stack([slope * (14 - distance) for slope in (0.12, 0.2, 0.4, 0.8, 2.0)])
    size_hw = (900, 1350)
    tiles = tiling(size_hw=size_hw, input_hw=input_size(size_hw), image_size=SIDE, low_size=LOW)
    every = measure(logits, tiles)
    quick = measure(logits, tiles, least_stability=least)
    stability = every.high_M / every.low_M.clamp(min=1)
    given_up = (quick.high_M == 0) & (every.high_M > 0)
    assert given_up.any()
    assert (stability[given_up] < least).all()
    kept = ~given_up
    for name in ("high_M", "low_M", "area_M", "boxes_xyxy_M4"):
        np.testing.assert_array_equal(getattr(quick, name)[kept], getattr(every, name)[kept])


def test_no_masks() -> None:
    result = measured(torch.zeros(0, LOW, LOW), (50, 70))
    assert result.boxes_xyxy_M4.shape == (0, 4)
    assert outlines.split(result.masks, np.arange(0)) == []


def test_bits_are_packed_on_a_device_as_numpy_packs_them() -> None:
    bits = torch.rand(37, 256, generator=torch.Generator().manual_seed(1)) > 0.4
    assert np.array_equal(outlines.pack_bits(bits).numpy(), np.packbits(bits.numpy(), axis=1))
    assert outlines.pack_bits(bits[:0]).shape == (0, 32)
