"""Damaged versions of valid files: each adapter counts what it cannot take, and never fails.

As many regions come out of an image as went in: in masks, as boxes, or counted as lost.

Damage is done to bytes (flipped, cut, doubled) and, for JSON, to values (any of them replaced by
another one), for whatever is no JSON at all would otherwise be most of what is tried.
"""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sa_engine.errors import AnnotationError, UsageError
from sa_engine.formats.base import ImportedImage
from sa_engine.formats.convert import convert
from sa_engine.formats.detect import detect_format, open_annotations
from sa_engine.formats.frames import Orientation
from sa_engine.formats.reasons import Loss, Tally
from sa_engine.formats.registry import Format
from tests.formats.readers import (
    test_bsds,
    test_coco,
    test_cvat,
    test_datumaro,
    test_label_images,
    test_label_studio,
    test_labelme,
    test_sa1b,
    test_yolo,
)

FILES: dict[Format, tuple[Callable[[Path], object], str]] = {
    Format.COCO: (test_coco.write, "instances.json"),
    Format.LABELME: (test_labelme.write, "a.json"),
    Format.CVAT: (test_cvat.write, "annotations.xml"),
    Format.LABEL_STUDIO: (test_label_studio.write, "export.json"),
    Format.YOLO_SEG: (test_yolo.write, "labels/train/a.txt"),
    Format.DATUMARO: (test_datumaro.write, "annotations/train.json"),
    Format.SA_1B: (test_sa1b.write, "sa_1.json"),
    Format.MASKS: (test_label_images.write_masks, "masks/a.png"),
    Format.VOC: (test_label_images.write_voc, "SegmentationObject/2007_000032.png"),
    Format.DAVIS: (test_label_images.write_davis, "Annotations/480p/bear/00000.png"),
    Format.BSDS: (test_bsds.write, "groundTruth/train/2092.mat"),
}
JSON_SAMPLES: dict[Format, Any] = {
    Format.COCO: test_coco.SAMPLE,
    Format.LABELME: test_labelme.SAMPLE,
    Format.LABEL_STUDIO: test_label_studio.SAMPLE,
    Format.DATUMARO: test_datumaro.SAMPLE,
    Format.SA_1B: test_sa1b.SAMPLE,
}
SIZES_HW = ((6, 8), (8, 6), (3, 4), (1, 1))

careless = settings(
    max_examples=80,
    deadline=None,
    # The same damage every time: a run of the suite is no lottery.
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

junk = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 1, 2, 3, 7, 1 << 31, 1 << 63, 10**400, -(10**9)]),
    st.sampled_from([0.5, -0.0, 1e-300, 1e300, float("inf"), float("nan")]),
    st.sampled_from(["", "a", "0", "../x", "\0", "\ud800", "b'x'", "rle", "polygon", "mask"]),
    st.sampled_from([[], [[]], {}, [None], [[1]], [[1, 2], [3, 4], [5, 6]], [1, 2, 3, 4, 5, 6]]),
    st.sampled_from([{"size": [6, 8], "counts": "01_1"}, {"size": [6, 8]}, {"id": 0}]),
)


def regions_out(image: ImportedImage) -> int:
    """The regions that came out of a source's image, one way or another."""
    lost = sum(note.count for note in image.notes if isinstance(note.reason, Loss))
    return sum(mask.regions for mask in image.masks) + len(image.boxes) + lost


def use(path: Path, kind: Format) -> None:
    """Everything that an import does with a source."""
    try:
        source = open_annotations(path, kind)
    except (AnnotationError, UsageError):
        return
    Tally(source.notes)
    for index in range(len(source.images)):
        assert source.images[index].file_name
        assert source.count(index) >= 0
        for size_hw in SIZES_HW:
            assert source.count(index) == regions_out(source.read(index, size_hw))
            found = convert(source, [index], Orientation(6, size_hw))
            assert all(mask.segmentation.size_hw == size_hw for mask in found.masks)
            assert all(mask.area > 0 for mask in found.masks)
            assert {note.count > 0 for note in (*found.repaired, *found.dropped)} <= {True}
            json.dumps(found.image_attributes(), allow_nan=False)
            json.dumps([dict(mask.attributes) for mask in found.masks], allow_nan=False)


def damaged(data: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    for kind, where, given_bytes in changes:
        place = int(where * len(data))
        if kind == "cut":
            data = data[:place]
        elif kind == "drop":
            data = data[:place] + data[place + len(given_bytes) :]
        elif kind == "double":
            data = data[: place + 20] + data[place:]
        else:
            data = data[:place] + given_bytes + data[place + len(given_bytes) :]
    return data


@pytest.mark.parametrize("kind", FILES)
@careless
@given(
    changes=st.lists(
        st.tuples(
            st.sampled_from(["cut", "drop", "double", "write", "write"]),
            st.floats(0, 1),
            st.binary(min_size=1, max_size=4),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_damaged_bytes(tmp_path: Path, kind: Format, changes: list[Any]) -> None:
    write, name = FILES[kind]
    write(tmp_path)
    path = tmp_path / name
    path.write_bytes(damaged(path.read_bytes(), changes))

    use(path if kind in JSON_SAMPLES or kind is Format.CVAT else tmp_path, kind)


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*above, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*above, key))


@pytest.mark.parametrize("kind", JSON_SAMPLES)
@careless
@given(data=st.data())
def test_damaged_values(tmp_path: Path, kind: Format, data: st.DataObject) -> None:
    content = copy.deepcopy(JSON_SAMPLES[kind])
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from(list(places(content))))
        target = content
        for key in way:
            target = target[key]
        if data.draw(st.booleans()):
            # A copy, for a later change may go into it.
            target[last] = copy.deepcopy(data.draw(junk))
        else:
            del target[last]
        if not list(places(content)):
            break
    path = tmp_path / "file.json"
    path.write_text(json.dumps(content), encoding="ascii")

    use(path, kind)


@careless
@given(
    data=st.binary(max_size=200), ending=st.sampled_from([".json", ".xml", ".mat", ".tar", ".png"])
)
def test_finding_the_format_of_anything(tmp_path: Path, data: bytes, ending: str) -> None:
    path = tmp_path / ("file" + ending)
    path.write_bytes(data)
    for each in (path, tmp_path):
        try:
            kind = detect_format(each)
        except UsageError:
            continue
        use(each, kind)
