"""What all charts share: the opening of the drawing, ticks on round numbers, labels."""

import math
from html import escape

HEIGHT = 260
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 34, 44
"""Margins around what is drawn, units of the picture."""


def opening(title: str, width: int) -> list[str]:
    """The first lines of a drawing of `width` x HEIGHT with its title."""
    return [
        f'<svg viewBox="0 0 {width} {HEIGHT}" role="img" xmlns="http://www.w3.org/2000/svg" '
        'font-family="system-ui, sans-serif" font-size="11" fill="currentColor">',
        f"<title>{escape(title)}</title>",
        f'<text x="{LEFT}" y="18" font-size="13" font-weight="600">{escape(title)}</text>',
    ]


def rules(span: tuple[float, float], width: int, unit: str = "") -> list[str]:
    """Lines across at round values of the upright axis, with the values."""
    lines = []
    for tick in ticks(span):
        y = height_of(tick, span)
        lines.append(
            f'<line x1="{LEFT}" y1="{y:.1f}" x2="{width - RIGHT}" y2="{y:.1f}" '
            'stroke="currentColor" opacity="0.15"/>'
        )
        lines.append(label(LEFT - 6, y + 4, f"{tick:,g}{unit}", anchor="end"))
    return lines


def label(x: float, y: float, text: str, anchor: str = "middle") -> str:
    """A text at a point."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def height_of(value: float, span: tuple[float, float]) -> float:
    """Where a value lies on the upright axis."""
    low, high = span
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - low) / (high - low))


def nice_span(low: float, high: float) -> tuple[float, float]:
    """Limits on round numbers around an interval, with some air above."""
    step = _step(low, high)
    bottom = math.floor(low / step) * step
    top = math.ceil((high + 0.15 * step) / step) * step
    return bottom, top if top > bottom else bottom + step


def ticks(span: tuple[float, float]) -> list[float]:
    """Round values from end to end of an interval."""
    low, high = span
    step = _step(low, high)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def _step(low: float, high: float) -> float:
    """A round number that divides an interval into about four."""
    rough = max(high - low, 1e-3) / 4
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
