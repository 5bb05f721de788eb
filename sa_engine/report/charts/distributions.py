"""Distributions: lines of steps over bins, one for each set, and a picture of a density."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from sa_engine.report.charts.axes import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    height_of,
    label,
    nice_span,
    opening,
    rules,
    ticks,
)

WIDTH = 460
STYLES = (
    ("#4a6fd8", ""),
    ("#b3480b", "7 3"),
    ("#1d7a33", "2 2"),
    ("#8331a8", "9 3 2 3"),
    ("#555555", "1 3"),
    ("#007f8c", "12 4"),
)
"""Colour and dashes of each set's line: the dashes tell them apart without the colour."""


@dataclass(frozen=True, slots=True)
class Line:
    """A set's share in each bin; edges (B + 1,), shares (B,) in [0, 1]."""

    name: str
    edges: NDArray[np.float64]
    shares: NDArray[np.float64]


def steps_svg(title: str, lines: Sequence[Line], *, unit: str = "", is_log: bool = False) -> str:
    """One line of steps for each set, in percent of its masks (or images), with a legend."""
    most = max((float(line.shares.max(initial=0)) for line in lines), default=0.0)
    low_share, top = nice_span(0.0, 100 * most or 1.0)
    span = (low_share, min(top, 100.0) if most < 1 else 110.0)
    low = min((float(line.edges[0]) for line in lines), default=0.0)
    high = max((float(line.edges[-1]) for line in lines), default=1.0)
    parts = [*opening(title, WIDTH), *rules(span, WIDTH, "%")]
    for value, text in _across(low, high, is_log):
        x = _x(value, low, high, is_log)
        parts.append(
            f'<line x1="{x:.1f}" y1="{HEIGHT - BOTTOM}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM + 4}" '
            'stroke="currentColor"/>'
        )
        parts.append(label(x, HEIGHT - BOTTOM + 16, text))
    if unit:
        parts.append(label(WIDTH - RIGHT, HEIGHT - BOTTOM + 29, unit, "end"))
    for number, line in enumerate(lines):
        colour, dashes = STYLES[number % len(STYLES)]
        points = []
        for i, share in enumerate(line.shares):
            y = height_of(100 * float(share), span)
            for edge in (line.edges[i], line.edges[i + 1]):
                points.append(f"{_x(float(edge), low, high, is_log):.1f},{y:.1f}")
        style = f' stroke-dasharray="{dashes}"' if dashes else ""
        parts.append(
            f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" '
            f'stroke-width="2"{style}><title>{escape(line.name)}</title></polyline>'
        )
    parts += _legend([line.name for line in lines])
    return "\n".join([*parts, "</svg>"])


def density_svg(title: str, counts: NDArray[np.int64]) -> str:
    """Counts of a grid over the image, (rows, columns): the more, the darker."""
    rows, columns = counts.shape
    side = HEIGHT - TOP - 12
    parts = opening(title, side + 2 * 12)
    parts[2] = parts[2].replace(f'x="{LEFT}"', 'x="12"')
    most = int(counts.max(initial=0))
    total = max(1, int(counts.sum()))
    for row, column in np.argwhere(counts):
        count = int(counts[row, column])
        parts.append(
            f'<rect x="{12 + column * side / columns:.1f}" y="{TOP + row * side / rows:.1f}" '
            f'width="{side / columns + 0.2:.1f}" height="{side / rows + 0.2:.1f}" '
            f'opacity="{math.sqrt(count / most):.2f}"><title>{count / total:.2%}</title></rect>'
        )
    parts.append(
        f'<rect x="12" y="{TOP}" width="{side}" height="{side}" fill="none" stroke="currentColor"/>'
    )
    return "\n".join([*parts, "</svg>"])


def _across(low: float, high: float, is_log: bool) -> list[tuple[float, str]]:
    """Values of the level axis that have a mark, and their texts."""
    if not is_log:
        return [(tick, f"{tick:,g}") for tick in ticks((low, high))]
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    if last - first < 2:
        values = [n * 10.0**p for p in range(first - 1, last + 1) for n in (1, 2, 5)]
        return [(value, f"{value:,g}") for value in values if low <= value <= high]
    return [(10.0**power, f"{10.0**power:,g}") for power in range(first, last + 1)]


def _x(value: float, low: float, high: float, is_log: bool) -> float:
    if is_log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low)


def _legend(names: Sequence[str]) -> list[str]:
    if len(names) < 2:
        return []
    parts = []
    step = (WIDTH - LEFT - 60) / len(names)
    longest = max(6, int(step / 6.2) - 5)
    for number, name in enumerate(names):
        colour, dashes = STYLES[number % len(STYLES)]
        x = LEFT + number * step
        style = f' stroke-dasharray="{dashes}"' if dashes else ""
        parts.append(
            f'<line x1="{x:.1f}" y1="{HEIGHT - 9}" x2="{x + 24:.1f}" y2="{HEIGHT - 9}" '
            f'stroke="{colour}" stroke-width="2"{style}/>'
        )
        short = name if len(name) <= longest else name[: longest - 1] + "…"
        parts.append(label(x + 28, HEIGHT - 5, short, "start"))
    return parts
