"""Masks drawn from a dataset for people to rate, and what their ratings are grouped by."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import MASK_IDS_PER_IMAGE, ImageStatus
from sa_engine.errors import UsageError
from sa_engine.evaluation.ratings import Rating
from sa_engine.pipelines.photographs import photograph, to_jpeg
from sa_engine.report.figures.image_measures import model_of
from sa_engine.report.page_folder import PAGE_NAME, check_page_folder, page_folder
from sa_engine.report.rating_page import GENERATOR, RatedMask, outlined, rating_page


def write_rating_page(path: Path | str, out: Path, *, masks: int, seed: int) -> tuple[Path, int]:
    """Write the page for masks drawn at random; returns it and how many masks are on it.

    Raises UsageError for a dataset without masks or photographs, or an `out` with other files.
    """
    check_page_folder(out, generator=GENERATOR, entries=(PAGE_NAME,), apart_from=[str(path)])
    dataset = Dataset(path, allow_incomplete=True)
    ids = [
        record.mask_id(position)
        for record in dataset.images(status=ImageStatus.OK)
        for position, mask in enumerate(record.annotations)
        if mask.area
    ]
    chosen = np.random.default_rng(seed).permutation(np.array(ids, dtype=np.int64))[:masks]
    shown: list[RatedMask] = []
    for number in chosen.tolist():
        record = dataset.record(number // MASK_IDS_PER_IMAGE)
        rgb = photograph(dataset, record)
        if rgb is None:
            continue
        mask = record.annotations[number % MASK_IDS_PER_IMAGE - 1]
        whole, near = outlined(rgb, mask.segmentation)
        shown.append(RatedMask(number, to_jpeg(whole, 80), to_jpeg(near, 85)))
    if not shown:
        raise UsageError(f"{path} has no mask whose photograph is there: there is nothing to rate")
    with page_folder(out) as folder:
        name = Path(dataset.folder.url).name
        (folder / PAGE_NAME).write_text(rating_page(f"Masks of {name}", shown), encoding="utf-8")
    return out / PAGE_NAME, len(shown)


def groups_of_rated(
    path: Path | str, ratings: Iterable[Rating]
) -> tuple[Mapping[str, Mapping[int, str]], list[int]]:
    """Stage and model of each rated mask, and the ids that the dataset does not have."""
    dataset = Dataset(path, allow_incomplete=True)
    ref = dataset.manifest.model
    model = "not recorded" if ref is None else f"{ref.name} ({ref.sha256[:8]})"
    stages: dict[int, str] = {}
    models: dict[int, str] = {}
    unknown: list[int] = []
    for number in sorted({rating.mask_id for rating in ratings}):
        position = number % MASK_IDS_PER_IMAGE - 1
        try:
            record = dataset.record(number // MASK_IDS_PER_IMAGE)
        except UsageError:
            unknown.append(number)
            continue
        if not 0 <= position < len(record.annotations):
            unknown.append(number)
            continue
        mask = record.annotations[position]
        stages[number] = mask.stage.value
        models[number] = model_of(mask, model)
    return {"stage": stages, "model": models}, unknown
