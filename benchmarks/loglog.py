"""A plot with logarithmic axes as a small SVG, so that benchmarks need no plotting library."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 80, 24, 24, 56
COLOURS = ("#0b6e99", "#d9730d", "#448361", "#9065b0", "#c4554d")


@dataclass(frozen=True, slots=True)
class Line:
    """A named line through (x, y) points; both are over 0."""

    name: str
    points: Sequence[tuple[float, float]]


def draw(lines: Sequence[Line], *, x: str, y: str) -> str:
    """An SVG picture of the lines; `x` and `y` name the axes."""
    every = [point for line in lines for point in line.points]
    columns, rows = _decades([a for a, _ in every]), _decades([b for _, b in every])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for k in range(columns[0], columns[1] + 1):
        place = _across(10.0**k, columns)
        parts.append(_rule(place, TOP, place, HEIGHT - BOTTOM))
        parts.append(_text(place, HEIGHT - BOTTOM + 20, _power(k), "middle"))
    for k in range(rows[0], rows[1] + 1):
        place = _up(10.0**k, rows)
        parts.append(_rule(LEFT, place, WIDTH - RIGHT, place))
        parts.append(_text(LEFT - 8, place + 4, _power(k), "end"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x, "middle"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text x="18" y="{middle:.1f}" text-anchor="middle" '
        f'transform="rotate(-90 18 {middle:.1f})">{escape(y)}</text>'
    )
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        spots = [(_across(a, columns), _up(b, rows)) for a, b in line.points]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in spots)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in spots]
        parts.append(_text(WIDTH - RIGHT - 8, TOP + 18 + 18 * number, line.name, "end", colour))
    return "\n".join([*parts, "</svg>\n"])


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _across(value: float, decades: tuple[int, int]) -> float:
    share = (math.log10(value) - decades[0]) / (decades[1] - decades[0])
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _up(value: float, decades: tuple[int, int]) -> float:
    share = (math.log10(value) - decades[0]) / (decades[1] - decades[0])
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _rule(x0: float, y0: float, x1: float, y1: float) -> str:
    return f'<path d="M{x0:.1f} {y0:.1f} L{x1:.1f} {y1:.1f}" stroke="#ddd"/>'


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#333") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="{colour}">{escape(text)}</text>'


def _power(exponent: int) -> str:
    if -3 <= exponent <= 3:
        return f"{10.0**exponent:,g}"
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
