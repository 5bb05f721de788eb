"""Measures of an image by hand, and a real set as scipy, scikit-image and numpy compute it."""

import math
from pathlib import Path

import numpy as np
import pytest

from sa_engine.dataset.records import ImageRecord, MaskRecord, Stage
from sa_engine.masks.rle import Rle, decode
from sa_engine.report.figures.gathered import DatasetFigures
from sa_engine.report.figures.image_measures import measure_image
from tests.support.drawing import grid
from tests.support.written import mask_record


def image(*masks: MaskRecord, width: int = 8, height: int = 4) -> ImageRecord:
    return ImageRecord(
        image_id=1,
        file_name="sa_1.png",
        source="a.png",
        width=width,
        height=height,
        sha256="ab",
        annotations=masks,
    )


WHOLE = mask_record(grid("####....", "####....", "####....", "####...."), predicted_iou=0.9)
PART = mask_record(
    grid("........", ".##.....", ".##.....", "........"),
    stage=Stage.MANUAL,
    time_spent_s=12.0,
    attributes={"clicks": {"foreground": 2, "background": 1}},
)
ACROSS = mask_record(grid("........", "..####..", "..####..", "........"), predicted_iou=0.5)


def test_by_hand() -> None:
    found = measure_image(image(WHOLE, PART, ACROSS), model="vit (ab)")
    assert found.masks["area"].tolist() == [16, 4, 8]
    assert found.masks["relative_size"].tolist() == pytest.approx(
        [math.sqrt(16 / 32), math.sqrt(4 / 32), math.sqrt(8 / 32)]
    )
    assert found.masks["aspect"].tolist() == [1, 1, 2]
    # WHOLE and PART share 4 of 16, WHOLE and ACROSS 4 of 20, PART and ACROSS 2 of 10.
    assert found.masks["largest_iou"].tolist() == pytest.approx([4 / 16, 4 / 16, 4 / 20])
    assert found.masks["inside"].tolist() == [0, 1, 0.5]
    assert found.masks["clicks"][1] == 3
    assert np.isnan(found.masks["clicks"][[0, 2]]).all()
    assert found.centres_xy.tolist() == [[0.25, 0.5], [0.25, 0.5], [0.5, 0.5]]
    assert found.covered == 20 / 32
    assert found.models == ("vit (ab)", "people", "vit (ab)")
    assert found.stages == ("automatic", "manual", "automatic")


def test_masks_that_cannot_be_measured_are_counted() -> None:
    empty = mask_record(np.zeros((4, 8), dtype=bool))
    other = mask_record(np.ones((3, 3), dtype=bool))
    torn = MaskRecord(
        segmentation=Rle((4, 8), "~~"),
        bbox_xywh=(0, 0, 1, 1),
        area=1,
        stage=Stage.MANUAL,
        crop_box_xywh=(0, 0, 8, 4),
    )
    found = measure_image(image(empty, PART, other, torn))
    assert (found.damaged, found.positions) == (3, (1,))
    assert measure_image(image()).covered == 0


def test_figures_agree_with_scipy_and_scikit_image_on_a_real_set(
    tmp_path: Path, shared_data: Path
) -> None:
    source = shared_data / "dev" / "pennfudan"
    spatial = pytest.importorskip("scipy.spatial")
    measure = pytest.importorskip("skimage.measure")
    from sa_engine.dataset.reader import Dataset
    from sa_engine.pipelines.run.worker import Reading
    from sa_engine.pipelines.stages.manual import ImportRun, run_import

    run = ImportRun(
        annotations=source / "instances.json",
        images=str(source / "images"),
        out=tmp_path / "data",
        limit=25,
        reading=Reading(keep_images=False),
    )
    run_import(run)
    figures = DatasetFigures()
    records = list(Dataset(run.out).images())
    for record in records:
        figures.add(measure_image(record))
    relative, concavity, components, holes, per_image = [], [], [], [], []
    for record in records:
        per_image.append(len(record.annotations))
        for mask in record.annotations:
            pixels = decode(mask.segmentation)
            rows, columns = np.nonzero(pixels)
            corners = np.concatenate(
                [np.stack([columns + dx, rows + dy], 1) for dx, dy in np.ndindex(2, 2)]
            )
            area = len(rows)
            relative.append(math.sqrt(area / pixels.size))
            concavity.append(1 - area / spatial.ConvexHull(corners).volume)
            components.append(measure.label(pixels, connectivity=2).max())
            outside = np.pad(~pixels, 1, constant_values=True)
            holes.append(measure.label(outside, connectivity=1).max() - 1)
    said = figures.to_json()
    assert said["image_measures"]["masks"]["mean"] == pytest.approx(np.mean(per_image))
    for name, values in (
        ("relative_size", relative),
        ("concavity", concavity),
        ("components", components),
        ("holes", holes),
    ):
        part = said["all"]["measures"][name]
        assert part["number"] == len(values)
        assert part["mean"] == pytest.approx(np.mean(values))
        assert part["most"] == pytest.approx(np.max(values))
        # A value on the edge of two bins may fall to either side.
        counts = np.histogram(values, bins=part["bins"]["edges"])[0]
        assert np.abs(counts - part["bins"]["counts"]).sum() <= 2
        assert part["p50"] == pytest.approx(np.median(values), abs=0.0026)
