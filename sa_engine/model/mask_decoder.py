"""The mask decoder: image embedding and prompts to masks and their predicted IoU.

Source: "Segment Anything", appendix A, "Lightweight mask decoder" and "Making the model
ambiguity-aware". One decoder serves training, a few interactive prompts and thousands of grid
points: `prepare` does what an image's prompts share, `attend` scores prompts, `masks` draws the
chosen masks only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sa_engine.model.embedding import ImageEmbedding
from sa_engine.model.layers import HeadMlp, LayerNorm2d
from sa_engine.model.two_way_transformer import ProjectedImage, TwoWayTransformer

NUM_MASKS = 4
"""Masks per prompt: index 0 answers several prompts, 1 to 3 are the answers to an ambiguous one."""

CPU_TILE_TOKENS = 512
"""Image tokens worked on at a time on a CPU: 512 × 256 channels in float32 are half a MiB, about a
core's second-level cache."""


def prompts_per_chunk(device: torch.device) -> int:
    """How many prompts to give `MaskDecoder.attend` at a time.

    CPU: 4. Fewer read the weights too often; with more the image tokens, 4 MiB a prompt, leave the
    cache (CPU time a prompt, one Zen 3 core: 31 ms with 1, 24 with 2, 23 with 4, 27 with 8).
    GPU: 64, the published generator's batch; not measured yet.
    """
    return 4 if device.type == "cpu" else 64


@dataclass(frozen=True, slots=True)
class ImageContext:
    """What the prompts of one image, or of a batch of B images, share.

    tiles_BnC: the embedding, image tokens in row order, whole rows per tile.
    pe_tiles_1nC: their positional encoding.
    shared_tiles_1nC, shared: the tokens of prompts without a mask and the first block's projections
        of them; None where they were not prepared.
    skips: what is added to each tile's cells on the way up; empty for encoders without skips.
    """

    tiles_BnC: tuple[Tensor, ...]
    pe_tiles_1nC: tuple[Tensor, ...]
    grid_hw: tuple[int, int]
    shared_tiles_1nC: tuple[Tensor, ...] | None
    shared: ProjectedImage | None
    skips: tuple["SkipTile", ...] = ()


@dataclass(frozen=True, slots=True)
class SkipTile:
    """The high-resolution skips of one tile of B images, the pixels of a cell together.

    eighth_Bn4D: the 2 x 2 pixels of stride 8 of every cell, C/4 channels.
    quarter_BnmE: its 16 pixels of stride 4, those of one pixel of stride 8 together, C/8 channels.
    """

    eighth_Bn4D: Tensor
    quarter_BnmE: Tensor


@dataclass(frozen=True, slots=True)
class DecodedTokens:
    """The decoder's state for P prompts before any mask is drawn.

    iou_P4: predicted IoU of a prompt's four masks, float32.
    mask_tokens_P4C: the tokens that the masks are drawn with.
    tiles_PnC: image tokens after the transformer. They are large: draw, then let go.
    skips: those of the context; image_index_P: each prompt's image where it holds several.
    """

    iou_P4: Tensor
    mask_tokens_P4C: Tensor
    tiles_PnC: tuple[Tensor, ...]
    grid_hw: tuple[int, int]
    skips: tuple[SkipTile, ...] = ()
    image_index_P: Tensor | None = None

    def __len__(self) -> int:
        return len(self.iou_P4)

    def images_of(self, prompts_K: Tensor | None) -> Tensor | None:
        """The images of some prompts; None where all are meant and stand in their images' order."""
        if prompts_K is None or not self.skips:
            return self.image_index_P
        if self.image_index_P is not None:
            return self.image_index_P[prompts_K]
        return prompts_K // (len(self) // len(self.skips[0].eighth_Bn4D))


class MaskDecoder(nn.Module):
    """See the module's text. Weights have the names of the public checkpoints."""

    def __init__(
        self, *, channels: int = 256, depth: int = 2, heads: int = 8, hidden: int = 2048
    ) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer(channels, depth=depth, heads=heads, hidden=hidden)
        self.iou_token = nn.Embedding(1, channels)
        self.mask_tokens = nn.Embedding(NUM_MASKS, channels)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(channels, channels // 4, 2, 2),
            LayerNorm2d(channels // 4),
            nn.GELU(),
            nn.ConvTranspose2d(channels // 4, channels // 8, 2, 2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            HeadMlp(channels, channels, channels // 8, 3) for _ in range(NUM_MASKS)
        )
        self.iou_prediction_head = HeadMlp(channels, channels, NUM_MASKS, 3)

    def prepare(
        self,
        embedding: ImageEmbedding,
        image_pe_1CHW: Tensor,
        *,
        shared_dense_1C11: Tensor | None = None,
    ) -> ImageContext:
        """Do the work that prompts share.

        embedding: of one image, or of several (`attend` then needs image_index_P).
        shared_dense_1C11: the dense embedding of prompts without masks. With it the first block's
            projections of a single image are made here, once, and not per prompt.
        """
        dtype = self.iou_token.weight.dtype
        embedding_BCHW = embedding.coarse_BCHW
        h, w = embedding_BCHW.shape[2:]
        rows = h
        if embedding_BCHW.device.type == "cpu" and not torch.is_grad_enabled():
            rows = max(1, CPU_TILE_TOKENS // w)

        def cut(x_BCHW: Tensor) -> tuple[Tensor, ...]:
            x_BNC = x_BCHW.to(dtype).flatten(2).transpose(1, 2).contiguous()
            return torch.split(x_BNC, rows * w, dim=1)

        tiles, pe_tiles = cut(embedding_BCHW), cut(image_pe_1CHW)
        skips = _skip_tiles(embedding, rows * w)
        if shared_dense_1C11 is None or len(embedding_BCHW) != 1:
            return ImageContext(tiles, pe_tiles, (h, w), None, None, skips)
        shared_tiles = cut(embedding_BCHW.to(dtype) + shared_dense_1C11.to(dtype))
        shared = self.transformer.project_image(shared_tiles, pe_tiles)
        return ImageContext(tiles, pe_tiles, (h, w), shared_tiles, shared, skips)

    def attend(
        self,
        context: ImageContext,
        sparse_PTC: Tensor,
        dense: Tensor,
        *,
        image_index_P: Tensor | None = None,
    ) -> DecodedTokens:
        """Run the transformer for P prompts (`prompts_per_chunk` says how many at a time).

        dense: (P, C, H, W) of mask prompts, or the (1, C, 1, 1) of all prompts without masks.
        image_index_P: each prompt's image, int64, where the context holds several; without it the
            prompts are those of the first image, then as many of the second, and so on.
        """
        dtype = self.iou_token.weight.dtype
        p = len(sparse_PTC)
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own[None].expand(p, -1, -1), sparse_PTC.to(dtype)], dim=1)
        shared = context.shared
        if (
            shared is not None
            and context.shared_tiles_1nC is not None
            and dense.shape[2:] == (1, 1)
        ):
            tiles = list(context.shared_tiles_1nC)
        else:
            shared = None
            tiles = self._own_tiles(context, dense.to(dtype), p, image_index_P)
        tokens, decoded = self.transformer(tokens, tiles, context.pe_tiles_1nC, shared)
        iou = self.iou_prediction_head(tokens[:, 0])
        return DecodedTokens(
            iou.float(),
            tokens[:, 1 : 1 + NUM_MASKS],
            tuple(decoded),
            context.grid_hw,
            context.skips,
            image_index_P,
        )

    def masks(self, tokens: DecodedTokens, prompt_index_K: Tensor, mask_index_K: Tensor) -> Tensor:
        """Draw the chosen masks: low-resolution logits (K, 4·H, 4·W), float32.

        prompt_index_K: positions in `tokens`, int64; mask_index_K: 0 to 3, int64.
        Only the chosen prompts' image tokens are upscaled.
        """
        h, w = tokens.grid_hw
        if not len(prompt_index_K):
            return tokens.iou_P4.new_zeros(0, 4 * h, 4 * w)
        prompts, position_K = torch.unique(prompt_index_K, return_inverse=True)
        every = prompts if len(prompts) < len(tokens) else None
        parts = [
            logits[position_K, mask_index_K] for logits in self._draw(tokens, every, slice(None))
        ]
        return self._join(parts, tokens.grid_hw)

    def draw(self, tokens: DecodedTokens, masks: slice) -> Tensor:
        """Draw the same masks for every prompt: logits (P, M, 4·H, 4·W), float32.

        masks: of 0 to 3. Differentiable, and without any wait for a GPU.
        """
        return self._join(list(self._draw(tokens, None, masks)), tokens.grid_hw)

    def forward(
        self,
        embedding: ImageEmbedding,
        image_pe_1CHW: Tensor,
        sparse_PTC: Tensor,
        dense: Tensor,
        *,
        multimask: bool,
        image_index_P: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """All masks of all prompts: logits (P, M, 4·H, 4·W) and predicted IoU (P, M), float32.

        M is 3 with `multimask` (the answers to an ambiguous prompt), else 1. Arguments are those of
        `prepare` and `attend`. Differentiable.
        """
        if len(embedding) > 1 and image_index_P is None:
            raise ValueError("there are several images: image_index_P must say which")
        chosen = slice(1, NUM_MASKS) if multimask else slice(0, 1)
        p = len(sparse_PTC)
        if p == 0:
            h, w = embedding.coarse_BCHW.shape[2:]
            none = torch.zeros(0, chosen.stop - chosen.start, device=embedding.device)
            return none.new_zeros(*none.shape, 4 * h, 4 * w), none
        shared_dense = dense if dense.shape[2:] == (1, 1) else None
        context = self.prepare(embedding, image_pe_1CHW, shared_dense_1C11=shared_dense)
        step = p if torch.is_grad_enabled() else prompts_per_chunk(embedding.device)
        logits, iou = [], []
        for i in range(0, p, step):
            at = slice(i, i + step)
            tokens = self.attend(
                context,
                sparse_PTC[at],
                dense if shared_dense is not None else dense[at],
                image_index_P=None if image_index_P is None else image_index_P[at],
            )
            logits.append(self.draw(tokens, chosen))
            iou.append(tokens.iou_P4[:, chosen])
        return torch.cat(logits), torch.cat(iou)

    def _own_tiles(
        self, context: ImageContext, dense: Tensor, p: int, image_index_P: Tensor | None
    ) -> list[Tensor]:
        """Image tokens of each prompt's own: its image's embedding plus its dense embedding."""
        images = len(context.tiles_BnC[0])
        if image_index_P is None and p % images:
            raise ValueError(
                f"{p} prompts do not divide over {images} images: image_index_P must say which"
            )
        dense_PNC = dense.flatten(2).transpose(1, 2)
        start, tiles = 0, []
        for tile in context.tiles_BnC:
            stop = start + tile.shape[1]
            part = dense_PNC if dense_PNC.shape[1] == 1 else dense_PNC[:, start:stop]
            if image_index_P is None:
                # By repetition, whose gradient is a sum; that of an index is a slow scatter.
                own_BKnC = tile[:, None] + part.view(-1, len(part) // images or 1, *part.shape[1:])
                tiles.append(own_BKnC.expand(images, p // images, -1, -1).flatten(0, 1))
            else:
                x = tile if len(tile) == 1 else tile.index_select(0, image_index_P)
                tiles.append((x + part).expand(p, -1, -1))
            start = stop
        return tiles

    def _draw(
        self, tokens: DecodedTokens, prompts: Tensor | None, masks: slice
    ) -> Iterator[Tensor]:
        """Logits of some prompts' masks per tile, (P, M, n, 16), the 16 pixels of a cell last.

        A transposed convolution whose stride is its kernel's size is a product per cell. Cells stay
        in rows, so that nothing of the upscaled map's size is ever moved around.
        """
        up1, norm, _, up2, _ = self.output_upscaling
        assert isinstance(up1, nn.ConvTranspose2d) and isinstance(up2, nn.ConvTranspose2d)
        assert isinstance(norm, LayerNorm2d)
        picked = tokens.mask_tokens_P4C if prompts is None else tokens.mask_tokens_P4C[prompts]
        wanted = range(*masks.indices(NUM_MASKS))
        hyper_PMC = torch.stack(
            [self.output_hypernetworks_mlps[i](picked[:, i]) for i in wanted], dim=1
        )
        weight1, bias1 = up1.weight.permute(2, 3, 1, 0).flatten(0, 2), up1.bias
        weight2, bias2 = up2.weight.permute(2, 3, 1, 0).flatten(0, 2), up2.bias
        assert bias1 is not None and bias2 is not None
        images = tokens.images_of(prompts)
        for tile, skip in zip_longest(tokens.tiles_PnC, tokens.skips):
            x = tile if prompts is None else tile[prompts]
            p, n, _ = x.shape
            x = F.linear(x, weight1, bias1.repeat(4)).view(p, n, 4, -1)
            x = x if skip is None else _add_of_images(x, skip.eighth_Bn4D, images)
            x = F.gelu(F.layer_norm(x, norm.weight.shape, norm.weight, norm.bias, norm.eps))
            x = F.linear(x, weight2, bias2.repeat(4)).view(p, n, 16, -1)
            x = x if skip is None else _add_of_images(x, skip.quarter_BnmE, images)
            x = F.gelu(x).view(p, n * 16, -1)
            yield torch.bmm(hyper_PMC, x.transpose(1, 2)).view(p, len(wanted), n, 16)

    def _join(self, parts: list[Tensor], grid_hw: tuple[int, int]) -> Tensor:
        """Tiles of cells (..., n, 16) to maps (..., 4·H, 4·W), float32."""
        h, w = grid_hw
        cells = torch.cat(parts, dim=-2).float()
        lead = cells.shape[:-2]
        # A cell's 16 pixels: (row, column) of the first upscaling, then of the second.
        pixels = cells.view(-1, h, w, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4, 6)
        return pixels.reshape(*lead, 4 * h, 4 * w)


def _add_of_images(x_Pnmd: Tensor, skip_Bnmd: Tensor, image_index_P: Tensor | None) -> Tensor:
    """Add to each prompt's cells those of its image; see `MaskDecoder.attend` for the index."""
    skip = skip_Bnmd.to(x_Pnmd.dtype)
    if len(skip) == 1:
        # In place: a sum of its own would cost a fifth of the product that x is.
        return x_Pnmd.add_(skip)
    if image_index_P is not None:
        return x_Pnmd + skip.index_select(0, image_index_P)
    return (x_Pnmd.view(len(skip), -1, *x_Pnmd.shape[1:]) + skip[:, None]).view(x_Pnmd.shape)


def _skip_tiles(embedding: ImageEmbedding, tile_cells: int) -> tuple[SkipTile, ...]:
    """The skips in the order of `MaskDecoder._draw`, so that a prompt pays for an addition only."""
    if embedding.eighth_BCHW is None or embedding.quarter_BCHW is None:
        return ()
    h, w = embedding.coarse_BCHW.shape[2:]
    eighth, quarter = embedding.eighth_BCHW, embedding.quarter_BCHW
    b, d = eighth.shape[:2]
    e = quarter.shape[1]
    eighth_BN4D = eighth.reshape(b, d, h, 2, w, 2).permute(0, 2, 4, 3, 5, 1).reshape(b, -1, 4, d)
    # As in `_join`: (row, column) of the first upscaling, then of the second.
    quarter_BNmE = quarter.reshape(b, e, h, 2, 2, w, 2, 2).permute(0, 2, 5, 3, 6, 4, 7, 1)
    quarter_BNmE = quarter_BNmE.reshape(b, -1, 16, e)
    tiles = (torch.split(x, tile_cells, dim=1) for x in (eighth_BN4D, quarter_BNmE))
    return tuple(SkipTile(a.contiguous(), b.contiguous()) for a, b in zip(*tiles, strict=True))
