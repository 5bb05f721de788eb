"""The report's page: what one dataset is, or several side by side.

As the paper shows its own data (section 5, figures 5 to 7): each chart with the table behind it,
and thumbnails of the images that stand out, which lead into the viewer.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from typing import Any

from sa_engine.report.charts.distributions import Line, density_svg, steps_svg
from sa_engine.report.figures.gathered import DatasetFigures, Distributions
from sa_engine.report.figures.histogram import Histogram
from sa_engine.report.figures.measures import (
    BY_NAME,
    IMAGE_MEASURES,
    MASK_MEASURES,
    SIZES,
    Measure,
    Scale,
)
from sa_engine.report.figures.strangest import ODDITIES
from sa_engine.report.html import number, percent, table

GENERATOR = "sa-engine report"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """A small picture on the page. uri: its data. link: into the viewer. caption: below it."""

    uri: str
    link: str
    caption: str


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group's size: "" stands for images that the table does not have."""

    value: str
    images: int
    masks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates:
    """Images of a dataset that are there more than once.

    same: images whose file another one has, too. alike: pairs that look alike, of `compared`
        images; pairs: some of them to look at.
    """

    same: int = 0
    alike: int = 0
    compared: int = 0
    pairs: tuple[tuple[Thumbnail, Thumbnail], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSet:
    """All that the page shows of one dataset.

    notes: what a reader must know first. viewer: link to its viewer, "" for none.
    strange: thumbnails by oddity. groups: by column of the user's table.
    in_common: images that it shares with each other set, by name.
    alike_in_common: further images of it that look like one of that set.
    """

    name: str
    figures: DatasetFigures
    notes: tuple[str, ...] = ()
    viewer: str = ""
    duplicates: Duplicates = field(default_factory=Duplicates)
    strange: Mapping[str, Sequence[Thumbnail]] = field(default_factory=dict)
    groups: Mapping[str, Sequence[GroupRow]] = field(default_factory=dict)
    in_common: Mapping[str, int] = field(default_factory=dict)
    alike_in_common: Mapping[str, int] = field(default_factory=dict)


Between = Mapping[tuple[str, str], Sequence[tuple[Thumbnail, Thumbnail]]]


def dataset_page(sets: Sequence[ReportSet], between: Between | None = None) -> str:
    """The page, (HTML). It loads nothing and holds no script.

    between: of two sets, by name, images that look alike.
    """
    template = resources.files("sa_engine.report").joinpath("dataset.html").read_text("utf-8")
    notes = [
        f"{each.name}: {note}" if len(sets) > 1 else note for each in sets for note in each.notes
    ]
    body = [
        _overview(sets),
        _charts("Images", IMAGE_MEASURES, sets, lambda s, name: s.figures.image_histograms[name]),
        _charts("Masks", MASK_MEASURES, sets, lambda s, name: s.figures.all.histograms[name]),
        _centres(sets),
        _kinds("By stage", sets, lambda s: s.figures.stages),
        _kinds("By model", sets, lambda s: s.figures.models),
        _categories(sets),
        _groups(sets),
        _duplicates(sets, between or {}),
        _strange(sets),
    ]
    parts = {
        "generator": GENERATOR,
        "title": escape(_title([each.name for each in sets])),
        "notes": "\n".join(f'<p class="note">{escape(note)}</p>' for note in notes),
        "body": "\n".join(part for part in body if part),
    }
    for name, text in parts.items():
        template = template.replace("{{" + name + "}}", text)
    return template


def _overview(sets: Sequence[ReportSet]) -> str:
    every = [each.figures for each in sets]
    rows = [
        ["images", *(f"{f.images:,}" for f in every)],
        ["masks", *(f"{f.all.masks:,}" for f in every)],
        ["masks an image", *(number(f.image_histograms["masks"].mean) for f in every)],
        ["images failed", *(_counts(f.failures) for f in every)],
        ["masks without pixels or damaged", *(f"{f.damaged:,}" for f in every)],
    ]
    for size, (low, high) in SIZES.items():
        limits = f"from {low:,} px" if low else f"under {high:,} px"
        shares = [percent(f.all.share(f.all.sizes[size])) for f in every]
        rows.append([f"{size} masks ({limits})", *shares])
    nested = [percent(f.all.share(f.all.nested)) for f in every]
    same = [percent(f.all.share(f.all.same)) for f in every]
    rows.append(["masks inside a larger one (90 %)", *nested])
    rows.append(["masks that nearly repeat another one (IoU 0.9)", *same])
    for other in sets if len(sets) > 1 else ():
        rows.append(_shared("images in common with", other, [each.in_common for each in sets]))
        rows.append(
            _shared("others that look like one of", other, [each.alike_in_common for each in sets])
        )
    if any(each.viewer for each in sets):
        links = [
            f'<a href="{escape(each.viewer)}">look</a>' if each.viewer else "" for each in sets
        ]
        rows.append(["images that stand out, in the viewer", *links])
    return table(["", *(escape(each.name) for each in sets)], rows)


def _charts(
    title: str,
    measures: Iterable[Measure],
    sets: Sequence[ReportSet],
    of: Callable[[ReportSet, str], Histogram],
) -> str:
    figures = []
    for measure in measures:
        histograms = [of(each, measure.name) for each in sets]
        if any(histogram.number for histogram in histograms):
            figures.append(_chart(measure, [each.name for each in sets], histograms))
    if not figures:
        return ""
    return f'<h2>{title}</h2>\n<div class="charts">\n' + "\n".join(figures) + "\n</div>"


def _chart(measure: Measure, names: Sequence[str], histograms: Sequence[Histogram]) -> str:
    """A chart and, folded, its table."""
    upto = None
    if measure.scale is Scale.WHOLE:
        # The last per mille would make all else narrow.
        tops = [histogram.quantile(0.999) for histogram in histograms if histogram.number]
        upto = max(top for top in tops if top is not None)
    drawn = [histogram.drawn(upto) for histogram in histograms]
    lines = [
        Line(name, edges, counts / max(1, histogram.number))
        for name, (edges, counts), histogram in zip(names, drawn, histograms, strict=True)
        if histogram.number
    ]
    is_log = measure.scale is Scale.LOGARITHMIC
    if is_log:
        lines = _cut(lines)
    chart = steps_svg(measure.title, lines, unit=measure.unit, is_log=is_log)
    summary = table(
        ["", *map(escape, names)],
        [
            ["number", *(f"{h.number:,}" for h in histograms)],
            ["mean", *(_value(h.mean) for h in histograms)],
            *(
                [f"{share:.0%}", *(_value(h.quantile(share)) for h in histograms)]
                for share in (0.05, 0.5, 0.95)
            ),
            ["largest", *(_value(h.most if h.number else None) for h in histograms)],
        ],
    )
    longest = max(lines, key=lambda line: len(line.shares))
    bins = [
        [
            f"{_edge(longest.edges[i], measure)} to {_edge(longest.edges[i + 1], measure)}",
            *(percent(float(line.shares[i])) if i < len(line.shares) else "" for line in lines),
        ]
        for i in range(len(longest.shares))
    ]
    behind = table(["from, to below", *(escape(line.name) for line in lines)], bins)
    return (
        f"<figure>{chart}<figcaption>{escape(measure.text)}</figcaption>{summary}"
        f"<details><summary>table of the chart</summary>{behind}</details></figure>"
    )


def _cut(lines: Sequence[Line]) -> list[Line]:
    """The same lines without the bins at either end that are empty in all of them."""
    used = [i for line in lines for i, share in enumerate(line.shares) if share > 0]
    low, high = max(0, min(used) - 1), max(used) + 2
    return [Line(line.name, line.edges[low : high + 1], line.shares[low:high]) for line in lines]


def _centres(sets: Sequence[ReportSet]) -> str:
    figures = []
    for each in sets:
        shares = each.figures.centre_shares()
        if shares is not None:
            corners, middle = shares
            figures.append(
                f"<figure>{density_svg(each.name, each.figures.centres)}<figcaption>"
                f"{corners:.1%} in the four corners, {middle:.1%} in the middle; each has a "
                "quarter of the image.</figcaption></figure>"
            )
    if not figures:
        return ""
    return (
        "<h2>Where the centres of masks lie</h2>\n"
        f'<div class="charts centres">{"".join(figures)}</div>'
    )


_KIND_COLUMNS = (
    "relative_size",
    "concavity",
    "predicted_iou",
    "stability_score",
    "seconds",
    "clicks",
)


def _kinds(
    title: str,
    sets: Sequence[ReportSet],
    kinds_of: Callable[[ReportSet], Mapping[str, Distributions]],
) -> str:
    rows = []
    for each in sets:
        for name, part in sorted(kinds_of(each).items()):
            means = [number(part.histograms[column].mean, 3) for column in _KIND_COLUMNS]
            known = [escape(each.name), escape(name), f"{part.masks:,}"]
            rows.append([*known, percent(part.share(part.nested)), *means])
    if not rows:
        return ""
    heads = ["dataset", "", "masks", "inside another"]
    heads += [f"{BY_NAME[name].title.lower()}, mean" for name in _KIND_COLUMNS]
    return f"<h2>{title}</h2>\n" + table(heads, rows)


def _categories(sets: Sequence[ReportSet]) -> str:
    names: dict[str, int] = {}
    for each in sets:
        for name, count in each.figures.categories.most_common(30):
            names[name] = names.get(name, 0) + count
    if not names:
        return ""
    chosen = sorted(names, key=lambda name: -names[name])[:30]
    rows = [
        [escape(name), *(f"{each.figures.categories[name]:,}" for each in sets)] for name in chosen
    ]
    heads = ["category", *(escape(each.name) for each in sets)]
    return (
        "<h2>Categories</h2>\n<details open><summary>masks of the most frequent ones</summary>"
        + table(heads, rows)
        + "</details>"
    )


def _groups(sets: Sequence[ReportSet]) -> str:
    parts = []
    for column in dict.fromkeys(name for each in sets for name in each.groups):
        rows = []
        for each in sets:
            for row in each.groups.get(column, ()):
                per_image = number(row.masks / row.images if row.images else None)
                value = escape(row.value) if row.value else "<i>not in the table</i>"
                counts = [f"{row.images:,}", f"{row.masks:,}", per_image]
                rows.append([value, escape(each.name), *counts])
        heads = [escape(column), "dataset", "images", "masks", "masks an image"]
        parts.append(f"<h3>{escape(column)}</h3>\n" + table(heads, rows))
    return "<h2>Groups, from the table given</h2>\n" + "\n".join(parts) if parts else ""


def _shared(what: str, other: ReportSet, counts: Sequence[Mapping[str, int]]) -> list[str]:
    """A row of the images that each set shares with another; a set shares nothing with itself."""
    cells = [f"{each[other.name]:,}" if other.name in each else "–" for each in counts]
    return [f"{what} {escape(other.name)}", *cells]


def _duplicates(sets: Sequence[ReportSet], between: Between) -> str:
    rows = [
        [
            escape(each.name),
            f"{each.duplicates.same:,}",
            f"{each.duplicates.alike:,}",
            f"{each.duplicates.compared:,}",
        ]
        for each in sets
    ]
    heads = ["dataset", "images whose file another one has", "pairs that look alike", "compared"]
    parts = ["<h2>Duplicates between images</h2>", table(heads, rows)]
    for each in sets:
        if each.duplicates.pairs:
            shown = [thumb for pair in each.duplicates.pairs for thumb in pair]
            parts.append(f"<h3>{escape(each.name)}: pairs that look alike</h3>" + _thumbs(shown))
    for (first, second), pairs in between.items():
        if pairs:
            title = f"{escape(first)} and {escape(second)}: pairs that look alike"
            parts.append(f"<h3>{title}</h3>" + _thumbs([each for pair in pairs for each in pair]))
    return "\n".join(parts)


def _strange(sets: Sequence[ReportSet]) -> str:
    parts = []
    for name, oddity in ODDITIES.items():
        for each in sets:
            if each.strange.get(name):
                of_set = f" · {escape(each.name)}" if len(sets) > 1 else ""
                parts.append(f"<h3>{escape(oddity.title)}{of_set}</h3>")
                parts.append(_thumbs(each.strange[name]))
    return "<h2>Images that stand out</h2>\n" + "\n".join(parts) if parts else ""


def _thumbs(thumbnails: Sequence[Thumbnail]) -> str:
    items = [
        f'<a href="{escape(each.link)}"><img src="{each.uri}" alt="" loading="lazy">'
        f"{escape(each.caption)}</a>"
        for each in thumbnails
    ]
    return '<div class="strange">' + "".join(items) + "</div>"


def _title(names: Sequence[str]) -> str:
    """Names as one listing."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _value(value: float | None) -> str:
    """To three digits, and to the unit."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _edge(value: Any, measure: Measure) -> str:
    if measure.scale is Scale.WHOLE:
        return f"{value + 0.5:,.0f}"
    return f"{value:,.4g}"


def _counts(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    if not total:
        return "0"
    return f"{total:,}: " + ", ".join(f"{n:,} {escape(r)}" for r, n in sorted(counts.items()))
