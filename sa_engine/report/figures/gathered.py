"""All figures of a dataset, gathered image by image; the memory does not grow with the images."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa_engine.dataset.records import ImageRecord, ImageStatus
from sa_engine.dataset.shards.stats import failure_reason
from sa_engine.report.figures.histogram import Histogram
from sa_engine.report.figures.image_measures import ImageMeasures
from sa_engine.report.figures.measures import IMAGE_MEASURES, MASK_MEASURES, SIZES

CENTRE_CELLS = 32
"""Cells a side of the picture of mask centres."""
MOST_KINDS = 40
"""Stages and models that have figures of their own; further ones are counted alone."""
NESTED, SAME = 0.9, 0.9
"""From this share inside a larger mask a mask is a part of it; from this IoU with another one it is
nearly its duplicate."""


@dataclass(slots=True)
class Distributions:
    """A histogram for each measure of some masks, and shares of them."""

    masks: int = 0
    histograms: dict[str, Histogram] = field(
        default_factory=lambda: {each.name: Histogram(each) for each in MASK_MEASURES}
    )
    sizes: Counter[str] = field(default_factory=Counter)
    nested: int = 0
    same: int = 0

    def add(self, columns: dict[str, NDArray[Any]]) -> None:
        """Count the masks of an image, by measure."""
        for name, histogram in self.histograms.items():
            histogram.add(columns[name])
        self.masks += len(columns["area"])
        for size, (low, high) in SIZES.items():
            self.sizes[size] += int(((columns["area"] >= low) & (columns["area"] < high)).sum())
        self.nested += int((columns["inside"] >= NESTED).sum())
        self.same += int((columns["largest_iou"] >= SAME).sum())

    def update(self, other: "Distributions") -> None:
        """Take over what another one has counted."""
        for name, histogram in self.histograms.items():
            histogram.update(other.histograms[name])
        self.masks += other.masks
        self.sizes.update(other.sizes)
        self.nested += other.nested
        self.same += other.same

    def to_json(self) -> dict[str, Any]:
        """Shares and histograms; measures that no mask has are left out."""
        return {
            "masks": self.masks,
            "size_shares": {size: self.share(self.sizes[size]) for size in SIZES},
            "nested_share": self.share(self.nested),
            "same_share": self.share(self.same),
            "measures": {n: h.to_json() for n, h in self.histograms.items() if h.number},
        }

    def share(self, count: int) -> float | None:
        """Of the masks; None without any."""
        return count / self.masks if self.masks else None


@dataclass(slots=True)
class DatasetFigures:
    """The figures of a dataset, or of some of its images; those of two parts can be put together.

    failures: images by reason. damaged: masks that could not be measured.
    all: every mask. stages, models: the same by stage and by model.
    centres: (CENTRE_CELLS, CENTRE_CELLS) counts of mask centres, [row, column].
    """

    images: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    damaged: int = 0
    all: Distributions = field(default_factory=Distributions)
    stages: dict[str, Distributions] = field(default_factory=dict)
    models: dict[str, Distributions] = field(default_factory=dict)
    categories: Counter[str] = field(default_factory=Counter)
    image_histograms: dict[str, Histogram] = field(
        default_factory=lambda: {each.name: Histogram(each) for each in IMAGE_MEASURES}
    )
    centres: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((CENTRE_CELLS, CENTRE_CELLS), dtype=np.int64)
    )

    def add_failure(self, record: ImageRecord) -> None:
        """Count an image that did not go through."""
        if record.status is ImageStatus.OK:
            raise ValueError(f"image {record.image_id} went through")
        self.failures[failure_reason(record.error)] += 1

    def add(self, image: ImageMeasures) -> None:
        """Count an image that went through, and its masks."""
        self.images += 1
        self.damaged += image.damaged
        for name, value in image.image().items():
            self.image_histograms[name].add(np.array([value]))
        columns = dict(image.masks)
        self.all.add(columns)
        for kinds, names in ((self.stages, image.stages), (self.models, image.models)):
            for name in sorted(set(names)):
                if name in kinds or len(kinds) < MOST_KINDS:
                    chosen = np.array([each == name for each in names], dtype=np.bool_)
                    part = {key: column[chosen] for key, column in columns.items()}
                    kinds.setdefault(name, Distributions()).add(part)
        for position in image.positions:
            category = image.record.annotations[position].category
            if category is not None:
                self.categories[category] += 1
        cells = np.minimum((image.centres_xy * CENTRE_CELLS).astype(np.int64), CENTRE_CELLS - 1)
        np.add.at(self.centres, (cells[:, 1], cells[:, 0]), 1)

    def update(self, other: "DatasetFigures") -> None:
        """Take over what another one has counted."""
        self.images += other.images
        self.failures.update(other.failures)
        self.damaged += other.damaged
        self.all.update(other.all)
        for kinds, others in ((self.stages, other.stages), (self.models, other.models)):
            for name, part in others.items():
                kinds.setdefault(name, Distributions()).update(part)
        self.categories.update(other.categories)
        for name, histogram in self.image_histograms.items():
            histogram.update(other.image_histograms[name])
        self.centres += other.centres

    def centre_shares(self) -> tuple[float, float] | None:
        """Shares of the mask centres in the four corners, and in the middle; both regions have a
        quarter of the image. None without masks.
        """
        total = int(self.centres.sum())
        if not total:
            return None
        quarter = CENTRE_CELLS // 4
        outer = np.r_[0:quarter, CENTRE_CELLS - quarter : CENTRE_CELLS]
        inner = np.arange(quarter, CENTRE_CELLS - quarter)
        corners = int(self.centres[np.ix_(outer, outer)].sum())
        middle = int(self.centres[np.ix_(inner, inner)].sum())
        return corners / total, middle / total

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        shares = self.centre_shares()
        return {
            "images": self.images,
            "masks": self.all.masks,
            "failures": dict(sorted(self.failures.items())),
            "damaged_masks": self.damaged,
            "image_measures": {n: h.to_json() for n, h in self.image_histograms.items()},
            "all": self.all.to_json(),
            "stages": {name: part.to_json() for name, part in sorted(self.stages.items())},
            "models": {name: part.to_json() for name, part in sorted(self.models.items())},
            "categories": dict(self.categories.most_common(100)),
            "centres": {
                "corners_share": shares[0] if shares else None,
                "middle_share": shares[1] if shares else None,
                "cells": self.centres.tolist(),
            },
        }
