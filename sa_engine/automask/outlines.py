"""Run lengths of masks straight from their tiles.

A run begins or ends only inside a mixed tile or where one tile meets another, so nothing but those
places is looked at: a mask over 48 megapixels costs what its outline costs.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sa_engine.automask.tiles import TiledMasks
from sa_engine.masks import rle as run_lengths
from sa_engine.masks.rle import Rle


@dataclass(frozen=True, slots=True)
class MaskTiles:
    """One mask of a crop as tiles, small enough to keep many.

    size_hw: the crop's (height, width) in pixels.
    edge: pixels along a tile.
    full_HW: (tiles along y, tiles along x) bool: tiles that are foreground throughout.
    tile_B: (B,) int64: mixed tiles, counted row by row.
    packed_BN: (B, edge² / 8) uint8: their pixels, eight to a byte; zero beyond the crop.
    """

    size_hw: tuple[int, int]
    edge: int
    full_HW: NDArray[np.bool_]
    tile_B: NDArray[np.int64]
    packed_BN: NDArray[np.uint8]


def split(masks: TiledMasks, chosen: NDArray[np.int64]) -> list[MaskTiles]:
    """The chosen masks one by one, off the accelerator.

    chosen: mask indices, ascending. Tiles of the others are neither packed nor moved.
    """
    tiles, device = masks.tiling, masks.full_MHW.device
    size_hw = (tiles.y.length, tiles.x.length)
    chosen_N = torch.from_numpy(chosen).to(device)
    is_chosen_M = torch.zeros(len(masks.full_MHW), dtype=torch.bool, device=device)
    is_chosen_M[chosen_N] = True
    kept_B = torch.nonzero(is_chosen_M[masks.mask_B])[:, 0]
    places_B = masks.y_B[kept_B] * tiles.grid_hw[1] + masks.x_B[kept_B]
    mask_B, tile_B = torch.stack([masks.mask_B[kept_B], places_B]).cpu().numpy()
    packed_BN = _packed(masks.bits_BEE[kept_B].flatten(1))
    full_NHW = masks.full_MHW[chosen_N].cpu().numpy()
    begin = np.searchsorted(mask_B, chosen, side="left")
    end = np.searchsorted(mask_B, chosen, side="right")
    return [
        MaskTiles(size_hw, tiles.edge, full_HW.copy(), tile_B[a:b].copy(), packed_BN[a:b].copy())
        for full_HW, a, b in zip(full_NHW, begin, end, strict=True)
    ]


def _packed(bits_BN: Tensor) -> NDArray[np.uint8]:
    """Bits eight to a byte, off the accelerator."""
    if bits_BN.device.type == "cpu":
        return np.packbits(bits_BN.numpy(), axis=1)
    packed: NDArray[np.uint8] = pack_bits(bits_BN).cpu().numpy()
    return packed


def pack_bits(bits_BN: Tensor) -> Tensor:
    """Bits eight to a byte as `np.packbits` has them, (B, N / 8) uint8, N a multiple of 8.

    On the accelerator, so that an eighth of the bytes has to be moved.
    """
    place_8 = 7 - torch.arange(8, dtype=torch.uint8, device=bits_BN.device)
    shifted = bits_BN.view(len(bits_BN), bits_BN.shape[1] // 8, 8).to(torch.uint8) << place_8
    return shifted.sum(dim=2, dtype=torch.uint8)


def encode(mask: MaskTiles, *, origin_xy: tuple[int, int], image_size_hw: tuple[int, int]) -> Rle:
    """COCO run lengths of a crop's mask in the whole image, background outside the crop.

    origin_xy: the crop's top left pixel in the image.
    """
    (height, width), (x0, y0) = image_size_hw, origin_xy
    crop_h, crop_w = mask.size_hw
    edge, (rows, columns) = mask.edge, mask.full_HW.shape
    bits = np.unpackbits(mask.packed_BN, axis=1).view(np.bool_).reshape(-1, edge, edge)
    tile_y, tile_x = np.divmod(mask.tile_B, columns)

    # First and last row of pixels of every tile, one more column standing for what lies right.
    last_row = crop_h - 1 - (rows - 1) * edge
    top = np.repeat(mask.full_HW[:, :, None], edge, axis=2)
    bottom = top.copy()
    top[tile_y, tile_x] = bits[:, 0]
    bottom[tile_y, tile_x] = bits[np.arange(len(bits)), np.where(tile_y == rows - 1, last_row, -1)]
    top, bottom = (
        np.pad(line.reshape(rows, -1)[:, :crop_w], ((0, 0), (0, 1))) for line in (top, bottom)
    )

    above = np.zeros_like(top)
    above[1:] = bottom[:-1]
    if crop_h == height:
        # A column goes on at the top of the next one.
        above[0, 1:] = bottom[-1, :-1]
        ends = np.empty(0, dtype=np.int64)
    else:
        ends = (x0 + np.flatnonzero(bottom[-1])) * height + y0 + crop_h
    seam_y, seam_x = np.nonzero(top != above)
    seams = (x0 + seam_x) * height + y0 + seam_y * edge

    tile, inner_y, inner_x = np.nonzero(bits[:, 1:] != bits[:, :-1])
    inner_y += tile_y[tile] * edge + 1
    inner_x += tile_x[tile] * edge
    within = inner_y < crop_h
    inner = (x0 + inner_x[within]) * height + y0 + inner_y[within]

    flips = np.concatenate([seams, inner, ends])
    flips.sort()
    edges = np.concatenate([[0], flips[flips < height * width], [height * width]])
    return run_lengths.from_runs(np.diff(edges).tolist(), image_size_hw)
