"""Whatever a record holds comes back equal from both of its forms on disk."""

import io
import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from sa_engine.dataset import image_fields, mask_fields
from sa_engine.dataset.records import ImageRecord, ImageStatus, MaskRecord, Stage
from sa_engine.dataset.shards import rows, sa1b_json
from sa_engine.dataset.shards.rows import Span
from sa_engine.masks.rle import Rle

numbers = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(codec="utf-8"), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | numbers | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
attributes = st.dictionaries(text, json_values, max_size=3)
boxes = st.tuples(numbers, numbers, numbers, numbers)
masks = st.builds(
    MaskRecord,
    segmentation=st.builds(
        Rle,
        st.tuples(st.integers(1, 30_000), st.integers(1, 30_000)),
        st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=12),
    ),
    bbox_xywh=boxes,
    area=st.integers(0, 2**40),
    stage=st.sampled_from(Stage),
    predicted_iou=st.none() | numbers,
    stability_score=st.none() | numbers,
    crop_box_xywh=boxes,
    point_coords_xy=st.lists(st.tuples(numbers, numbers), max_size=3).map(tuple),
    prompt_box_xywh=st.none() | boxes,
    box_score=st.none() | numbers,
    category=st.none() | text,
    annotator=st.none() | text,
    time_spent_s=st.none() | numbers,
    iscrowd=st.booleans(),
    attributes=attributes,
)
records = st.builds(
    ImageRecord,
    image_id=st.integers(1, 2**33),
    file_name=text,
    source=text,
    width=st.integers(0, 2**31 - 1),
    height=st.integers(0, 2**31 - 1),
    sha256=text,
    status=st.sampled_from(ImageStatus),
    error=st.none() | text,
    annotations=st.lists(masks, max_size=3).map(tuple),
    attributes=attributes,
)


@settings(max_examples=40, deadline=None)
@given(record=records)
def test_round_trip(record: ImageRecord) -> None:
    data = sa1b_json.encode(record)
    assert data.isascii()
    # Through the journal and the JSON of the tar, then through Parquet.
    light = rows.to_light_row(record, image_span=Span(512, 9), json_span=None)
    light = json.loads(json.dumps(light, allow_nan=False))
    row = rows.to_row(light, json.loads(data)["annotations"])
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row], schema=rows.SCHEMA), buffer)
    (found,) = pq.read_table(buffer).to_pylist()
    assert rows.from_row(found) == record
    assert rows.image_span(found) == Span(512, 9) and rows.json_span(found) is None
    ids = [item["id"] for item in found["annotations"]]
    assert ids == [record.mask_id(k) for k in range(len(record.annotations))]
    assert sa1b_json.decode_annotations(data) == record.annotations
    assert sa1b_json.decode_image(data) == {
        "image_id": record.image_id,
        "width": record.width,
        "height": record.height,
        "file_name": record.file_name,
    }
    assert image_fields.from_columns(found, sa1b_json.decode_annotations(data)) == record


def test_a_row_group_of_dense_images_ends_before_its_number_of_rows(tmp_path: Path) -> None:
    """It ends with the image that brings it to the limit, whatever the sizes of the others."""
    limit = rows.GROUP_BYTES
    record = ImageRecord(
        image_id=1, file_name="sa_1.png", source="a.png", width=1, height=1, sha256=""
    )
    every = []
    for num_bytes in (limit - 1, 1, limit // 2, limit // 4, limit // 2, limit, 1):
        mask = MaskRecord(
            segmentation=Rle((1, 1), "0" * num_bytes),
            bbox_xywh=(0.0, 0.0, 0.0, 0.0),
            area=0,
            stage=Stage.MANUAL,
            crop_box_xywh=(0.0, 0.0, 1.0, 1.0),
        )
        light = rows.to_light_row(record, image_span=None, json_span=None)
        every.append(rows.to_row(light, [mask_fields.to_json(mask, 1)]))
    rows.write_rows(tmp_path / "rows.parquet", every)
    footer = pq.read_metadata(tmp_path / "rows.parquet")
    assert [footer.row_group(k).num_rows for k in range(footer.num_row_groups)] == [2, 3, 1, 1]


def test_minus_zero_and_the_smallest_numbers_survive() -> None:
    mask = MaskRecord(
        segmentation=Rle((1, 1), "01"),
        bbox_xywh=(-0.0, 5e-324, 1.7976931348623157e308, 0.1),
        area=1,
        stage=Stage.MANUAL,
        crop_box_xywh=(0.0, 0.0, 1.0, 1.0),
    )
    found = mask_fields.from_json(json.loads(json.dumps(mask_fields.to_json(mask, 7))))
    assert found == mask and math.copysign(1, found.bbox_xywh[0]) == -1


def test_masks_of_people_have_what_sa1b_readers_expect() -> None:
    mask = MaskRecord(
        segmentation=Rle((2, 3), "06"),
        bbox_xywh=(0.0, 0.0, 3.0, 2.0),
        area=6,
        stage=Stage.MANUAL,
        crop_box_xywh=(0.0, 0.0, 3.0, 2.0),
        category="cat",
        iscrowd=True,
        attributes={"z": 1},
    )
    assert mask_fields.to_json(mask, 1_000_001) == {
        "id": 1_000_001,
        "segmentation": {"size": [2, 3], "counts": "06"},
        "bbox": [0.0, 0.0, 3.0, 2.0],
        "area": 6,
        "predicted_iou": None,
        "stability_score": None,
        "crop_box": [0.0, 0.0, 3.0, 2.0],
        "point_coords": [],
        "stage": "manual",
        "category": "cat",
        "iscrowd": True,
        "attributes": {"z": 1},
    }
