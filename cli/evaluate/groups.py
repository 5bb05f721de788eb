"""The tables of `evaluate points --groups`."""

import math
from collections.abc import Mapping, Sequence

from sa_engine.cli.shared.console import console
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageStatus
from sa_engine.errors import UsageError
from sa_engine.evaluation.groups import Groups
from sa_engine.evaluation.groups_summary import group_scores
from sa_engine.evaluation.points import Score
from sa_engine.evaluation.summary import layout

NAMED = 3


def groups_of_masks(
    dataset: Dataset, name: str, groups: Groups
) -> dict[tuple[str, int], Mapping[str, str]]:
    """The groups of every mask, by (set, mask id)."""
    found: dict[tuple[str, int], Mapping[str, str]] = {}
    for record in dataset.images(status=ImageStatus.OK):
        for position in range(len(record.annotations)):
            known = groups.of(record, position)
            if known:
                found[name, record.mask_id(position)] = known
    return found


def print_groups(
    scores: Sequence[Score],
    of_masks: Mapping[tuple[str, int], Mapping[str, str]],
    groups: Groups,
    *,
    markdown: bool,
) -> None:
    """Mean IoU by group, the pairs that differ, and rows of the table that nothing has.

    Raises UsageError if no mask that was scored is in the table.
    """
    found, differences = group_scores(scores, of_masks)
    if not found:
        raise UsageError(
            f"{groups.path}: none of its {len(groups.rows)} rows has a {groups.key} of the masks "
            "that were scored"
        )
    lines = []
    for row in found:
        low, high = row.interval.low, row.interval.high
        spread = "one image" if math.isnan(low) else f"{low:.3f}, {high:.3f}"
        counts = [f"{row.masks:,}", f"{row.images:,}", f"{row.interval.mean:.3f}", spread]
        lines.append([row.column, row.value, row.method, row.prompt, *counts])
    titles = ["grouping", "group", "method", "prompt", "masks", "images", "mean IoU", "95 %"]
    console().say("\n" + layout(titles, lines, markdown=markdown))
    for each in differences:
        console().say(
            f"{each.column}: {each.first} and {each.second} differ by {each.difference:+.3f} "
            f"({each.method}, {each.prompt}; p = {each.p:.3f}, corrected)"
        )
    if not differences:
        console().say("no two groups differ beyond chance (p < 0.05, corrected for all pairs)")
    missing = groups.never_met()
    if missing:
        named = ", ".join(missing[:NAMED]) + (", …" if len(missing) > NAMED else "")
        console().note(f"{groups.path}: {len(missing)} rows are of nothing here: {named}")
