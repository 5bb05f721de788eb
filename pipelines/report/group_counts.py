"""Images and masks of a dataset by the groups of the user's table (paper, section 6, table 3)."""

from collections import Counter, defaultdict
from collections.abc import Mapping

from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageStatus
from sa_engine.evaluation.groups import Groups
from sa_engine.report.dataset_page import GroupRow

NAMED = 3


def group_rows(
    dataset: Dataset, groups: Groups, *, sample: int | None = None
) -> tuple[Mapping[str, list[GroupRow]], list[str]]:
    """By column of the table: each value with its images and masks, and what to say of the table.

    sample: only so many images, evenly spaced.
    """
    images: dict[str, Counter[str]] = defaultdict(Counter)
    masks: dict[str, Counter[str]] = defaultdict(Counter)
    total = len(dataset)
    chosen = (
        None if sample is None or sample >= total else {i * total // sample for i in range(sample)}
    )
    for place, record in enumerate(dataset.images()):
        if record.status is not ImageStatus.OK or (chosen is not None and place not in chosen):
            continue
        if not groups.is_of_masks:
            known = groups.of(record)
            for column in groups.columns:
                value = known.get(column, "")
                images[column][value] += 1
                masks[column][value] += len(record.annotations)
            continue
        seen = set()
        for position in range(len(record.annotations)):
            known = groups.of(record, position)
            for column in groups.columns:
                value = known.get(column, "")
                masks[column][value] += 1
                seen.add((column, value))
        for column, value in seen:
            images[column][value] += 1
    rows = {
        column: [
            GroupRow(value, images[column][value], masks[column][value])
            for value in sorted(images[column], key=lambda v: (v == "", v))
        ]
        for column in groups.columns
    }
    notes = []
    missing = groups.never_met()
    if missing and chosen is None:
        named = ", ".join(missing[:NAMED]) + (", …" if len(missing) > NAMED else "")
        notes.append(
            f"{len(missing):,} of {len(groups.rows):,} rows of {groups.path} have a {groups.key} "
            f"that no {'mask' if groups.is_of_masks else 'image'} has: {named}"
        )
    return rows, notes
