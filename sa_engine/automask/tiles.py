"""Low-resolution logits to full-resolution masks, without ever holding one at full resolution.

The published model upsamples logits bilinearly to its square input, cuts off the padding, and
resizes bilinearly to the image. Both steps are linear and separable, so together they are one
short weighted sum along each axis (three or four low-resolution cells). The weights sum to 1:
nothing can exceed what goes in. So the output is cut into square tiles; a tile whose inputs all lie
on one side of every threshold is settled, and only those that an outline crosses are computed. For
them results equal the published order of work up to float rounding. Where the output is much finer
than the logits, the first of the two steps is taken for the whole mask, as it costs little there
and its cells bound the tiles more closely.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_ROUNDING = 1e-6
"""Stability is compared in float32."""
_COARSE = 12
"""With more output pixels to a cell of the logits, the first step is taken for the whole mask."""
_CPU_PIXELS, _DEVICE_PIXELS = 1 << 19, 1 << 24
"""Pixels of tiles computed together: on a CPU they stay in the cache, elsewhere they fill the
device; either way memory stays bounded."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Weights along one axis of the output.

    length: output pixels.
    edge: pixels along a tile; the last tile may be shorter.
    start_N: (tiles,) int64, the first cell of the logits that a tile uses.
    weights_NEK: (tiles, edge, taps) float32; rows beyond `length` are 0.
    """

    length: int
    edge: int
    start_N: Tensor
    weights_NEK: Tensor

    @property
    def num_tiles(self) -> int:
        """Tiles along this axis."""
        return len(self.start_N)

    @property
    def taps(self) -> int:
        """Cells of the logits that a tile uses."""
        return self.weights_NEK.shape[2]

    def cells(self) -> Tensor:
        """(tiles, taps) int64: the cells of each tile."""
        steps: Tensor = torch.arange(self.taps, device=self.start_N.device)
        return self.start_N[:, None] + steps

    def sizes(self) -> Tensor:
        """(tiles,) int64: the pixels of each tile."""
        starts = torch.arange(0, self.length, self.edge, device=self.start_N.device)
        return (self.length - starts).clamp(max=self.edge)


@dataclass(frozen=True, slots=True)
class Tiling:
    """How logits become an output of one size, tile by tile.

    square: side of the model's input if logits are brought to it first, else None.
    input_hw: the part of that square that is used.
    """

    y: Axis
    x: Axis
    square: int | None
    input_hw: tuple[int, int]

    @property
    def edge(self) -> int:
        """Pixels along a tile."""
        return self.y.edge

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Tiles along y and x."""
        return self.y.num_tiles, self.x.num_tiles

    def areas(self) -> Tensor:
        """(tiles along y, tiles along x) int64: the pixels of each tile."""
        return self.y.sizes()[:, None] * self.x.sizes()


@dataclass(frozen=True, slots=True)
class TiledMasks:
    """M binary masks of one size, as tiles.

    full_MHW: (M, tiles along y, tiles along x) bool: tiles that are foreground throughout.
    mask_B, y_B, x_B: (B,) int64: mask and tile of each mixed tile, ordered by mask.
    bits_BEE: (B, edge, edge) bool: their pixels; False beyond the output.
    """

    tiling: Tiling
    full_MHW: Tensor
    mask_B: Tensor
    y_B: Tensor
    x_B: Tensor
    bits_BEE: Tensor


@dataclass(frozen=True, slots=True)
class Measured:
    """M masks and what full resolution tells of them.

    high_M, low_M: pixels above the high and the low threshold, int64.
    area_M: pixels of the mask, int64.
    boxes_xyxy_M4: first and last column and row of the mask, the last included, int64; 0 if empty.
    """

    masks: TiledMasks
    high_M: Tensor
    low_M: Tensor
    area_M: Tensor
    boxes_xyxy_M4: Tensor


@lru_cache(maxsize=64)
def tiling(
    *,
    size_hw: tuple[int, int],
    input_hw: tuple[int, int],
    image_size: int,
    low_size: int,
    device: str = "cpu",
) -> Tiling:
    """The tiles of an output of `size_hw` pixels.

    input_hw: the part of the model's square input that holds the image, pixels.
    image_size: side of that square, pixels.
    low_size: side of the low-resolution logits.
    """
    pixels_per_cell = max(size_hw) / max(input_hw) * image_size / low_size
    square = pixels_per_cell > _COARSE
    if square:
        pixels_per_cell *= low_size / image_size
    edge = 16 if pixels_per_cell < _COARSE else 32
    axes = [
        _axis(
            length,
            used,
            first_step=None if square else (low_size, image_size),
            edge=edge,
            device=device,
        )
        for length, used in zip(size_hw, input_hw, strict=True)
    ]
    return Tiling(axes[0], axes[1], image_size if square else None, input_hw)


def measure(
    logits_MHW: Tensor,
    tiles: Tiling,
    *,
    threshold: float = 0.0,
    offset: float = 1.0,
    least_stability: float = 0.0,
) -> Measured:
    """Threshold masks at full resolution and measure them.

    logits_MHW: (M, low, low) float32 logits.
    threshold: logits above it are foreground.
    offset: the high and low thresholds are this far away from it.
    least_stability: masks that cannot reach it, [0, 1], are not computed; they have no high pixels,
        so that their stability is 0, and their other figures mean nothing.
    """
    high, low = threshold + offset, threshold - offset
    if tiles.square is not None:
        height, width = tiles.input_hw
        logits_MHW = F.interpolate(
            logits_MHW[:, None], (tiles.square, tiles.square), mode="bilinear", align_corners=False
        )[:, 0, :height, :width].contiguous()
    least, most = _extremes(logits_MHW, tiles)
    thresholds = torch.tensor([high, threshold, low], device=least.device)[:, None, None, None]
    above, crossed = least > thresholds, (least <= thresholds) & (most > thresholds)
    areas = tiles.areas()
    # Stability is high pixels over low ones: at most all of the crossed tiles, over none of them.
    most_high_M = ((above[0] | crossed[0]) * areas).sum(dim=(1, 2))
    least_low_M = (above[2] * areas).sum(dim=(1, 2))
    hopeless_M = most_high_M < (least_stability - _ROUNDING) * least_low_M
    computed = crossed.any(dim=0) & ~hopeless_M[:, None, None]
    mask_B, y_B, x_B = torch.nonzero(computed, as_tuple=True)
    settled = above & ~computed
    counts_M3 = (settled * areas).sum(dim=(2, 3)).t().contiguous()
    counts_M3[hopeless_M, 0] = 0
    full_MHW, kept, bits = settled[1].clone(), [], []
    for rows, values_BEE in _values(logits_MHW, tiles, mask_B, y_B, x_B):
        is_mask = _above(values_BEE, threshold)
        size_B = _count(is_mask)
        high_B, low_B = _count(_above(values_BEE, high)), _count(_above(values_BEE, low))
        counts_B3 = torch.stack([high_B, size_B, low_B], 1)
        counts_M3.index_add_(0, mask_B[rows], counts_B3)
        now_full = size_B == areas[y_B[rows], x_B[rows]]
        full_MHW[mask_B[rows], y_B[rows], x_B[rows]] = now_full
        mixed = (size_B > 0) & ~now_full
        kept.append(torch.arange(rows.start, rows.stop, device=size_B.device)[mixed])
        bits.append(is_mask[mixed])
    chosen = torch.cat(kept) if kept else mask_B
    bits_BEE = (
        torch.cat(bits)
        if bits
        else torch.zeros(0, tiles.edge, tiles.edge, dtype=torch.bool, device=mask_B.device)
    )
    masks = TiledMasks(tiles, full_MHW, mask_B[chosen], y_B[chosen], x_B[chosen], bits_BEE)
    high_M, area_M, low_M = counts_M3.unbind(dim=1)
    return Measured(masks, high_M, low_M, area_M, _boxes(masks))


def _axis(
    length: int, used: int, *, first_step: tuple[int, int] | None, edge: int, device: str
) -> Axis:
    """Weights along one axis.

    used: cells of the square that hold the image.
    first_step: (low, square) sides if the logits' own cells are to be weighted; None if they come
        at the square's resolution, cut to `used` cells.
    """
    # The resizing operator itself, applied to each unit vector, gives its weights: the same
    # rounding of positions as in the published order of work. The second axis is left as it is.
    if first_step is None:
        cells, square = used, torch.eye(used)
    else:
        cells, side = first_step
        square = _resize_rows(torch.eye(cells), side)[:used]
    output = _resize_rows(square, length)
    tiles = -(-length // edge)
    used_cells = output != 0
    first = used_cells.int().argmax(dim=1)
    last = cells - 1 - used_cells.flip(1).int().argmax(dim=1)
    pad = tiles * edge - length
    first_NE = F.pad(first, (0, pad), value=cells).view(tiles, edge)
    last_NE = F.pad(last, (0, pad), value=-1).view(tiles, edge)
    start_N = first_NE.amin(dim=1)
    taps = int((last_NE.amax(dim=1) - start_N).max()) + 1
    start_N = start_N.clamp(max=cells - taps)
    rows_NEL = F.pad(output, (0, 0, 0, pad)).view(tiles, edge, cells)
    cells_NEK = (start_N[:, None] + torch.arange(taps))[:, None].expand(-1, edge, -1)
    weights_NEK = rows_NEL.gather(2, cells_NEK).contiguous()
    return Axis(length, edge, start_N.to(device), weights_NEK.to(device))


def _resize_rows(matrix: Tensor, rows: int) -> Tensor:
    size = (rows, matrix.shape[1])
    resized = F.interpolate(matrix[None, None], size, mode="bilinear", align_corners=False)
    return resized[0, 0]


def _extremes(logits_MHW: Tensor, tiles: Tiling) -> tuple[Tensor, Tensor]:
    """Least and greatest input of every tile, (M, tiles along y, tiles along x) each."""
    rows_MNKW = logits_MHW[:, tiles.y.cells()]
    least, most = rows_MNKW.amin(dim=2), rows_MNKW.amax(dim=2)
    cells_NK = tiles.x.cells()
    return least[:, :, cells_NK].amin(dim=3), most[:, :, cells_NK].amax(dim=3)


def _values(
    logits_MHW: Tensor, tiles: Tiling, mask_B: Tensor, y_B: Tensor, x_B: Tensor
) -> Iterator[tuple[slice, Tensor]]:
    """Upsampled logits of tiles, some at a time; beyond the output they are -infinity."""
    size = logits_MHW.shape[2]
    flat = logits_MHW.reshape(-1)
    # Products of fewer than 400 multiplications go a slow way in PyTorch on a CPU.
    idle_taps = max(8 - tiles.x.taps, 0)
    weights_x_NEK = F.pad(tiles.x.weights_NEK, (0, idle_taps))
    cells_y, cells_x = tiles.y.cells(), tiles.x.cells()
    pixels = _CPU_PIXELS if flat.device.type == "cpu" else _DEVICE_PIXELS
    step = max(1, pixels // tiles.edge**2)
    last_y, last_x = tiles.grid_hw[0] - 1, tiles.grid_hw[1] - 1
    rest_y = tiles.y.length - last_y * tiles.edge
    rest_x = tiles.x.length - last_x * tiles.edge
    for begin in range(0, len(mask_B), step):
        rows = slice(begin, min(begin + step, len(mask_B)))
        m, y, x = mask_B[rows], y_B[rows], x_B[rows]
        index_BKK = (m[:, None] * logits_MHW.shape[1] + cells_y[y])[:, :, None] * size
        inputs_BKK = flat[index_BKK + cells_x[x][:, None, :]]
        columns_BEK = tiles.y.weights_NEK[y] @ F.pad(inputs_BKK, (0, idle_taps))
        values_BEE = columns_BEK @ weights_x_NEK[x].transpose(1, 2)
        if rest_y < tiles.edge:
            values_BEE[torch.nonzero(y == last_y)[:, 0], rest_y:] = -torch.inf
        if rest_x < tiles.edge:
            values_BEE[torch.nonzero(x == last_x)[:, 0], :, rest_x:] = -torch.inf
        yield rows, values_BEE


def _above(values: Tensor, threshold: float) -> Tensor:
    """values > threshold."""
    if values.device.type == "cpu":
        # NumPy's comparison is vectorised (eight times as fast); both compare in float32.
        return torch.from_numpy(values.numpy() > np.float32(threshold))
    return values > threshold


def _count(bits_BEE: Tensor) -> Tensor:
    """True pixels of each tile, (B,) int64: added as bytes of long words, then byte by byte."""
    words = bits_BEE.flatten(1).view(torch.int64).sum(dim=1)
    return words.view(torch.uint8).view(-1, 8).sum(dim=1)


def _boxes(masks: TiledMasks) -> Tensor:
    """Inclusive boxes (M, 4) from the rows and columns that hold foreground."""
    m = len(masks.full_MHW)
    edge = masks.tiling.edge
    sides = []
    # Eight pixels to a word: no sum of at most `edge` ones leaves its byte.
    words_BEW = masks.bits_BEE.view(torch.int64)
    columns_BE = words_BEW.sum(dim=1).view(torch.uint8) != 0
    rows_BE = words_BEW.sum(dim=2) != 0
    for lines_B, tile_B, full_MN, axis in (
        (columns_BE, masks.x_B, masks.full_MHW.any(dim=1), masks.tiling.x),
        (rows_BE, masks.y_B, masks.full_MHW.any(dim=2), masks.tiling.y),
    ):
        occupied = torch.zeros(m * axis.num_tiles, edge, dtype=torch.int32, device=lines_B.device)
        occupied.index_add_(0, masks.mask_B * axis.num_tiles + tile_B, lines_B.int())
        occupied = occupied.view(m, axis.num_tiles, edge) + full_MN[:, :, None]
        line = (occupied.flatten(1)[:, : axis.length] > 0).int()
        first, last = line.argmax(dim=1), axis.length - 1 - line.flip(1).argmax(dim=1)
        exists = line.any(dim=1)
        sides.append((first * exists, last * exists))
    (x0, x1), (y0, y1) = sides
    return torch.stack([x0, y0, x1, y1], dim=1)
