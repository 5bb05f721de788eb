"""ODS, OIS, AP and R50 by hand; boundaries are those of BSDS500's own files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import Stage
from sa_engine.errors import UsageError
from sa_engine.evaluation.edges.boundaries import drawn_boundaries, partition_boundaries
from sa_engine.evaluation.edges.scores import (
    EdgeCounts,
    average_precision,
    count_edges,
    edge_scores,
    evaluate_edges,
    recall_at_half,
)
from tests.support.written import Written, mask_record, write_dataset

pytest.importorskip("scipy")


def counts(found: list[int], drawn: int, right: list[int], detected: list[int]) -> EdgeCounts:
    return EdgeCounts(
        dataset="",
        image_id=0,
        thresholds=np.array([0.25, 0.5, 0.75]),
        drawn=np.full(3, drawn),
        drawn_found=np.array(found),
        detected=np.array(detected),
        detected_right=np.array(right),
    )


def test_figures_by_hand() -> None:
    first = counts([90, 60, 10], 100, [90, 60, 10], [300, 80, 10])
    second = counts([50, 40, 20], 100, [50, 40, 20], [100, 50, 20])
    scores = edge_scores([first, second])
    # At 0.5: recall 100/200, precision 100/130.
    assert scores.ods == pytest.approx(2 * 0.5 * (100 / 130) / (0.5 + 100 / 130), abs=0.01)
    assert 0.4 < scores.threshold < 0.6
    # Own best: 0.5 for the first (F .667), 0.5 for the second (F .533): the same as ODS.
    assert scores.ois == pytest.approx(2 * 0.5 * (100 / 130) / (0.5 + 100 / 130))
    assert scores.images == 2


def test_interpolated_figures() -> None:
    recall, precision = np.array([0.8, 0.4, 0.0]), np.array([0.4, 0.8, 1.0])
    # Falls from 1 at 0 to .8 at .4, and to .4 at .8; nothing beyond.
    at = np.arange(81) / 100
    expected = np.where(at <= 0.4, 1 - at / 2, 1.2 - at).sum() / 100
    assert average_precision(recall, precision) == pytest.approx(expected, abs=0.006)
    assert recall_at_half(recall, precision) == pytest.approx(0.7)
    assert recall_at_half(recall, precision / 4) == 0


def test_an_edge_map_against_two_people() -> None:
    edges = np.zeros((60, 80), dtype=np.float32)
    edges[10:50, 30], edges[10:50, 60] = 0.9, 0.3
    people = [np.zeros((60, 80), dtype=bool) for _ in range(2)]
    people[0][10:50, 30] = True
    people[1][10:50, 60] = people[1][10:50, 10] = True
    found = count_edges(edges, people, 3, max_distance=0.02)
    assert found.drawn.tolist() == [120, 120, 120]
    # Both lines are right at 0.25: each was drawn by somebody.
    assert found.detected_right.tolist() == [80, 40, 40]
    assert found.detected.tolist() == [80, 40, 40]
    assert found.drawn_found.tolist() == [80, 40, 40]


def halves(first: int) -> list:
    left = np.zeros((40, 60), dtype=bool)
    left[:, :first] = True
    known: dict[str, Any] = {"stage": Stage.MANUAL, "annotator": str(first)}
    return [mask_record(left, **known), mask_record(~left, **known)]


def test_partitions_of_a_dataset(tmp_path: Path) -> None:
    rgb = np.zeros((40, 60, 3), dtype=np.uint8)
    path = write_dataset(tmp_path / "data", [Written(rgb, [*halves(20), *halves(30)])])
    (record,) = Dataset(path).images()
    drawn = drawn_boundaries(record)
    assert [sorted(set(np.nonzero(each)[1].tolist())) for each in drawn] == [[19], [29]]

    def find(_rgb: np.ndarray) -> np.ndarray:
        edges = np.zeros((40, 60), dtype=np.float32)
        edges[:, 19] = 1
        return edges

    (found,) = evaluate_edges(Dataset(path), "data", find=find, num_thresholds=5)
    assert (found.drawn[0], found.drawn_found[0]) == (80, 40)
    scores = edge_scores([found])
    assert (scores.recall, scores.precision) == (0.5, 1.0)


def test_objects_are_no_partition(tmp_path: Path) -> None:
    rgb = np.zeros((40, 60, 3), dtype=np.uint8)
    path = write_dataset(tmp_path / "data", [Written(rgb, halves(20)[:1])])
    with pytest.raises(UsageError, match="cover 33% of the image"):
        drawn_boundaries(Dataset(path)[0])


def test_boundaries_are_those_of_the_files(shared_data: Path) -> None:
    loadmat = pytest.importorskip("scipy.io").loadmat
    for path in sorted((shared_data / "dev" / "bsds500" / "groundTruth").glob("*.mat"))[:3]:
        for person in loadmat(path)["groundTruth"][0]:
            labels = person["Segmentation"][0, 0].astype(np.int64)
            assert (partition_boundaries(labels) == person["Boundaries"][0, 0]).all()
