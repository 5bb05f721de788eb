"""What a training run learns from: datasets and packs by name, and how often each is drawn."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sa_engine.dataset.folder.base import short_names
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import Stage
from sa_engine.errors import UsageError
from sa_engine.training.data.pack import read_pack
from sa_engine.training.data.photos import ImageSet


@dataclass(frozen=True, slots=True)
class TrainingSets:
    """Sets by name.

    weights: by set, for those that were given one. stages: weights of stages that were given one.
    """

    sets: Mapping[str, ImageSet]
    weights: Mapping[str, float]
    stages: Mapping[Stage, float]


def open_sets(data: Sequence[Path | str], weights: Mapping[str, float]) -> TrainingSets:
    """Open datasets, each by its folder's name, and packs, whose sets have their own names.

    weights: by set or stage; they count before those that a pack was made with.
    Raises UsageError for two sets of one name, or a weight of an unknown name or below 0.
    """
    sets: dict[str, ImageSet] = {}
    packed: dict[str, float] = {}
    for path in data:
        for name, images in _open(path, packed):
            if name in sets:
                raise UsageError(
                    f"two datasets have the name {name}; rename one, as weights go by name"
                )
            sets[name] = images
    known = {*sets, *(stage.value for stage in Stage)}
    for name, weight in weights.items():
        if name not in known:
            raise UsageError(
                f"--weight names {name!r}, which is neither a set nor a stage; "
                f"there are {', '.join(sorted(known))}"
            )
        if not weight >= 0 or math.isinf(weight):
            raise UsageError(f"--weight {name}={weight}: give a number of at least 0")
    chosen = packed | dict(weights)
    return TrainingSets(
        sets,
        {name: weight for name, weight in chosen.items() if name in sets},
        {stage: chosen[stage.value] for stage in Stage if stage.value in chosen},
    )


def _open(path: Path | str, weights: dict[str, float]) -> Iterator[tuple[str, ImageSet]]:
    """A dataset's or a pack's sets; a pack's weights are added to `weights`."""
    if not isinstance(path, str) and path.is_file():
        pack = read_pack(path)
        weights.update(pack.weights)
        yield from pack.sets.items()
    else:
        yield short_names(path)[1], Dataset(path)
