"""The figures of datasets as one long table: a row for each bin of each measure."""

from collections.abc import Iterator, Mapping

import pyarrow as pa

from sa_engine.report.figures.gathered import DatasetFigures
from sa_engine.report.figures.histogram import Histogram

SCHEMA = pa.schema(
    [
        ("dataset", pa.string()),
        # "image", "mask", or "stage" and "model" with the name in `group`.
        ("kind", pa.string()),
        ("group", pa.string()),
        ("measure", pa.string()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("count", pa.int64()),
        ("share", pa.float64()),
    ]
)


def figures_table(sets: Mapping[str, DatasetFigures]) -> pa.Table:
    """The bins that the page draws; of SCHEMA. Bins without a count are left out."""
    rows = [row for name, figures in sets.items() for row in _rows(name, figures)]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _rows(name: str, figures: DatasetFigures) -> Iterator[dict[str, object]]:
    for histogram in figures.image_histograms.values():
        yield from _bins(name, "image", "", histogram)
    for histogram in figures.all.histograms.values():
        yield from _bins(name, "mask", "", histogram)
    for kind, parts in (("stage", figures.stages), ("model", figures.models)):
        for group, part in sorted(parts.items()):
            for histogram in part.histograms.values():
                yield from _bins(name, kind, group, histogram)


def _bins(name: str, kind: str, group: str, histogram: Histogram) -> Iterator[dict[str, object]]:
    if not histogram.number:
        return
    edges, counts = histogram.drawn()
    for place, count in enumerate(counts):
        if count:
            yield {
                "dataset": name,
                "kind": kind,
                "group": group,
                "measure": histogram.measure.name,
                "low": float(edges[place]),
                "high": float(edges[place + 1]),
                "count": int(count),
                "share": int(count) / histogram.number,
            }
