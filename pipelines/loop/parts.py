"""What a loop deals with: sets of masks, models, detectors, and how they measure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageStatus
from sa_engine.dataset.shards.stats import parquet_name
from sa_engine.errors import UsageError
from sa_engine.pipelines.loop.steps import (
    Step,
    content_digest,
)
from sa_engine.pipelines.run.watch import RunSummary

MODEL_NAME = "model.safetensors"
DETECTOR_NAME = "detector.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A promptable model: the round that trained it, its file and the file's digest."""

    made_by: str
    path: Path
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopDetector:
    """A box detector, and the model on whose image encoder it stands."""

    made_by: str
    path: Path
    sha256: str
    model: Model


@dataclass(frozen=True, slots=True, kw_only=True)
class GatheredSet:
    """A set of masks that is there.

    path: its dataset. digest: of its content. images: that went through. masks: by stage.
    model, detector: digests of what made or proposed its masks; None where people did.
    proposals: what people made of the proposals, without the images one by one.
    seconds: that the engine took. mask_seconds: that a mask took people, where their tool says it.
    steps: ids of the steps that made it.
    """

    name: str
    path: Path
    digest: str
    images: int
    masks: Mapping[str, int]
    model: str | None = None
    detector: str | None = None
    proposals: Mapping[str, Any] | None = None
    seconds: float = 0.0
    mask_seconds: float | None = None
    steps: tuple[str, ...] = ()

    @property
    def num_masks(self) -> int:
        """All masks."""
        return sum(self.masks.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """A model on the held-out sets: mean IoU over sets, and its 95 % interval.

    own: of the mask that the model chooses. oracle: of the best of its masks.
    sets: own by set. rank: rank correlation of predicted and true IoU.
    """

    own: float
    own_low: float
    own_high: float
    oracle: float
    sets: Mapping[str, float] = field(default_factory=dict)
    rank: float | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """What a dataset holds.

    images: that went through. masks: by stage. mask_seconds: mean of the masks whose time is known.
    """

    images: int
    masks: dict[str, int]
    mask_seconds: float | None


def count_masks(dataset: Dataset) -> Counts:
    """Count a dataset's images and masks, column by column."""
    images = timed = 0
    seconds = 0.0
    masks: Counter[str] = Counter()
    names = ["stage", "time_spent_s"]
    columns = ["status", *(f"annotations.list.element.{name}" for name in names)]
    for index in dataset.shard_indices:
        with dataset.folder.open(parquet_name(index)) as file:
            table = pq.ParquetFile(file).read(columns=columns)
        images += pc.sum(pc.equal(table["status"], ImageStatus.OK.value)).as_py() or 0
        flat = pc.list_flatten(table["annotations"])
        for item in pc.value_counts(pc.struct_field(flat, "stage")).to_pylist():
            masks[item["values"]] += item["counts"]
        times = pc.struct_field(flat, "time_spent_s")
        timed += pc.count(times).as_py()
        seconds += pc.sum(times).as_py() or 0.0
    mean = round(seconds / timed, 3) if timed else None
    return Counts(images, dict(sorted(masks.items())), mean)


def check_leaks(sets: Sequence[GatheredSet], held_out: Sequence[GatheredSet]) -> None:
    """Raise UsageError if a picture is in a set to train on and in a held-out one, by content."""
    kept = {digest: each.name for each in held_out for digest in _digests(each)}
    for each in sets:
        common = [digest for digest in _digests(each) if digest in kept]
        if common:
            raise UsageError(
                f"{len(common)} images of the set {each.name!r} are held out, too, in "
                f"{kept[common[0]]!r}: nothing may be trained on what it is measured on; take them "
                "out of one of the two"
            )


def _digests(each: GatheredSet) -> list[str]:
    dataset = Dataset(each.path)
    columns = (dataset.columns(index, ["sha256"])["sha256"] for index in dataset.shard_indices)
    return [digest for column in columns for digest in column if digest]


def set_result(folder: Path, name: str, summary: RunSummary) -> dict[str, Any]:
    """A set's result. UsageError if nothing came of it."""
    dataset = Dataset(folder / name)
    counts = count_masks(dataset)
    if not counts.images:
        reasons = ", ".join(f"{n} {reason}" for reason, n in summary.num_failed.items())
        raise UsageError(f"no image of the set {name!r} went through ({reasons}): mend the cause")
    return {
        "files": {name: content_digest(dataset)},
        "images": counts.images,
        "failed": sum(summary.num_failed.values()),
        "masks": counts.masks,
        "mask_seconds": counts.mask_seconds,
    }


def gathered_set(name: str, steps: Sequence[Step]) -> GatheredSet:
    last = steps[-1]
    return GatheredSet(
        name=name,
        path=last.folder / name,
        digest=last.result["files"][name],
        images=last.result["images"],
        masks=last.result["masks"],
        mask_seconds=last.result["mask_seconds"],
        seconds=sum(step.seconds for step in steps),
        steps=tuple(step.id for step in steps),
    )


def check_masks(sets: Sequence[GatheredSet]) -> None:
    if not sets:
        raise UsageError("there is nothing to train on: gather a set before, or name one in data")
    for each in sets:
        if not each.num_masks:
            raise UsageError(
                f"the set {each.name!r} holds no mask to train on: lower the thresholds that it is "
                "made with (pred_iou_thresh, stability_score_thresh), or leave it out of data"
            )
