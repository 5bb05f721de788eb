"""Run lengths of masks straight from their tiles.

A run begins or ends only inside a mixed tile or where one tile meets another, so nothing but those
places is looked at: a mask over 48 megapixels costs what its outline costs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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

    chosen: mask indices, ascending.
    """
    tiles = masks.tiling
    size_hw = (tiles.y.length, tiles.x.length)
    mask_B = masks.mask_B.cpu().numpy()
    begin = np.searchsorted(mask_B, chosen, side="left")
    end = np.searchsorted(mask_B, chosen, side="right")
    tile_B = (masks.y_B * tiles.grid_hw[1] + masks.x_B).cpu().numpy()
    packed_BN = np.packbits(masks.bits_BEE.flatten(1).cpu().numpy(), axis=1)
    full_MHW = masks.full_MHW.cpu().numpy()
    return [
        MaskTiles(
            size_hw, tiles.edge, full_MHW[m].copy(), tile_B[a:b].copy(), packed_BN[a:b].copy()
        )
        for m, a, b in zip(chosen, begin, end, strict=True)
    ]


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
