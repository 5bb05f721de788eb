"""PNG instance maps, PASCAL VOC and DAVIS: files by the formats' descriptions."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sa_engine.errors import AnnotationError
from sa_engine.formats.codecs import png
from sa_engine.formats.detect import detect_format
from sa_engine.formats.readers.label_images import LabelImageSource
from sa_engine.formats.readers.voc import DavisSource, VocSource
from sa_engine.formats.registry import Format
from tests.support.drawing import rows, save_picture

OBJECTS = np.array(
    [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 255, 255, 255],
        [0, 1, 1, 0, 0, 255, 2, 255],
        [0, 0, 0, 0, 0, 255, 2, 255],
        [0, 0, 0, 0, 0, 255, 255, 255],
        [1, 0, 0, 0, 0, 0, 0, 0],
    ],
    dtype=np.uint8,
)
FIRST = ["........", ".##.....", ".##.....", "........", "........", "#......."]
SECOND = ["........", "........", "......#.", "......#.", "........", "........"]
# The first object is a dog (12), but for the pixel that is a cat (8); the second is a person (15).
CLASSES = np.where(OBJECTS == 1, 12, np.where(OBJECTS == 2, 15, OBJECTS)).astype(np.uint8)
CLASSES[5, 0] = 8


def save_map(path: Path, labels: np.ndarray, *, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels)
    if palette:
        image = Image.fromarray(labels, mode=None).convert("L")
        image = image.convert("P")
        image.putpalette([value for i in range(256) for value in (i * 7 % 256, i * 3 % 256, i)])
        image.putdata(labels.reshape(-1).tolist())
    image.save(path)


def write_masks(folder: Path) -> Path:
    save_map(folder / "masks" / "a.png", OBJECTS)
    return folder / "masks"


def write_voc(folder: Path) -> Path:
    save_map(folder / "SegmentationObject" / "2007_000032.png", OBJECTS, palette=True)
    save_map(folder / "SegmentationClass" / "2007_000032.png", CLASSES, palette=True)
    (folder / "JPEGImages").mkdir(exist_ok=True)
    return folder


def write_davis(folder: Path) -> Path:
    save_map(folder / "Annotations" / "480p" / "bear" / "00000.png", OBJECTS, palette=True)
    (folder / "JPEGImages").mkdir(exist_ok=True)
    return folder


def test_instance_maps_of_8_bits(tmp_path: Path) -> None:
    source = LabelImageSource(write_masks(tmp_path))

    assert detect_format(tmp_path / "masks") is Format.MASKS
    assert source.images[0].any_ending == ("a",)
    assert source.size_hw(0) == (6, 8)
    assert source.count(0) == 2
    image = source.read(0, (6, 8))
    assert [rows(mask.segmentation) for mask in image.masks] == [FIRST, SECOND]
    assert [mask.attributes for mask in image.masks] == [{"object": 1}, {"object": 2}]
    # 255 is void here, which is said, for nobody documents it for such maps.
    assert [note.reason.value for note in image.notes] == ["255-taken-as-void"]
    assert image.attributes["void"]["size"] == [6, 8]


def test_instance_maps_of_16_bits(tmp_path: Path) -> None:
    labels = OBJECTS.astype(np.uint16)
    labels[OBJECTS == 2] = 40_000
    save_map(tmp_path / "a.png", labels)
    image = LabelImageSource(tmp_path).read(0, (6, 8))

    # In 16 bits 255 is an object like any other.
    assert [mask.attributes["object"] for mask in image.masks] == [1, 255, 40_000]
    assert rows(image.masks[2].segmentation) == SECOND
    assert not image.notes


def test_a_binary_mask_is_one_object(tmp_path: Path) -> None:
    save_map(tmp_path / "a.png", np.where(OBJECTS == 1, 255, 0).astype(np.uint8))
    image = LabelImageSource(tmp_path).read(0, (6, 8))

    assert [rows(mask.segmentation) for mask in image.masks] == [FIRST]
    assert not image.notes


def test_numbers_that_run_up_to_255(tmp_path: Path) -> None:
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    save_map(tmp_path / "a.png", labels)
    source = LabelImageSource(tmp_path)

    assert source.count(0) == 255
    assert len(source.read(0, (16, 16)).masks) == 255


def test_a_map_of_another_size_is_dropped(tmp_path: Path) -> None:
    image = LabelImageSource(write_masks(tmp_path)).read(0, (12, 16))

    assert not image.masks
    assert [(n.reason.value, n.count) for n in image.notes] == [("image-size-differs", 2)]


@pytest.mark.parametrize(
    ("kind", "reason"), [("picture", "not-a-map"), ("cut", "bad-file"), ("text", "bad-file")]
)
def test_what_is_no_map(tmp_path: Path, kind: str, reason: str) -> None:
    path = tmp_path / "a.png"
    if kind == "picture":
        save_picture(path)
    elif kind == "cut":
        save_map(path, OBJECTS)
        path.write_bytes(path.read_bytes()[:60])
    else:
        path.write_text("hello")
    source = LabelImageSource(tmp_path)

    assert source.size_hw(0) is None
    assert source.count(0) == 1
    assert [note.reason.value for note in source.read(0, (6, 8)).notes] == [reason]


def test_voc_joins_objects_and_classes(tmp_path: Path) -> None:
    source = VocSource(write_voc(tmp_path))

    assert detect_format(tmp_path) is Format.VOC
    assert source.image_folder == str(tmp_path / "JPEGImages")
    image = source.read(0, (6, 8))
    assert [rows(mask.segmentation) for mask in image.masks] == [FIRST, SECOND]
    assert [mask.category for mask in image.masks] == ["dog", "person"]
    assert [mask.attributes["category_id"] for mask in image.masks] == [12, 15]
    assert not image.notes
    assert image.attributes["void"]["size"] == [6, 8]


def test_voc_without_classes(tmp_path: Path) -> None:
    write_voc(tmp_path)
    (tmp_path / "SegmentationClass" / "2007_000032.png").unlink()

    masks = VocSource(tmp_path / "SegmentationObject").read(0, (6, 8)).masks
    assert [mask.category for mask in masks] == [None, None]


def test_voc_with_names_of_its_own(tmp_path: Path) -> None:
    write_voc(tmp_path)
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
    lines += [f"kind {number}:1,1,{number}::" for number in range(1, 16)]
    (tmp_path / "labelmap.txt").write_text("\n".join(lines))

    masks = VocSource(tmp_path).read(0, (6, 8)).masks
    assert [mask.category for mask in masks] == ["kind 12", "kind 15"]


def test_davis_frames_and_sequences(tmp_path: Path) -> None:
    source = DavisSource(write_davis(tmp_path))

    assert detect_format(tmp_path) is Format.DAVIS
    assert source.images[0].any_ending == ("480p/bear/00000",)
    image = source.read(0, (6, 8))
    assert [rows(mask.segmentation) for mask in image.masks] == [FIRST, SECOND]
    assert image.attributes["sequence"] == "bear"


def test_folders_of_another_form(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="no folder SegmentationObject"):
        VocSource(tmp_path)
    with pytest.raises(AnnotationError, match="no folder Annotations"):
        DavisSource(tmp_path)
    with pytest.raises(AnnotationError, match=r"no \.png files"):
        LabelImageSource(tmp_path)


def test_a_flipped_bit_is_no_map(tmp_path: Path) -> None:
    """Pillow does not compare the checksums of a PNG's pixels."""
    values = np.random.default_rng(0).integers(0, 3, (40, 40), dtype=np.uint8)
    path = tmp_path / "masks" / "a.png"
    path.parent.mkdir()
    Image.fromarray(values).save(path)
    data = bytearray(path.read_bytes())
    place = data.index(b"IDAT") + 60
    for bit in range(8):
        damaged = bytearray(data)
        damaged[place] ^= 1 << bit
        with pytest.raises(AnnotationError, match="not a whole PNG"):
            png.read(bytes(damaged))
