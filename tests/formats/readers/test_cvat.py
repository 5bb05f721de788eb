"""CVAT for images 1.1: a file by CVAT's page on its XML format."""

from collections import Counter
from pathlib import Path

import pytest

from sa_engine.errors import AnnotationError
from sa_engine.formats.detect import detect_format
from sa_engine.formats.readers.cvat import CvatSource
from sa_engine.formats.registry import Format
from tests.support.drawing import rows

SAMPLE = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <id>4</id>
      <labels>
        <label><name>cat</name><attributes></attributes></label>
        <label><name>dog</name><attributes></attributes></label>
      </labels>
      <assignee><username>ann</username><email></email></assignee>
    </task>
  </meta>
  <image id="0" name="sub/a.png" width="8" height="6">
    <polygon label="cat" source="manual" occluded="1" z_order="2"
        points="1.00,1.00;4.00,1.00;4.00,3.00;1.00,3.00">
      <attribute name="age">old &amp; grey</attribute>
    </polygon>
    <mask label="dog" source="semi-auto" occluded="0" rle="1, 2, 2, 1"
        left="5" top="3" width="2" height="3" z_order="0">
    </mask>
    <ellipse label="cat" source="manual" occluded="0" cx="2.00" cy="3.00" rx="2.00" ry="1.00"
        rotation="90.0" z_order="0"/>
    <box label="dog" source="manual" occluded="0" xtl="1.00" ytl="2.00" xbr="4.00" ybr="6.00"
        z_order="0"/>
    <box label="dog" source="manual" occluded="0" xtl="2.00" ytl="2.00" xbr="6.00" ybr="4.00"
        rotation="90.0" z_order="0"/>
    <polygon label="cat" source="manual" points="0,0;1,0;1,1;0,1" z_order="0" group_id="1"/>
    <polygon label="cat" source="manual" points="7,5;8,5;8,6;7,6" z_order="0" group_id="1"/>
    <polyline label="cat" source="manual" occluded="0" points="0,0;1,1" z_order="0"/>
    <tag label="indoors" source="manual"/>
  </image>
  <image id="1" name="b.png" width="8" height="6">
  </image>
  <image id="2" name="c.png" width="8" height="6"/>
</annotations>
"""


def write(folder: Path, text: str = SAMPLE, encoding: str = "utf-8") -> Path:
    path = folder / "annotations.xml"
    path.write_bytes(text.encode(encoding))
    return path


def one_shape(element: str) -> str:
    image = f'<image id="0" name="a.png" width="8" height="6">{element}</image>'
    return f"<annotations>{image}</annotations>"


def test_a_file_by_the_book(tmp_path: Path) -> None:
    path = write(tmp_path)
    source = CvatSource(path)

    assert detect_format(path) is Format.CVAT
    assert [image.file_name for image in source.images] == ["sub/a.png", "b.png", "c.png"]
    assert source.size_hw(0) == (6, 8)
    assert [source.count(index) for index in range(3)] == [8, 0, 0]
    assert [category["name"] for category in source.categories] == ["cat", "dog"]
    image = source.read(0, (6, 8))
    polygon, mask, ellipse, turned_box, group = image.masks
    assert rows(polygon.segmentation) == [
        "........",
        ".###....",
        ".###....",
        "........",
        "........",
        "........",
    ]
    # Row by row in its box, background first: .# #. .#
    assert rows(mask.segmentation) == [
        "........",
        "........",
        "........",
        "......#.",
        ".....#..",
        "......#.",
    ]
    # Lying, then turned by a quarter: upright.
    assert rows(ellipse.segmentation) == [
        "........",
        ".##.....",
        ".##.....",
        ".##.....",
        ".##.....",
        "........",
    ]
    assert rows(turned_box.segmentation) == [
        "........",
        "...##...",
        "...##...",
        "...##...",
        "...##...",
        "........",
    ]
    assert rows(group.segmentation)[0] == "#......."
    assert rows(group.segmentation)[5] == ".......#"
    assert [each.category for each in image.masks] == ["cat", "dog", "cat", "dog", "cat"]
    assert {each.annotator for each in image.masks} == {"ann"}
    assert polygon.attributes == {
        "source": "manual",
        "occluded": "1",
        "z_order": "2",
        "attributes": {"age": "old & grey"},
    }
    assert [box.box_xywh for box in image.boxes] == [(1, 2, 3, 4)]
    assert [note.reason.value for note in image.notes] == ["tags", "unsupported-shape"]
    assert image.attributes == {"file_name": "sub/a.png", "id": "0", "tags": ["indoors"]}
    assert not source.read(1, (6, 8)).masks
    assert source.read(2, (6, 8)).attributes == {"file_name": "c.png", "id": "2"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1", "cp1252"])
def test_any_encoding_that_it_names(tmp_path: Path, encoding: str) -> None:
    text = SAMPLE.replace('encoding="utf-8"', f'encoding="{encoding}"').replace("sub/a", "sub/ä")
    source = CvatSource(write(tmp_path, text, encoding))

    assert source.images[0].file_name == "sub/ä.png"
    assert len(source.read(0, (6, 8)).masks) == 5


@pytest.mark.parametrize(
    ("element", "reason"),
    [
        ('<polygon label="a" points="1,1;2"/>', "bad-polygon"),
        ('<polygon label="a" points="1,1;2,2"/>', "bad-polygon"),
        ('<polygon label="a" points="1,x;2,2;3,3"/>', "bad-polygon"),
        ('<polygon label="a"/>', "bad-polygon"),
        ('<polygon label="a" points="1,1;nan,2;3,3"/>', "bad-polygon"),
        ('<polygon label="a" points="11,11;12,11;12,12"/>', "empty-mask"),
        ('<mask label="a" rle="1, 2" left="0" top="0" width="2" height="2"/>', "bad-rle"),
        ('<mask label="a" rle="1, x" left="0" top="0" width="2" height="2"/>', "bad-rle"),
        ('<mask label="a" rle="-1, 5" left="0" top="0" width="2" height="2"/>', "bad-rle"),
        ('<mask label="a" rle="4" left="0" top="0" width="2" height="2"/>', "empty-mask"),
        ('<mask label="a" rle="0, 4" left="0.5" top="0" width="2" height="2"/>', "bad-shape"),
        ('<mask label="a" rle="0, 4" top="0" width="2" height="2"/>', "bad-shape"),
        ('<mask label="a" rle="4" left="0" top="0" width="99999" height="99999"/>', "bad-shape"),
        ('<ellipse label="a" cx="1" cy="1" rx="-1" ry="1"/>', "bad-shape"),
        ('<ellipse label="a" cx="1" cy="1" rx="inf" ry="1"/>', "bad-shape"),
        ('<box label="a" xtl="3" ytl="1" xbr="2" ybr="4"/>', "bad-shape"),
        ('<cuboid label="a"/>', "unsupported-shape"),
    ],
)
def test_what_is_no_shape_is_dropped(tmp_path: Path, element: str, reason: str) -> None:
    image = CvatSource(write(tmp_path, one_shape(element))).read(0, (6, 8))

    assert not image.masks
    assert not image.boxes
    assert Counter(note.reason.value for note in image.notes) == {reason: 1}


def test_a_mask_over_the_edge_is_clipped(tmp_path: Path) -> None:
    element = '<mask label="a" rle="0, 4" left="7" top="5" width="2" height="2"/>'
    image = CvatSource(write(tmp_path, one_shape(element))).read(0, (6, 8))

    assert rows(image.masks[0].segmentation)[5] == ".......#"
    assert image.masks[0].repairs == ("clipped-to-image",)


def test_entity_bombs_are_refused(tmp_path: Path) -> None:
    bomb = (
        '<?xml version="1.0"?><!DOCTYPE annotations [<!ENTITY a "lol">'
        + "".join(
            f'<!ENTITY a{n} "{"&a" + str(n - 1 if n else "") + ";"}{"&a;" * 9}">' for n in range(9)
        )
        + ']><annotations><image id="0" name="&a8;" width="8" height="6"/></annotations>'
    )
    with pytest.raises(AnnotationError, match="has a DTD or entities"):
        CvatSource(write(tmp_path, bomb))


def test_files_of_other_machines_are_not_read_in(tmp_path: Path) -> None:
    reaching = (
        '<!DOCTYPE annotations [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
        '<annotations><image id="0" name="&x;" width="8" height="6"/></annotations>'
    )
    with pytest.raises(AnnotationError, match="has a DTD or entities"):
        CvatSource(write(tmp_path, reaching))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SAMPLE[:900], "is not whole XML"),
        ("<other/>", "is not CVAT's"),
        ("", "is not whole XML"),
        ("<annotations><track id='0'/></annotations>", "is of a video task"),
    ],
)
def test_files_that_cannot_be_read_at_all(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        CvatSource(write(tmp_path, text))


@pytest.mark.parametrize("encoding", ["utf-7", "hex", "shift_jis", "nonsense"])
def test_encodings_that_the_parser_does_not_take(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "annotations.xml"
    path.write_text(f'<?xml version="1.0" encoding="{encoding}"?><annotations></annotations>')
    with pytest.raises(AnnotationError, match="is not whole XML"):
        CvatSource(path)
