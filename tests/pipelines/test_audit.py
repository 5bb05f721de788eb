"""An audit from the draw to what people changed, through the export and import of real tools."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.verify import verify
from sa_engine.errors import UsageError
from sa_engine.masks.rle import encode
from sa_engine.pipelines.audit import AuditDraw, draw_audit, read_audit
from sa_engine.pipelines.export import OutFormat
from sa_engine.pipelines.stages.manual import ImportRun, run_import
from tests.support.written import Written, mask_record, write_dataset


def box(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros((40, 60), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (40, 60, 3), dtype=np.uint8)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    masks = [
        mask_record(box(2, 2, 22, 22), predicted_iou=0.95, stability_score=0.9),
        mask_record(box(30, 5, 50, 25), predicted_iou=0.6, stability_score=0.9),
    ]
    images = [Written(noise(n), masks) for n in range(6)]
    return write_dataset(tmp_path / "data", [*images, Written(noise(9)), Written(None)])


def draw(tmp_path: Path, dataset: Path, **options: Any) -> AuditDraw:
    return AuditDraw(dataset=dataset, out=tmp_path / "audit", images=4, **options)


def test_from_the_draw_to_the_figures(dataset: Path, tmp_path: Path) -> None:
    run = draw(tmp_path, dataset)
    drawn = draw_audit(run)
    # Those without masks and those that failed are not drawn.
    assert (drawn.images, drawn.masks, drawn.total_images) == (4, 8, 6)
    assert not list(verify(run.out / "sample"))
    assert draw_audit(run) == drawn
    file = next(drawn.to_correct.glob("*.json"))
    content = json.loads(file.read_text())
    by_image: dict[int, list] = {}
    for annotation in content["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    first, second, third, fourth = by_image.values()
    # One mask is shifted by a pixel, one deleted, one image has a new mask, one never comes back.
    first[0]["segmentation"] = encode(box(3, 2, 23, 22)).to_coco()
    del second[1]
    third.append({**third[0], "id": 999, "segmentation": encode(box(2, 30, 9, 38)).to_coco()})
    third[-1].pop("proposal_id", None)
    content["annotations"] = [*first, *second, *third]
    left = {annotation["image_id"] for annotation in content["annotations"]}
    content["images"] = [image for image in content["images"] if image["id"] in left]
    corrected = tmp_path / "corrected.json"
    corrected.write_text(json.dumps(content))
    found = read_audit(corrected, run.out)
    assert (found.images, found.not_returned, found.missed) == (3, 1, 1)
    ious = sorted((m.iou for m in found.masks), key=lambda iou: -1 if iou is None else iou)
    assert ious == [None, pytest.approx(19 / 21), 1, 1, 1, 1]
    shifted = next(m for m in found.masks if m.iou is not None and m.iou < 1)
    assert shifted.iou is not None and shifted.boundary_iou is not None
    assert shifted.boundary_iou < shifted.iou
    assert shifted.area == 400
    assert len(fourth) == 2
    assert not list(run.out.glob(".read-*"))


@pytest.mark.parametrize("kind", [OutFormat.LABELME, OutFormat.CVAT])
def test_other_tools(dataset: Path, tmp_path: Path, kind: OutFormat) -> None:
    run = draw(tmp_path, dataset, format=kind)
    drawn = draw_audit(run)
    found = read_audit(drawn.to_correct, run.out)
    assert (found.images, found.missed) == (4, 0)
    assert [mask.iou for mask in found.masks] == [1.0] * 8


def test_a_dataset_of_corrections(dataset: Path, tmp_path: Path) -> None:
    run = draw(tmp_path, dataset)
    drawn = draw_audit(run)
    sources = str(drawn.to_correct)
    run_import(
        ImportRun(
            annotations=drawn.to_correct,
            images=sources,
            proposals=run.out / "sample",
            out=tmp_path / "corrected",
        )
    )
    assert read_audit(tmp_path / "corrected", run.out) == read_audit(drawn.to_correct, run.out)


def test_seeds_draw_other_images(dataset: Path, tmp_path: Path) -> None:
    drawn = set()
    for seed in range(6):
        out = tmp_path / f"audit-{seed}"
        draw_audit(AuditDraw(dataset=dataset, out=out, images=2, seed=seed))
        drawn.add(tuple(record.source for record in Dataset(out / "sample").images()))
    assert len(drawn) > 2


def test_what_cannot_work(dataset: Path, tmp_path: Path) -> None:
    run = draw(tmp_path, dataset)
    draw_audit(run)
    with pytest.raises(UsageError, match="holds another audit"):
        draw_audit(draw(tmp_path, dataset, seed=1))
    with pytest.raises(UsageError, match="is no audit"):
        read_audit(tmp_path / "x.json", dataset)
    empty = write_dataset(tmp_path / "empty", [Written(noise(1))])
    with pytest.raises(UsageError, match="nothing to audit"):
        draw_audit(AuditDraw(dataset=empty, out=tmp_path / "other"))
    # Corrections of another dataset's pictures.
    other = write_dataset(
        tmp_path / "strange", [Written(noise(77), [mask_record(box(1, 1, 9, 9))], "far away.png")]
    )
    far = draw_audit(AuditDraw(dataset=other, out=tmp_path / "far"))
    with pytest.raises(UsageError, match="none of the 1 images"):
        read_audit(next(far.to_correct.glob("*.json")), run.out)
