"""The report's folder: page, JSON and Parquet agree; what is odd about a dataset is said."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from sa_engine.dataset.manifest import ModelRef
from sa_engine.errors import UsageError
from sa_engine.pipelines.report.run import ReportRun, write_report
from tests.support.pages import open_page
from tests.support.written import Written, mask_record, write_dataset


def picture(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))


def masks(seed: int, count: int) -> list:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        pixels = np.zeros((48, 64), dtype=bool)
        x, y, w, h = rng.integers(2, 20, 4)
        pixels[y : y + h, x : x + w] = True
        score = float(rng.random())
        made.append(mask_record(pixels, predicted_iou=score, stability_score=1 - score / 2))
    return made


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    images = [Written(picture(n), masks(n, n % 4)) for n in range(10)]
    # A photograph whose file is there twice, and one that only looks like another.
    images += [Written(picture(1), masks(1, 2)), Written(picture(2) // 8 * 8, masks(2, 1))]
    images += [Written(None)]
    model = ModelRef(name="vit_x", sha256="ab" * 32)
    return write_dataset(tmp_path / "data", images, images_per_shard=5, model=model)


def report(tmp_path: Path, *datasets: Path, **options: Any) -> dict:
    run = ReportRun(datasets=datasets, out=tmp_path / "report", **options)
    write_report(run)
    # Sums of floats depend on the order in the last digit.
    content: dict = json.loads(
        (run.out / "report.json").read_text("utf-8"), parse_float=lambda text: round(float(text), 9)
    )
    return content


def test_figures_of_a_dataset(dataset: Path, tmp_path: Path) -> None:
    said = report(tmp_path, dataset)["sets"]["data"]
    counts = [n % 4 for n in range(10)] + [2, 1]
    assert (said["images"], said["masks"]) == (12, sum(counts))
    assert said["failures"] == {"truncated": 1}
    assert said["image_measures"]["masks"]["mean"] == pytest.approx(np.mean(counts))
    assert list(said["models"]) == ["vit_x (abababab)"]
    assert said["duplicates"]["same"] == 1
    assert said["duplicates"]["alike"] == 1
    most = [i + 1 for i in sorted(range(12), key=lambda i: (-counts[i], i))]
    assert [int(each) for each in said["strangest"]["most_masks"]] == most
    rows = pq.read_table(tmp_path / "report" / "images.parquet").to_pylist()
    assert [row["masks"] for row in rows] == [*counts, None]
    assert rows[-1]["error"].startswith("truncated: ")
    bins = pq.read_table(tmp_path / "report" / "figures.parquet").to_pylist()
    areas = [r["count"] for r in bins if (r["kind"], r["measure"]) == ("mask", "area")]
    assert sum(areas) == sum(counts)


def test_processes_and_order_change_nothing(dataset: Path, tmp_path: Path) -> None:
    alone = report(tmp_path, dataset)
    assert report(tmp_path, dataset, workers=2) == alone


def test_the_page_in_a_browser(dataset: Path, tmp_path: Path) -> None:
    # One photograph of the other set, and one that is nearly another one of it.
    shared = [Written(picture(3), masks(7, 3)), Written(picture(4) // 8 * 8, masks(4, 1))]
    other = write_dataset(tmp_path / "other", [*shared, Written(picture(20), masks(8, 1))])
    said = report(tmp_path, dataset, other)
    assert said["sets"]["data"]["in_common"] == {"other": 1}
    assert said["sets"]["data"]["alike_in_common"] == {"other": 1}
    assert said["sets"]["other"]["alike_in_common"] == {"data": 1}
    with open_page((tmp_path / "report" / "index.html").as_uri()) as page:
        text = page.inner_text("body")
        assert "data and other" in text
        for heading in ("Masks an image", "Relative mask size", "Concavity", "By model"):
            assert heading in text
        assert page.locator("svg polyline").count() > 10
        heading = page.get_by_role("heading", name="data and other: pairs that look alike")
        pair = heading.locator("xpath=following-sibling::*[1]").locator("a")
        hrefs = [each.get_attribute("href") for each in pair.all()]
        assert [href.split("/")[1] for href in hrefs] == ["1", "2"]
        assert page.evaluate("[...document.images].every(i => i.src.startsWith('data:'))")
        link = page.locator(".strange a").first
        number = link.get_attribute("href").partition("#")[2].partition("/")[0]
        link.click()
        page.wait_for_function(f"document.body.dataset.shown === '{number}'")


def test_groups_of_a_table(dataset: Path, tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text("image_id,country\n2,Kenya\n3,Kenya\n4,Peru\n77,Peru\n")
    said = report(tmp_path, dataset, groups=table)["sets"]["data"]
    assert said["groups"]["country"] == [
        {"value": "Kenya", "images": 2, "masks": 3},
        {"value": "Peru", "images": 1, "masks": 3},
        {"value": "", "images": 9, "masks": said["masks"] - 6},
    ]
    assert any("1 of 4 rows" in note and "77" in note for note in said["notes"])


def test_odd_datasets_are_said(dataset: Path, tmp_path: Path) -> None:
    begun = write_dataset(
        tmp_path / "begun", [Written(picture(1))] * 4, images_per_shard=2, shards=1
    )
    failed = write_dataset(tmp_path / "failed", [Written(None)] * 2)
    empty = write_dataset(tmp_path / "empty", [])
    sets = report(tmp_path, begun, failed, empty, look_alikes=False)["sets"]
    assert sets["begun"]["notes"] == [
        "still being made: 1 of 2 shards are measured",
        "no image has a mask",
    ]
    assert sets["failed"]["notes"] == ["no image went through: 2 failed"]
    assert sets["empty"]["notes"] == ["it holds no image"]
    sampled = report(tmp_path, dataset, sample=4)["sets"]["data"]
    assert sampled["images"] == 4
    assert "a sample of 4 of 13 images" in sampled["notes"]


def test_annotations_in_another_format(dataset: Path, tmp_path: Path) -> None:
    from sa_engine.pipelines.export import ExportRun, OutFormat, run_export

    run_export(ExportRun(dataset=dataset, out=tmp_path / "coco", format=OutFormat.COCO))
    found = report(tmp_path, dataset, tmp_path / "coco")["sets"]
    assert found["coco"]["notes"][0] == "read as coco"
    assert found["coco"]["masks"] == found["data"]["masks"]
    assert (
        found["coco"]["all"]["measures"]["concavity"]
        == found["data"]["all"]["measures"]["concavity"]
    )
    assert not list(tmp_path.glob(".report-*"))
    with pytest.raises(UsageError, match="there is no"):
        report(tmp_path, tmp_path / "nowhere")
