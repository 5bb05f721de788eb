"""Mean IoU by set, method and prompt, with bootstrap intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sa_engine.evaluation.points import Score

OVER_SETS = "mean over sets"
RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRow:
    """A line of the table.

    dataset: a set's name, or OVER_SETS, where every set counts alike.
    own, oracle: mean IoU of the method's own choice and of its best candidate.
    """

    dataset: str
    method: str
    prompt: str
    masks: int
    own: Interval
    oracle: Interval


def summarise(scores: Sequence[Score], *, seed: int = 0) -> list[SummaryRow]:
    """Rows in the order in which sets, prompts and methods first appear; OVER_SETS last."""
    datasets = list(dict.fromkeys(s.dataset for s in scores))
    methods = list(dict.fromkeys(s.method for s in scores))
    prompts = sorted({(s.points or 10**6, s.prompt) for s in scores})
    by_key: dict[tuple[str, str, str], list[Score]] = {}
    for score in scores:
        by_key.setdefault((score.dataset, score.prompt, score.method), []).append(score)
    rows = []
    wanted = [(d, [d]) for d in datasets]
    if len(datasets) > 1:
        wanted.append((OVER_SETS, datasets))
    for title, members in wanted:
        for _, prompt in prompts:
            for method in methods:
                groups = [by_key.get((d, prompt, method), []) for d in members]
                if not all(groups):
                    continue
                rows.append(
                    SummaryRow(
                        dataset=title,
                        method=method,
                        prompt=prompt,
                        masks=sum(len(g) for g in groups),
                        own=_interval(groups, lambda s: s.own_iou, seed),
                        oracle=_interval(groups, lambda s: s.oracle_iou, seed),
                    )
                )
    return rows


def _interval(
    groups: Sequence[Sequence[Score]], value: Callable[[Score], float], seed: int
) -> Interval:
    """The mean of the groups' means; images, not masks, are drawn again within each group.

    Masks of one image are alike, so drawing masks would give intervals that are too narrow.
    """
    rng = np.random.default_rng(seed)
    means = np.zeros(RESAMPLES)
    mean = 0.0
    for group in groups:
        sums, counts = _by_image(group, value)
        drawn = rng.integers(len(sums), size=(RESAMPLES, len(sums)))
        means += sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1) / len(groups)
        mean += float(sums.sum() / counts.sum()) / len(groups)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(mean, float(low), float(high))


def _by_image(
    group: Sequence[Score], value: Callable[[Score], float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values: dict[int, list[float]] = {}
    for score in group:
        values.setdefault(score.image_id, []).append(value(score))
    sums = np.array([sum(v) for v in values.values()])
    return sums, np.array([float(len(v)) for v in values.values()])


def table(rows: Sequence[SummaryRow], *, markdown: bool = False) -> str:
    """The rows as a table: one line for each set and prompt, two columns for each method."""
    methods = list(dict.fromkeys(r.method for r in rows))
    with_oracle = [m for m in methods if any(r.oracle != r.own for r in rows if r.method == m)]
    columns: list[tuple[str, str]] = []
    for method in methods:
        columns.append((method, "own"))
        if method in with_oracle:
            columns.append((method, "oracle"))
    head = ["set", "prompt", "masks"]
    head += [f"{m} (oracle)" if kind == "oracle" else m for m, kind in columns]
    found = {(r.dataset, r.prompt, r.method): r for r in rows}
    lines: list[list[str]] = []
    for dataset, prompt in dict.fromkeys((r.dataset, r.prompt) for r in rows):
        cells = {m: found.get((dataset, prompt, m)) for m in methods}
        count = max(r.masks for r in cells.values() if r is not None)
        line = [dataset, prompt, f"{count:,}"]
        for method, kind in columns:
            row = cells[method]
            line.append("" if row is None else _cell(row.own if kind == "own" else row.oracle))
        lines.append(line)
    return layout(head, lines, markdown=markdown)


def layout(head: Sequence[str], lines: Sequence[Sequence[str]], *, markdown: bool = False) -> str:
    """Cells as aligned columns, or as a Markdown table; text left, numbers right."""
    if markdown:
        rule = ["---" if i < 2 else "---:" for i in range(len(head))]
        return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *lines])
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in [head, *lines]
    )


def _cell(interval: Interval) -> str:
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
