"""What goes into an import comes out: masks, boxes and counted losses are as many as the regions.

For every adapter, files of random regions: sound, damaged, of kinds that no list names, in groups
and on images that are not there.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from sa_engine.dataset.sources.listing import list_sources
from sa_engine.errors import AnnotationError, UsageError
from sa_engine.formats.detect import open_annotations
from sa_engine.formats.reasons import EXPLANATIONS, Loss
from sa_engine.formats.registry import Format
from sa_engine.pipelines.stages.matching import match
from tests.formats.test_damage import regions_out
from tests.support.drawing import save_picture

SIZE_HW = (6, 8)
POINTS = [[1, 1], [4, 1], [4, 3], [1, 3]]
FLAT = [1, 1, 4, 1, 4, 3, 1, 3]

few = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

junk: st.SearchStrategy[Any] = st.sampled_from(
    [None, 0, -1, 1e300, float("nan"), "", "x", [], [[]], {}, [1, 2, 3], [[1]]]
)
name = st.sampled_from(["a", "b"])
group = st.sampled_from([None, 0, 1, 1, 2, "g"])


def either(*given: Any) -> st.SearchStrategy[Any]:
    """One of some sound values, or junk."""
    return st.one_of(st.sampled_from(list(given)), junk)


def record(**fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    """A dict with some of these fields, each of them by a strategy."""
    return st.fixed_dictionaries({}, optional=fields)


RLE = {"size": list(SIZE_HW), "counts": [8, 2, 38]}

Writer = Callable[[Path, Any], int]
"""Writes regions to a folder; how many it has put there."""


coco_regions = st.lists(
    record(
        id=st.integers(0, 3),
        image_id=st.sampled_from([1, 1, 1, 2, 9]),
        segmentation=either([FLAT], [[]], RLE, {"counts": "x"}, [FLAT, [1, 2]]),
        bbox=either([1, 1, 2, 2], [1, 1, 0, 2]),
        segments_info=st.just([{"id": 1}, {"id": 2}, 3]),
        attributes=st.sampled_from([{}, {"rotation": 30}, 3]),
    )
)


def coco(folder: Path, regions: Any) -> int:
    images = [{"id": n, "file_name": f"{x}.png"} for n, x in enumerate("ab", 1)]
    (folder / "in.json").write_text(json.dumps({"images": images, "annotations": regions}))
    # A panoptic annotation stands for its segments.
    return len(regions) + 2 * sum("segments_info" in each for each in regions)


labelme_regions = st.lists(
    st.one_of(
        junk,
        record(
            label=name,
            points=either(POINTS, POINTS[:2], POINTS[:1]),
            group_id=group,
            shape_type=either(
                *("polygon", "rectangle", "circle", "mask", "point", "line", "oriented_rectangle"),
                *("hologram", "rotation"),
            ),
            mask=either("x"),
        ),
    )
)


def labelme(folder: Path, regions: Any) -> int:
    (folder / "a.json").write_text(json.dumps({"shapes": regions, "imagePath": "a.png"}))
    return len(regions)


result = st.one_of(
    junk,
    record(
        id=name,
        type=either("polygonlabels", "brush", "bitmask", "magicwand", "lasso", "vector", "video"),
        to_name=st.sampled_from(["image", "second", "third"]),
        item_index=st.sampled_from([0, 1]),
        value=st.one_of(
            junk,
            record(
                points=either(POINTS),
                rle=either([1]),
                imageDataURL=either("data:x;base64,AA"),
                x=st.just(1),
                width=st.just(5),
                height=st.just(5),
            ),
        ),
    ),
)
label_studio_regions = st.lists(
    st.tuples(
        st.sampled_from(["annotations", "predictions", "drafts"]), st.lists(result, max_size=4)
    ),
    max_size=4,
)


def label_studio(folder: Path, regions: Any) -> int:
    task: dict[str, Any] = {"id": 1, "data": {"image": "a.png", "second": "b.png"}}
    for key, results in regions:
        task.setdefault(key, []).append({"result": results})
    other = {"id": 2, "data": {"text": "no picture"}, "annotations": task.get("annotations", [])}
    (folder / "in.json").write_text(json.dumps([task, other]))
    twice = sum(len(results) for key, results in regions if key == "annotations")
    return sum(len(results) for _, results in regions) + twice


shape = st.sampled_from(
    [
        *('polygon points="1,1;4,1;4,3"', 'polygon points="x"', 'mask rle="0,4" left="1" top="1"'),
        *('mask rle="0,4" left="1" top="1" width="2" height="2"', 'ellipse cx="3" cy="3" rx="1"'),
        *('box xtl="1" ytl="1" xbr="3" ybr="3"', 'box xtl="1" rotation="9"', 'points points="1,1"'),
        *('hologram depth="3"', 'skeleton depth="x"', 'polyline points="1,1;2,2"'),
    ]
)
cvat_regions = st.lists(st.tuples(name, shape, st.sampled_from(["", "0", "1", "2"])))


def cvat(folder: Path, regions: Any) -> int:
    content = {"a": "", "b": ""}
    for image, element, number in regions:
        grouped = f'group_id="{number}"' if number else ""
        content[image] += f'<{element} label="cat" {grouped}/>'
    inside = "".join(
        f'<image id="{n}" name="{x}.png" width="8" height="6">{shapes}<tag label="x"/></image>'
        for n, (x, shapes) in enumerate(content.items())
    )
    tracks = '<track id="1"><box outside="0"/><box outside="1"/></track>'
    (folder / "in.xml").write_text(f"<annotations>{inside}{tracks}</annotations>")
    return len(regions) + 1


datumaro_regions = st.lists(
    st.one_of(
        junk,
        record(
            id=st.integers(0, 3),
            type=either("polygon", "mask", "bbox", "ellipse", "points", "label", "caption", "wave"),
            label_id=either(0, 5),
            group=either(0, 1, 2),
            points=either(FLAT, [1, 1, 4, 4]),
            rle=either(RLE),
            bbox=either([1, 1, 2, 2]),
            attributes=either({}, {"rotation": 45.0}),
        ),
    )
)


def datumaro(folder: Path, regions: Any) -> int:
    content = {
        "categories": {"label": {"labels": [{"name": "cat"}]}},
        "items": [{"id": "a", "annotations": regions}, {"annotations": regions}, 3],
    }
    (folder / "in.json").write_text(json.dumps(content))
    of_images = ("label", "caption")
    return 2 * sum(not isinstance(r, dict) or r.get("type") not in of_images for r in regions)


row = st.one_of(
    st.sampled_from(["0 .1 .1 .5 .1 .5 .5", "0 .5 .5 .2 .2", "0 .5 .5 .2 .2 .9", "cat", "7 1 2"]),
    st.lists(st.floats(), max_size=9).map(lambda values: " ".join(map(str, ["0", *values]))),
)
yolo_regions = st.tuples(st.sampled_from(["", "kpt_shape: [1, 3]\n"]), st.lists(row))


def yolo(folder: Path, regions: Any) -> int:
    config, rows = regions
    (folder / "labels").mkdir()
    (folder / "data.yaml").write_text(config + "names: [cat]\n")
    (folder / "labels" / "a.txt").write_text("\n\n".join(rows))
    return len(rows)


sa1b_regions = st.lists(
    st.one_of(junk, record(id=st.integers(0, 3), segmentation=either(RLE, {"counts": "x"}, FLAT)))
)


def sa1b(folder: Path, regions: Any) -> int:
    content = {"image": {"file_name": "a.png"}, "annotations": regions}
    (folder / "a.json").write_text(json.dumps(content))
    return len(regions)


pixels = st.lists(st.sampled_from([0, 0, 1, 2, 3, 255]), min_size=48, max_size=48)


def numbers_of(regions: Any) -> Any:
    return np.array(regions, dtype=np.uint8).reshape(SIZE_HW)


def save(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def num_objects(labels: Any, void: int | None = 255) -> int:
    return len(set(labels.reshape(-1).tolist()) - {0, void})


def maps(folder: Path, regions: Any) -> int:
    labels = numbers_of(regions)
    save(folder / "masks" / "a.png", labels)
    alone = set(regions) <= {0, 255}
    return num_objects(labels, None if alone else 255)


def colours(folder: Path, regions: Any) -> int:
    """Up to four colours of few pixels each are a map; with more it is a picture: one loss."""
    labels = numbers_of(regions)
    rgb = np.stack([labels, 2 * labels, labels], axis=2)
    save(folder / "masks" / "a.png", rgb)
    return num_objects(labels, None)


def voc(folder: Path, regions: Any) -> int:
    labels = numbers_of(regions)
    save(folder / "SegmentationObject" / "a.png", labels)
    save(folder / "SegmentationClass" / "a.png", labels // 2)
    return num_objects(labels)


def davis(folder: Path, regions: Any) -> int:
    labels = numbers_of(regions)
    save(folder / "Annotations" / "a.png", labels)
    return num_objects(labels, None if set(regions) <= {0, 255} else 255)


def bsds(folder: Path, regions: Any) -> int:
    labels = numbers_of(regions)
    people = np.empty((1, 2), dtype=object)
    for person, values in enumerate((labels, labels[:3])):
        people[0, person] = {"Segmentation": values.astype(np.uint16)}
    scipy.io.savemat(folder / "a.mat", {"groundTruth": people})
    return num_objects(labels, None) + num_objects(labels[:3], None)


CASES: dict[str, tuple[Format, st.SearchStrategy[Any], Writer]] = {
    "coco": (Format.COCO, coco_regions, coco),
    "lvis": (Format.LVIS, coco_regions, coco),
    "labelme": (Format.LABELME, labelme_regions, labelme),
    "label-studio": (Format.LABEL_STUDIO, label_studio_regions, label_studio),
    "cvat": (Format.CVAT, cvat_regions, cvat),
    "datumaro": (Format.DATUMARO, datumaro_regions, datumaro),
    "yolo-seg": (Format.YOLO_SEG, yolo_regions, yolo),
    "sa-1b": (Format.SA_1B, sa1b_regions, sa1b),
    "masks": (Format.MASKS, pixels, maps),
    "masks in colours": (Format.MASKS, pixels, colours),
    "voc": (Format.VOC, pixels, voc),
    "davis": (Format.DAVIS, pixels, davis),
    "bsds": (Format.BSDS, pixels, bsds),
}


def test_every_adapter_of_foreign_files_is_tried() -> None:
    assert {kind for kind, _, _ in CASES.values()} == set(Format) - {Format.ANNOTATE}


@pytest.mark.parametrize("case", CASES)
@few
@given(data=st.data())
def test_regions_in_are_masks_boxes_and_losses(
    tmp_path_factory: pytest.TempPathFactory, case: str, data: st.DataObject
) -> None:
    kind, strategy, write = CASES[case]
    folder = tmp_path_factory.mktemp("in")
    expected = write(folder, data.draw(strategy))
    files = [path for path in folder.iterdir() if path.is_file() and path.suffix != ".yaml"]
    path = files[0] if len(files) == 1 and kind is not Format.LABELME else folder
    source = open_annotations(path, kind)

    lost = [note for note in source.notes if isinstance(note.reason, Loss) and not note.of_images]
    found = sum(note.count for note in lost)
    for index in range(len(source.images)):
        image = source.read(index, SIZE_HW)
        assert source.count(index) == regions_out(image)
        assert all(note.reason in EXPLANATIONS for note in image.notes)
        found += regions_out(image)
    assert found == expected


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("davis", "bsds", "voc")])
@few
@given(data=st.data())
def test_regions_of_images_that_are_not_there_are_counted(
    tmp_path_factory: pytest.TempPathFactory, case: str, data: st.DataObject
) -> None:
    """As above, where one of the pictures is missing, and another has an ambiguous name."""
    kind, strategy, write = CASES[case]
    folder = tmp_path_factory.mktemp("in")
    expected = write(folder, data.draw(strategy))
    pictures = tmp_path_factory.mktemp("pictures")
    for sub in data.draw(st.sampled_from([("x",), ("x", "y"), ()])):
        save_picture(pictures / sub / "a.png")
    save_picture(pictures / "c.png")
    files = [path for path in folder.iterdir() if path.is_file() and path.suffix != ".yaml"]
    path = files[0] if len(files) == 1 and kind is not Format.LABELME else folder
    source = open_annotations(path, kind)
    try:
        matched = match(source, list_sources(pictures))
    except (UsageError, AnnotationError):
        return

    notes = [*source.notes, *matched.notes]
    lost = [note for note in notes if isinstance(note.reason, Loss) and not note.of_images]
    found = sum(note.count for note in lost)
    for places in matched.indices.values():
        found += sum(regions_out(source.read(place, SIZE_HW)) for place in places)
    assert found == expected
