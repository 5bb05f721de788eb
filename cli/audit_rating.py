"""`sa-engine audit rate`."""

import math
from pathlib import Path

from sa_engine.cli.shared.console import console
from sa_engine.cli.shared.progress import count
from sa_engine.errors import UsageError
from sa_engine.evaluation.ratings import agreement, rated_groups, read_ratings
from sa_engine.evaluation.summary import layout
from sa_engine.pipelines.rating import groups_of_rated, write_rating_page

NAMED = 3


def write_page(dataset: Path | str, out: Path, masks: int, seed: int) -> None:
    """Write the page for rating."""
    page, shown = write_rating_page(dataset, out, masks=masks, seed=seed)
    console().say(
        f"{page}: {count(shown, 'mask')}; give it to people, then: sa-engine audit rate "
        f"{dataset} THEIR-FILES"
    )
    console().result({"page": page, "masks": shown})


def report_ratings(dataset: Path | str, files: tuple[Path, ...]) -> None:
    """How people agree, and the means by stage and model."""
    ratings = [rating for file in files for rating in read_ratings(file)]
    kinds, unknown = groups_of_rated(dataset, ratings)
    known = [rating for rating in ratings if rating.mask_id in kinds["stage"]]
    if not known:
        raise UsageError(
            f"no rating is of a mask of {dataset}: give the dataset that the page was made from"
        )
    found = agreement(known)
    rows = rated_groups(known, kinds)
    lines = []
    for row in rows:
        low, high = row.score.low, row.score.high
        spread = "one image" if math.isnan(low) else f"{low:.2f}, {high:.2f}"
        counts = [f"{row.masks:,}", f"{row.ratings:,}", f"{row.score.mean:.2f}", spread]
        lines.append([row.kind, row.group, *counts])
    console().say(layout(["", "", "masks", "ratings", "mean", "95 %"], lines))
    text = f"\n{count(found.raters, 'person', 'people')}"
    if found.masks:
        alpha = "–" if math.isnan(found.alpha) else f"{found.alpha:.2f}"
        text += (
            f"; on {count(found.masks, 'mask')} rated by several: Krippendorff's alpha {alpha}, "
            f"{found.within_1:.0%} of pairs differ by at most 1"
        )
    else:
        text += "; no mask was rated by two, so their agreement is not known"
    console().say(text)
    console().result({"rows": rows, "agreement": found, "unknown": unknown})
    if unknown:
        named = ", ".join(map(str, unknown[:NAMED])) + (", …" if len(unknown) > NAMED else "")
        console().note(
            f"{count(len(unknown), 'mask')} of the ratings are not in {dataset}: {named}"
        )
