"""Everything mode: an image in, the records of all its masks out.

Source: "Segment Anything", section 4 (fully automatic stage) and appendix B. Results equal those of
the published `SamAutomaticMaskGenerator`: the same masks in the same order with the same scores.
The order of work differs: what an image's prompts share is done once, masks are drawn only where
the predicted IoU is above its threshold, and full resolution is computed only along outlines
(`tiles`), so that memory does not grow with the number of masks times the image's size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sa_engine.automask import filters, outlines
from sa_engine.automask.config import GeneratorConfig
from sa_engine.automask.crops import Crop, crop_boxes
from sa_engine.automask.filters import Candidates
from sa_engine.automask.finish import clean_and_limit, drop_overlapping
from sa_engine.automask.point_grid import grids
from sa_engine.automask.steps import NoTimes, StepTimes, TimedStep
from sa_engine.automask.tiles import measure, tiling
from sa_engine.dataset.images.given import AnyImage, rgb_of
from sa_engine.dataset.records import MaskRecord, Stage
from sa_engine.masks import rle as run_lengths
from sa_engine.model.crew import in_order, one_thread_an_operator
from sa_engine.model.device import choose_precision
from sa_engine.model.embedding import ImageEmbedding
from sa_engine.model.framing import resize_to_input
from sa_engine.model.mask_decoder import ImageContext, prompts_per_chunk
from sa_engine.model.prompts import FOREGROUND, Prompts
from sa_engine.model.sam import Sam

_USUAL_TOKENS, _MOST_PROMPTS = 64 * 64, 512


class MaskGenerator:
    """Generates the masks of whole images with one model and one configuration.

    It may be used for any number of images; nothing is kept between them.
    config: the configuration that is used, with the thresholds that the model's card recommends
        where none were given.
    """

    def __init__(
        self,
        sam: Sam,
        config: GeneratorConfig | None = None,
        *,
        device: str | torch.device | None = None,
        precision: str | torch.dtype | None = None,
        times: StepTimes | None = None,
        **options: Any,
    ) -> None:
        """Put the model on a device, in a precision; the model itself is changed, not a copy.

        device: "cpu", "cuda", "cuda:1", "mps"; None for where the model is.
        precision: "auto", "fp32", "bf16", "fp16" or such a dtype: the numbers of image encoder and
            mask decoder; None for what the model has. All that follows the low-resolution logits is
            in fp32.
        times: adds up seconds per step, for benchmarks.
        options: parameters of `GeneratorConfig`; they go over `config`.

        Raises TypeError for an unknown parameter, UsageError for a value outside its range.
        """
        chosen = replace(config or GeneratorConfig(), **options)
        self.config = chosen.with_thresholds_of(sam.card)
        self._device = sam.device if device is None else torch.device(device)
        self._sam = sam.to(self._device).eval()
        if isinstance(precision, str):
            precision = choose_precision(precision, self._device)
        if precision is not None:
            self._sam.set_precision(precision)
        self._grids = grids(self.config)
        self._times = times if times is not None else NoTimes(self._device)

    @torch.inference_mode()
    def generate(self, image: AnyImage) -> list[MaskRecord]:
        """All masks of an image.

        image: the path of an image file, a PIL image, or upright RGB (H, W, 3) uint8.
        Returns records of stage "automatic", in the published generator's order: by predicted IoU
        within a crop; with crops, the most zoomed first.

        Raises UsageError if there is no such file, ImageError if it cannot be read, ValueError for
        an array that is not (H, W, 3) uint8 with at least one pixel.
        """
        rgb_HW3 = rgb_of(image)
        with one_thread_an_operator(self._device):
            return self._generate(rgb_HW3)

    def _generate(self, rgb_HW3: NDArray[np.uint8]) -> list[MaskRecord]:
        size_hw = (rgb_HW3.shape[0], rgb_HW3.shape[1])
        crops = crop_boxes(
            size_hw, layers=self.config.crop_n_layers, overlap_ratio=self.config.crop_overlap_ratio
        )
        found = [
            self._search(embedding, input_hw, index, crops, size_hw)
            for index, input_hw, embedding in self._embed(rgb_HW3, crops)
        ]
        with self._times.measure(TimedStep.SUPPRESS):
            candidates = filters.concatenate(found)
            if len(crops) > 1:
                candidates = filters.suppress_between_crops(candidates, crops, self.config)
        with self._times.measure(TimedStep.RUN_LENGTHS):
            records = [
                _record(candidates, i, crops, image_size_hw=size_hw) for i in range(len(candidates))
            ]
        with self._times.measure(TimedStep.CLEAN):
            records = clean_and_limit(records, image_size_hw=size_hw, config=self.config)
            return drop_overlapping(records, self.config)

    def _embed(
        self, rgb_HW3: NDArray[np.uint8], crops: Sequence[Crop]
    ) -> Iterator[tuple[int, tuple[int, int], ImageEmbedding]]:
        """Index, size in the model's input, and embedding of every crop, in order.

        Crops of a layer go through the encoder some at a time; only theirs are held.
        """
        at_once = self.config.crops_per_batch or (1 if self._device.type == "cpu" else 16)
        for _, layer in groupby(enumerate(crops), key=lambda pair: pair[1].layer):
            while batch := list(islice(layer, at_once)):
                with self._times.measure(TimedStep.RESIZE):
                    inputs = [
                        resize_to_input(
                            rgb_HW3[crop.y0 : crop.y1, crop.x0 : crop.x1], self._sam.image_size
                        )
                        for _, crop in batch
                    ]
                with self._times.measure(TimedStep.ENCODE):
                    squares = [
                        self._sam.preprocess(
                            torch.tensor(x, device=self._device).permute(2, 0, 1).float()
                        )
                        for x in inputs
                    ]
                    embeddings = self._sam.encode_image(torch.stack(squares))
                for position, (index, _) in enumerate(batch):
                    height, width = inputs[position].shape[:2]
                    yield index, (height, width), embeddings.image(position)

    def _search(
        self,
        embedding: ImageEmbedding,
        input_hw: tuple[int, int],
        index: int,
        crops: Sequence[Crop],
        size_hw: tuple[int, int],
    ) -> Candidates:
        """Prompt one crop with its grid and filter what comes back."""
        crop = crops[index]
        if not len(self._grids[crop.layer]):
            return filters.concatenate([])
        points_P2 = self._grids[crop.layer] * np.array(crop.size_hw[::-1])
        tiles = tiling(
            size_hw=crop.size_hw,
            input_hw=input_hw,
            image_size=self._sam.image_size,
            low_size=self._sam.image_size // 4,
            device=str(self._device),
        )
        scale = np.array([input_hw[1] / crop.size_hw[1], input_hw[0] / crop.size_hw[0]])
        points = torch.from_numpy((points_P2 * scale).astype(np.float32)).to(self._device)
        decoder, prompt_encoder = self._sam.mask_decoder, self._sam.prompt_encoder
        with self._times.measure(TimedStep.PROMPT):
            pe_1CHW = prompt_encoder.image_pe()
            _, dense_1C11 = prompt_encoder(self._prompts(points[:1]))
            context = decoder.prepare(embedding, pe_1CHW, shared_dense_1C11=dense_1C11)

        def search(begin: int) -> Candidates | None:
            some = slice(begin, begin + at_once)
            masks = self._masks(context, points[some])
            if masks is None:
                return None
            logits_KHW, iou_K, point_K = masks
            with self._times.measure(TimedStep.MEASURE):
                measured = measure(
                    logits_KHW,
                    tiles,
                    threshold=self._sam.mask_threshold,
                    offset=self.config.stability_score_offset,
                    least_stability=self.config.least_stability,
                )
                return filters.stable_and_whole(
                    measured,
                    predicted_iou_K=iou_K.cpu().numpy(),
                    points_xy_K2=points_P2[some][point_K.cpu().numpy()] + (crop.x0, crop.y0),
                    crop=crop,
                    crop_index=index,
                    image_size_hw=size_hw,
                    config=self.config,
                )

        at_once = self.config.points_per_batch or self._prompts_at_once()
        found = in_order(search, range(0, len(points), at_once))
        kept = [candidates for candidates in found if candidates is not None]
        with self._times.measure(TimedStep.SUPPRESS):
            return filters.suppress_within_crop(filters.concatenate(kept), self.config)

    def _masks(self, context: ImageContext, points_P2: Tensor) -> tuple[Tensor, ...] | None:
        """Logits (K, low, low), predicted IoU (K,) and point index (K,) of confident masks.

        points_P2: pixels of the model's input, float32.
        By point and then by mask; None if there are none.
        """
        decoder = self._sam.mask_decoder
        with self._times.measure(TimedStep.PROMPT):
            sparse_PTC, dense_1C11 = self._sam.prompt_encoder(self._prompts(points_P2))
            tokens = decoder.attend(context, sparse_PTC, dense_1C11)
            # The first mask answers several prompts; a single point is ambiguous.
            iou_P3 = tokens.iou_P4[:, 1:]
            prompt_K, mask_K = filters.confident(iou_P3, self.config)
        if not len(prompt_K):
            return None
        with self._times.measure(TimedStep.DRAW):
            logits_KHW = decoder.masks(tokens, prompt_K, mask_K + 1)
        return logits_KHW, iou_P3[prompt_K, mask_K], prompt_K

    def _prompts(self, points_P2: Tensor) -> Prompts:
        labels_P1 = torch.full((len(points_P2), 1), FOREGROUND, device=self._device)
        return Prompts(points_PN2=points_P2[:, None], labels_PN=labels_P1)

    def _prompts_at_once(self) -> int:
        """What the decoder asks for; more where the image has fewer tokens."""
        tokens = (self._sam.image_size // 16) ** 2
        return min(prompts_per_chunk(self._device) * _USUAL_TOKENS // tokens, _MOST_PROMPTS) or 1


def _record(
    found: Candidates, i: int, crops: Sequence[Crop], *, image_size_hw: tuple[int, int]
) -> MaskRecord:
    crop = crops[found.crop_N[i]]
    rle = outlines.encode(found.masks[i], origin_xy=(crop.x0, crop.y0), image_size_hw=image_size_hw)
    x, y = found.points_xy_N2[i].tolist()
    return MaskRecord(
        segmentation=rle,
        bbox_xywh=run_lengths.bbox_xywh(rle),
        area=run_lengths.area(rle),
        stage=Stage.AUTOMATIC,
        predicted_iou=float(found.predicted_iou_N[i]),
        stability_score=float(found.stability_N[i]),
        crop_box_xywh=crop.xywh,
        point_coords_xy=((x, y),),
    )
