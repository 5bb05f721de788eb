"""Label Studio: an export by its pages on export, brush, polygon, ellipse and rectangle."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sa_engine.errors import AnnotationError
from sa_engine.formats.codecs import brush
from sa_engine.formats.detect import detect_format
from sa_engine.formats.readers.label_studio import LabelStudioSource
from sa_engine.formats.registry import Format
from tests.support.drawing import grid, rows


def region(kind: str, value: dict[str, Any], **further: Any) -> dict[str, Any]:
    return {
        "id": f"{kind}-1",
        "type": kind,
        "from_name": "label",
        "to_name": "image",
        "original_width": 8,
        "original_height": 6,
        "image_rotation": 0,
        "value": value,
        **further,
    }


# 8x6 pixels of 4 values are 192 values. By hand, from the description of the stream: 32 bits of
# 192; word size 8 as 00111; run-length sizes 3, 4, 8 and 16 as 0010 0011 0111 1111; then blocks.
# 40 zeros:            1 10 00100111 00000000   (repeats, 8-bit length, 39 + 1, value 0)
# 8 times 255:         1 00 111      11111111   (repeats, 3-bit length, 7 + 1, value 255)
# four literal values: 0 00 011      00000000 00000000 00000000 11111111
# 140 zeros:           1 10 10001011 00000000
STREAM_BITS = (
    f"{192:032b}" + "00111" + "0010001101111111"
    + "1" + "10" + f"{39:08b}" + f"{0:08b}"
    + "1" + "00" + f"{7:03b}" + f"{255:08b}"
    + "0" + "00" + f"{3:03b}" + f"{0:08b}" * 3 + f"{255:08b}"
    + "1" + "10" + f"{139:08b}" + f"{0:08b}"
)  # fmt: skip
STREAM = list(np.packbits([int(bit) for bit in STREAM_BITS]).tobytes())

SAMPLE: list[dict[str, Any]] = [
    {
        "id": 11,
        "data": {"image": "/data/upload/1/0f3a9b2c-a.png"},
        "annotations": [
            {
                "id": 1,
                "completed_by": {"id": 2, "email": "ann@example.org"},
                "lead_time": 12.5,
                "was_cancelled": False,
                "result": [
                    region(
                        "polygonlabels",
                        {
                            "points": [[12.5, 50 / 3], [50, 50 / 3], [50, 50], [12.5, 50]],
                            "polygonlabels": ["cat"],
                        },
                    ),
                    region("brushlabels", {"format": "rle", "rle": STREAM, "brushlabels": ["dog"]}),
                    region(
                        "ellipselabels",
                        {"x": 50, "y": 50, "radiusX": 25, "radiusY": 50 / 3, "rotation": 90},
                        id="e",
                    ),
                    # An answer to a question about the ellipse.
                    {
                        "id": "e",
                        "type": "choices",
                        "from_name": "pose",
                        "to_name": "image",
                        "value": {"choices": ["lying"]},
                    },
                    region(
                        "rectanglelabels",
                        {"x": 25, "y": 50, "width": 25, "height": 50, "rectanglelabels": ["cat"]},
                    ),
                    # Turned by a quarter about its top left corner, (4, 1): it hangs to the left.
                    region(
                        "rectanglelabels",
                        {
                            "x": 50,
                            "y": 100 / 6,
                            "width": 50,
                            "height": 100 / 6,
                            "rotation": 90,
                            "rectanglelabels": ["cat"],
                        },
                    ),
                    region("keypointlabels", {"x": 1, "y": 1, "keypointlabels": ["nose"]}),
                ],
            },
            {
                "id": 2,
                "completed_by": 3,
                "lead_time": 4.0,
                "result": [
                    region(
                        "polygonlabels",
                        {
                            "points": [[0, 0], [12.5, 0], [12.5, 100 / 6], [0, 100 / 6]],
                            "polygonlabels": ["cat"],
                        },
                    )
                ],
            },
            {
                "id": 3,
                "completed_by": 3,
                "was_cancelled": True,
                "result": [region("polygonlabels", {"points": []})],
            },
        ],
        "predictions": [{"result": [region("polygonlabels", {"points": []})]}],
    },
    {"id": 12, "data": {"image": "s3://bucket/b.png"}, "annotations": []},
]


def write(folder: Path, content: Any = SAMPLE) -> Path:
    path = folder / "export.json"
    path.write_text(json.dumps(content))
    return path


def test_an_export_by_the_book(tmp_path: Path) -> None:
    path = write(tmp_path)
    source = LabelStudioSource(path)

    assert detect_format(path) is Format.LABEL_STUDIO
    first, second = source.images
    assert (first.file_name, *first.other_names) == ("0f3a9b2c-a.png", "a.png")
    assert second.file_name == "b.png"
    assert source.size_hw(0) == (6, 8)
    assert [source.count(index) for index in (0, 1)] == [9, 0]
    image = source.read(0, (6, 8))
    polygon, stroke, ellipse, turned, second_person = image.masks
    assert rows(polygon.segmentation) == [
        "........",
        ".###....",
        ".###....",
        "........",
        "........",
        "........",
    ]
    # Values 40 to 47 are pixels 10 and 11; value 51 is the alpha of pixel 12.
    assert rows(stroke.segmentation) == [
        "........",
        "..###...",
        "........",
        "........",
        "........",
        "........",
    ]
    assert rows(ellipse.segmentation) == [
        "........",
        "...##...",
        "...##...",
        "...##...",
        "...##...",
        "........",
    ]
    assert rows(turned.segmentation) == [
        "........",
        "...#....",
        "...#....",
        "...#....",
        "...#....",
        "........",
    ]
    assert rows(second_person.segmentation)[0] == "#......."
    assert [mask.category for mask in image.masks] == ["cat", "dog", None, "cat", "cat"]
    assert [mask.annotator for mask in image.masks] == ["ann@example.org"] * 4 + ["3"]
    # The time of an answer with one region is that region's; else nobody can divide it.
    assert [mask.time_spent_s for mask in image.masks] == [None, None, None, None, 4.0]
    assert ellipse.attributes == {"pose": ["lying"], "lead_time_s": 12.5, "id": "e"}
    assert [box.box_xywh for box in image.boxes] == [(2, 3, 2, 3)]
    assert Counter(note.reason.value for note in image.notes) == {
        "unsupported-shape": 1,
        "cancelled": 1,
        "prediction": 1,
    }


@pytest.mark.parametrize(
    ("link", "names"),
    [
        ("/data/upload/3/0f3a9b2c-a%20cat.jpg", ("0f3a9b2c-a cat.jpg", "a cat.jpg")),
        ("/data/local-files/?d=set/cat.jpg", ("set/cat.jpg",)),
        ("https://example.org/x/cat.jpg?token=1", ("x/cat.jpg",)),
        ("cat.jpg", ("cat.jpg",)),
    ],
)  # fmt: skip
def test_names_in_links(tmp_path: Path, link: str, names: tuple[str, ...]) -> None:
    source = LabelStudioSource(write(tmp_path, [{"data": {"photo": link}}]))

    assert (source.images[0].file_name, *source.images[0].other_names) == names


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (region("polygonlabels", {"points": [[1, 1], [2, 2]]}), "bad-polygon"),
        (region("polygonlabels", {"points": "x"}), "bad-polygon"),
        (region("polygonlabels", {}, image_rotation=90), "rotated-view"),
        (region("brushlabels", {"format": "rle", "rle": STREAM[:-3]}), "bad-rle"),
        (region("brushlabels", {"format": "rle", "rle": [0, 0, 0, 4, *STREAM[4:]]}), "bad-rle"),
        (region("brushlabels", {"format": "rle", "rle": [300, -1]}), "bad-rle"),
        (region("brushlabels", {"format": "rle", "rle": []}), "bad-rle"),
        (region("brushlabels", {"format": "png", "rle": STREAM}), "bad-rle"),
        (region("ellipselabels", {"x": 1, "y": 1, "radiusX": None, "radiusY": 1}), "bad-shape"),
        (region("rectanglelabels", {"x": 1, "y": 1, "width": 0, "height": 1}), "bad-shape"),
        ({**region("polygonlabels", {}), "value": None}, "not-an-annotation"),
    ],
)
def test_what_is_no_region_is_dropped(tmp_path: Path, given: Any, reason: str) -> None:
    task = {"data": {"image": "a.png"}, "annotations": [{"result": [given]}]}
    image = LabelStudioSource(write(tmp_path, [task])).read(0, (6, 8))

    assert not image.masks
    assert not image.boxes
    assert [note.reason.value for note in image.notes] == [reason]


def test_tasks_without_picture(tmp_path: Path) -> None:
    source = LabelStudioSource(write(tmp_path, [{"data": {"text": "hello"}}, 3]))

    assert not source.images
    assert [note.reason.value for note in source.notes] == ["image-without-name"] * 2


def test_an_object_is_not_an_export(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="not a list of Label Studio's tasks"):
        LabelStudioSource(write(tmp_path, {}))


def test_brush_streams_there_and_back() -> None:
    mask = grid("........", "..##....", "..##...#", "........")

    assert np.array_equal(brush.decode(brush.encode(mask), (4, 8)), mask)


def test_a_brush_stream_of_another_program() -> None:
    """A run of 2**16 values, literal values, and values of fewer than 8 bits."""
    full = np.ones((100, 200), dtype=bool)
    assert np.array_equal(brush.decode(brush.encode(full), (100, 200)), full)

    # 1x2 pixels; words of 1 bit; one literal block of 8 values: 0001 0000 of alpha... 1 bit is 1,
    # which is not opaque.
    bits = f"{8:032b}" + "00000" + "0010001101111111" + "0" + "00" + "111" + "00010001"
    stream = np.packbits([int(bit) for bit in bits]).tobytes()
    assert not brush.decode(stream, (1, 2)).any()
