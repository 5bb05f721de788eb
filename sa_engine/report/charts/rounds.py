"""Small charts as SVG texts: dots with intervals, bars, stacked bars. One place per round."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from sa_engine.report.charts.axes import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    height_of,
    label,
    nice_span,
    opening,
    rules,
)

LEAST_WIDTH, MOST_WIDTH = 460, 960
PLACE_WIDTH = 90
"""What a round's name takes, units of the picture."""
COLOUR = "#4269d0"


@dataclass(frozen=True, slots=True)
class Dot:
    """A value with its interval; hollow if not `filled`."""

    name: str
    value: float
    low: float
    high: float
    filled: bool = True


@dataclass(frozen=True, slots=True)
class Bar:
    """A value from 0."""

    name: str
    value: float


def dots_svg(title: str, dots: Sequence[Dot]) -> str:
    """Dots joined by a line through the filled ones, each with a bar for its interval."""
    if not dots:
        return _frame(title, [], [], (0.0, 1.0))
    span = nice_span(min(d.low for d in dots), max(d.high for d in dots))
    xs, parts = _places(len(dots)), []
    line = [(x, height_of(d.value, span)) for x, d in zip(xs, dots, strict=True) if d.filled]
    if len(line) > 1:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{COLOUR}" stroke-width="2"/>')
    rises = {x: after < y for (x, y), (_, after) in pairwise(line)}
    for x, dot in zip(xs, dots, strict=True):
        low, high, y = (height_of(value, span) for value in (dot.low, dot.high, dot.value))
        if dot.high > dot.low:
            parts.append(
                f'<line x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high:.1f}" '
                f'stroke="{COLOUR}" opacity="0.5"/>'
            )
        fill = COLOUR if dot.filled else "var(--ground, #fff)"
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{fill}" stroke="{COLOUR}" '
            f'stroke-width="2"><title>{escape(dot.name)}: {dot.value:.4f}</title></circle>'
        )
        # Beside the interval, and on the side where the line does not pass.
        is_above = dot.filled and not rises.get(x, False)
        height = y + (-8 if is_above else 16)
        if x + 42 < _width(len(dots)):
            parts.append(label(x + 7, height, f"{dot.value:.3f}", "start"))
        else:
            parts.append(label(x - 7, height, f"{dot.value:.3f}", "end"))
    return _frame(title, [dot.name for dot in dots], parts, span)


def bars_svg(title: str, bars: Sequence[Bar]) -> str:
    """One bar a round."""
    stacks = [(bar.name, {"": bar.value}) for bar in bars]
    return stacks_svg(title, stacks, {"": COLOUR}, digits=1)


def stacks_svg(
    title: str,
    stacks: Sequence[tuple[str, Mapping[str, float]]],
    colours: Mapping[str, str],
    *,
    digits: int = 0,
) -> str:
    """One stack of bars a round, in the order of `colours`, with a legend if there are several."""
    most = max((sum(values.values()) for _, values in stacks), default=0.0)
    span = nice_span(0.0, most or 1.0)
    xs, parts = _places(len(stacks)), []
    width = min(46.0, 0.6 * (_width(len(stacks)) - LEFT - RIGHT) / max(1, len(stacks)))
    for x, (name, values) in zip(xs, stacks, strict=True):
        done = 0.0
        for key, colour in colours.items():
            value = values.get(key, 0)
            if not value:
                continue
            top, bottom = height_of(done + value, span), height_of(done, span)
            said = f"{name}, {key}" if key else name
            parts.append(
                f'<rect x="{x - width / 2:.1f}" y="{top:.1f}" width="{width:.1f}" '
                f'height="{max(0.5, bottom - top):.1f}" fill="{colour}">'
                f"<title>{escape(said)}: {value:,.{digits}f}</title></rect>"
            )
            done += value
        parts.append(label(x, height_of(done, span) - 6, f"{done:,.{digits}f}"))
    shown = [key for key in colours if key and any(values.get(key) for _, values in stacks)]
    for place, key in enumerate(shown):
        x = LEFT + 4 + place * 118
        parts.append(f'<rect x="{x}" y="{HEIGHT - 13}" width="10" height="10" '
                     f'fill="{colours[key]}"/>')  # fmt: skip
        parts.append(label(x + 15, HEIGHT - 4, key, anchor="start"))
    return _frame(title, [name for name, _ in stacks], parts, span)


def _frame(
    title: str, names: Sequence[str], parts: Sequence[str], span: tuple[float, float]
) -> str:
    """A chart: title, ticks with lines across, names below, and what is in it."""
    width = _width(len(names))
    lines = [*opening(title, width), *rules(span, width)]
    every = max(1, math.ceil(len(names) * PLACE_WIDTH / (width - LEFT - RIGHT)))
    for place, (x, name) in enumerate(zip(_places(len(names)), names, strict=True)):
        if place % every == 0:
            short = name if len(name) <= 15 else name[:14] + "…"
            lines.append(label(x, HEIGHT - BOTTOM + 16, short))
    return "\n".join([*lines, *parts, "</svg>"])


def _width(count: int) -> int:
    """Of a chart with so many places."""
    return min(MOST_WIDTH, max(LEAST_WIDTH, LEFT + RIGHT + count * PLACE_WIDTH))


def _places(count: int) -> list[float]:
    step = (_width(count) - LEFT - RIGHT) / max(1, count)
    return [LEFT + step * (place + 0.5) for place in range(count)]
