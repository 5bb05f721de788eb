"""Everything mode run twice over the same images: in two precisions, on two devices, or with two
models. What differs is told mask by mask."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sa_engine.automask.comparison import Comparison, ImageComparison
from sa_engine.automask.config import GeneratorConfig, resolve
from sa_engine.automask.generator import MaskGenerator
from sa_engine.automask.parity import MATCH_IOU, compare
from sa_engine.dataset.images.reading import DEFAULT_MAX_PIXELS, read_image
from sa_engine.dataset.sources.listing import list_sources, read_source_bytes
from sa_engine.errors import ImageError, UsageError
from sa_engine.model.checkpoint import load_checkpoint, read_card
from sa_engine.model.device import DTYPES, choose_device, choose_precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two runs.

    checkpoint: the model's file.
    device, precision: as the command line names them; "auto" takes the best that the machine has.
    """

    checkpoint: Path
    device: str = "auto"
    precision: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRun:
    """What `run_comparison` is told.

    images: a folder, a file, a glob, a text list or a tar, or several files and folders; see
        `list_sources`.
    first, second: the two runs. Thresholds are those that the first one's card recommends, for
        both, so that only what is compared differs.
    preset, generator_options: as for `AutomaticRun`.
    limit: only the first so many images of the sorted list, from 1; None for all.
    max_pixels: images of more pixels are refused.
    match_iou: masks with at least this IoU are the same mask, (0, 1].
    """

    images: str | Sequence[str]
    first: Side
    second: Side
    preset: str = "default"
    generator_options: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None
    max_pixels: int = DEFAULT_MAX_PIXELS
    match_iou: float = MATCH_IOU


def run_comparison(
    run: ComparisonRun, *, progress: Callable[[ImageComparison], None] | None = None
) -> Comparison:
    """Make all masks of every image twice and compare them.

    Raises UsageError for options or paths that cannot work, CheckpointError for a file that is no
    model.
    """
    if not 0 < run.match_iou <= 1:
        raise UsageError(f"match_iou is {run.match_iou}; it must be greater than 0, at most 1")
    card = read_card(run.first.checkpoint)
    config = resolve(
        preset=run.preset,
        recommended=card.recommended(),
        options=run.generator_options,
    )
    sources = list_sources(run.images)
    if run.limit is not None:
        sources = sources[: run.limit]
    (first, about_first), (second, about_second) = (
        _open(side, config) for side in (run.first, run.second)
    )
    images: list[ImageComparison] = []
    failures: list[tuple[str, str]] = []
    for source in sources:
        try:
            rgb = read_image(read_source_bytes(source), max_pixels=run.max_pixels).rgb_HW3
        except ImageError as error:
            failures.append((source.name, f"{error.reason}: {error}"))
            continue
        times = [time.perf_counter()]
        found = []
        for generator in (first, second):
            found.append(generator.generate(rgb))
            times.append(time.perf_counter())
        images.append(
            ImageComparison(
                source.name,
                found[0],
                found[1],
                compare(found[0], found[1], match_iou=run.match_iou),
                times[1] - times[0],
                times[2] - times[1],
            )
        )
        if progress is not None:
            progress(images[-1])
    return Comparison(
        about_first, about_second, config, run.match_iou, tuple(images), tuple(failures)
    )


def _open(side: Side, config: GeneratorConfig) -> tuple[MaskGenerator, dict[str, str]]:
    device = choose_device(side.device)
    dtype = choose_precision(side.precision, device)
    card = read_card(side.checkpoint)
    generator = MaskGenerator(
        load_checkpoint(side.checkpoint, device), config, device=device, precision=dtype
    )
    precision = next(name for name, each in DTYPES.items() if each is dtype)
    return generator, {"model": card.name, "device": str(device), "precision": precision}
