"""Counts are exact; quantiles are so to a bin; parts put together are the whole."""

import numpy as np
import pytest

from sa_engine.report.figures.histogram import Histogram
from sa_engine.report.figures.measures import BY_NAME, Measure, Scale

WHOLE = Measure(name="n", title="n", text="n", low=0, high=5, scale=Scale.WHOLE)


def filled(measure: Measure, values: list[float]) -> Histogram:
    histogram = Histogram(measure)
    histogram.add(np.array(values))
    return histogram


def test_whole_numbers() -> None:
    found = filled(WHOLE, [0, 0, 1, 3, 9, np.nan])
    assert found.counts.tolist() == [2, 1, 0, 1, 0, 1]
    assert (found.number, found.mean, found.least, found.most) == (5, 2.6, 0, 9)
    assert [found.quantile(share) for share in (0.05, 0.5, 0.8)] == [0, 1, 3]
    edges, counts = found.drawn()
    assert edges.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5]
    assert counts.tolist() == [2, 1, 0, 1, 0, 1]
    # Up to 1: what lies beyond is in the last bin.
    assert [part.tolist() for part in found.drawn(1)] == [[-0.5, 0.5, 1.5], [2, 3]]


def test_nothing() -> None:
    empty = Histogram(WHOLE)
    assert (empty.mean, empty.quantile(0.5)) == (None, None)
    assert empty.to_json()["least"] is None


@pytest.mark.parametrize("name", ["area", "concavity", "relative_size"])
def test_quantiles_lie_in_the_bin_of_the_true_one(name: str) -> None:
    measure = BY_NAME[name]
    rng = np.random.default_rng(2)
    values = np.exp(rng.normal(7, 2, 5000)) if measure.high > 1 else rng.beta(2, 5, 5000)
    values = np.clip(values, measure.low, measure.high)
    found = filled(measure, values.tolist())
    edges = measure.edges()
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        true, value = np.quantile(values, share), found.quantile(share)
        assert value is not None
        place = np.searchsorted(edges, true, side="right") - 1
        assert edges[place] - 1e-9 <= value <= edges[place + 1] + 1e-9
    assert found.mean == pytest.approx(values.mean())
    assert found.drawn()[1].tolist() == np.histogram(values, bins=edges[::10])[0].tolist()


def test_parts_are_the_whole() -> None:
    first, second = filled(WHOLE, [0, 4]), filled(WHOLE, [7, 1])
    first.update(second)
    assert first.to_json() == filled(WHOLE, [0, 4, 7, 1]).to_json()
