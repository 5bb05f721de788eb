"""Pieces of HTML that pages share."""

from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """An HTML table of cells that are HTML already."""
    lines = ["<tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    return '<div class="table"><table>' + "\n".join(lines) + "</table></div>"


def number(value: float | None, digits: int = 2) -> str:
    """A number for people; nothing for None."""
    return "" if value is None else f"{value:,.{digits}f}"


def percent(value: float | None) -> str:
    """A share in percent; nothing for None."""
    return "" if value is None else f"{value:.1%}"
