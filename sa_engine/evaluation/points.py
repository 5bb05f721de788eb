"""The point protocol: one object, N clicks, how good is the mask.

Source: "Segment Anything", section 7.1 and appendix D.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageRecord, ImageStatus, MaskRecord
from sa_engine.errors import UsageError
from sa_engine.evaluation.clicks import Click, FirstPoint, Mask, first_click, next_click
from sa_engine.evaluation.segmenters import Answer, Segmenter
from sa_engine.masks import rle
from sa_engine.masks.rle import Rle


@dataclass(frozen=True, slots=True, kw_only=True)
class PointsConfig:
    """How the protocol is played.

    counts: numbers of clicks after which masks are scored, rising, from 1.
    first_point: how the first click is chosen.
    boxes: score a box prompt, too.
    max_images: images of a set, evenly spaced; None for all.
    max_masks: masks of an image, drawn at random; None for all.
    seed: of every random choice.
    """

    counts: tuple[int, ...] = (1, 2, 3, 5, 9)
    first_point: FirstPoint = FirstPoint.CENTRE
    boxes: bool = False
    max_images: int | None = None
    max_masks: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.counts or list(self.counts) != sorted(set(self.counts)) or self.counts[0] < 1:
            raise ValueError(f"counts are {self.counts}; give rising numbers from 1")
        for name in ("max_images", "max_masks"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; give at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One mask, one method, one prompt.

    prompt: "1 point", "3 points", "box". points: clicks given, 0 for a box.
    own_iou: IoU of the mask that the method would give. oracle_iou: of the best candidate.
    predicted_iou: what the method predicted for its own mask.
    """

    dataset: str
    image_id: int
    mask_id: int
    area: int
    method: str
    prompt: str
    points: int
    own_iou: float
    oracle_iou: float
    predicted_iou: float


@dataclass(frozen=True, slots=True)
class Target:
    """One mask to find: its record, id, pixels and the pixels left out of the score."""

    image: ImageRecord
    mask_id: int
    record: MaskRecord
    mask: Mask
    ignored: Mask | None


def evaluate_points(
    dataset: Dataset, name: str, *, segmenters: Sequence[Segmenter], config: PointsConfig
) -> Iterator[list[Score]]:
    """Play the protocol on every chosen mask; yields the scores of one image at a time.

    Every segmenter gets the same first click; later clicks correct its own mistakes.
    Raises UsageError if the set has no mask to score.
    """
    records = chosen_images(dataset, name, config.max_images)
    for record in records:
        rgb = dataset.read_rgb(record)
        targets = list(chosen_targets(record, max_masks=config.max_masks, seed=config.seed))
        scores: list[Score] = []
        for segmenter in segmenters:
            segmenter.set_image(rgb)
            for target in targets:
                scores.extend(_play(segmenter, target, name, config))
        yield scores


def chosen_images(dataset: Dataset, name: str, max_images: int | None) -> list[ImageRecord]:
    """Images with masks to score, evenly spaced over the set if only some are wanted.

    Raises UsageError if there are none.
    """
    records = [
        record
        for record in dataset.images(status=ImageStatus.OK)
        if any(not m.iscrowd and m.area for m in record.annotations)
    ]
    if not records:
        raise UsageError(f"{name} holds no image with masks; there is nothing to evaluate")
    if max_images is None or max_images >= len(records):
        return records
    return [records[i * len(records) // max_images] for i in range(max_images)]


def chosen_targets(record: ImageRecord, *, max_masks: int | None, seed: int) -> Iterator[Target]:
    """The masks of an image that are scored; crowds never are."""
    positions = [i for i, m in enumerate(record.annotations) if not m.iscrowd and m.area]
    if max_masks is not None and len(positions) > max_masks:
        rng = np.random.default_rng([seed, record.image_id])
        positions = sorted(rng.permutation(positions)[:max_masks].tolist())
    for i in positions:
        mask = record.annotations[i]
        yield Target(record, record.mask_id(i), mask, rle.decode(mask.segmentation), _ignored(mask))


def iou(predicted: Mask, target: Mask, ignored: Mask | None = None) -> float:
    """IoU of two (H, W) masks outside the ignored pixels; 0 if both are empty."""
    if ignored is not None:
        predicted, target = predicted & ~ignored, target & ~ignored
    union = int((predicted | target).sum())
    return int((predicted & target).sum()) / union if union else 0.0


def _ignored(mask: MaskRecord) -> Mask | None:
    """The band along the edge that a source leaves unlabelled, as COCO RLE under "void"."""
    void = mask.attributes.get("void")
    if not void:
        return None
    height, width = void["size"]
    return rle.decode(Rle((int(height), int(width)), str(void["counts"])))


def _play(
    segmenter: Segmenter, target: Target, dataset: str, config: PointsConfig
) -> Iterator[Score]:
    rng = np.random.default_rng([config.seed, target.mask_id])
    segmenter.start_object()
    clicks: list[Click] = [first_click(target.mask, how=config.first_point, rng=rng)]
    for count in range(1, config.counts[-1] + 1):
        answer = segmenter.answer(clicks)
        if count in config.counts:
            prompt = f"{count} point" + ("s" if count > 1 else "")
            yield _score(segmenter, target, dataset, answer, prompt, count)
        chosen: NDArray[np.bool_] = answer.masks_MHW[answer.chosen]
        if count < config.counts[-1]:
            clicks.append(next_click(chosen, target.mask, ignored=target.ignored))
    if config.boxes and segmenter.takes_boxes:
        segmenter.start_object()
        x, y, width, height = target.record.bbox_xywh
        answer = segmenter.answer([], box_xyxy=(x, y, x + width, y + height))
        yield _score(segmenter, target, dataset, answer, "box", 0)


def _score(
    segmenter: Segmenter, target: Target, dataset: str, answer: Answer, prompt: str, points: int
) -> Score:
    ious = [iou(mask, target.mask, target.ignored) for mask in answer.masks_MHW]
    return Score(
        dataset=dataset,
        image_id=target.image.image_id,
        mask_id=target.mask_id,
        area=target.record.area,
        method=segmenter.name,
        prompt=prompt,
        points=points,
        own_iou=ious[answer.chosen],
        oracle_iou=max(ious),
        predicted_iou=float(answer.scores_M[answer.chosen]),
    )
