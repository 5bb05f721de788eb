"""Exports read with the libraries of the tools that they are for; the peers' side of `peers.py`.

    PYTHON benchmarks/peers_readers.py READER EXPORT OUT.npz

Runs under a Python that has the reader's library, and not the engine. What is written has a member
"<image>|<number>" for each mask of an image, (H, W) bits packed by rows, and "<image>" for its
(height, width).
"""

import io
import json
import os
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Mask = NDArray[np.bool_]
Found = Iterator[tuple[str, list[Mask]]]
"""Images by their names in the export without a suffix, and the masks that a tool sees in each."""


def _pycocotools(export: Path) -> Found:
    from pycocotools.coco import COCO

    api = COCO(export / "instances.json")
    for image_id in api.getImgIds():
        annotations = api.loadAnns(api.getAnnIds(imgIds=[image_id]))
        masks = [api.annToMask(a).astype(bool) for a in annotations if a["segmentation"]]
        yield _stem(api.loadImgs([image_id])[0]["file_name"]), masks


def _lvis(export: Path) -> Found:
    from lvis import LVIS

    api = LVIS(str(export / "instances.json"))
    for image_id in api.get_img_ids():
        annotations = api.load_anns(api.get_ann_ids(img_ids=[image_id]))
        masks = [api.ann_to_mask(a).astype(bool) for a in annotations if a["segmentation"]]
        yield _stem(api.load_imgs([image_id])[0]["file_name"]), masks


def _ultralytics(export: Path) -> Found:
    # From elsewhere, as a training is started: the file must say where its images are.
    os.chdir("/")
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset, polygons2masks

    data = check_det_dataset(str(export / "data.yaml"), autodownload=False)
    dataset = YOLODataset(img_path=data["train"], data=data, task="segment", augment=False)
    for label in dataset.labels:
        height, width = label["shape"]
        name = _stem(Path(label["im_file"]).relative_to(Path(data["train"])).as_posix())
        instances = dataset.update_labels_info(dict(label))["instances"]
        instances.denormalize(width, height)
        masks = [
            polygons2masks((height, width), segment[None], color=1)[0].astype(bool)
            for segment in instances.segments
        ]
        yield name, masks


def _supervision_yolo(export: Path) -> Found:
    import supervision

    dataset = supervision.DetectionDataset.from_yolo(
        images_directory_path=str(export / "images"),
        annotations_directory_path=str(export / "labels"),
        data_yaml_path=str(export / "data.yaml"),
        force_masks=True,
    )
    yield from _of_supervision(dataset, export / "images")


def _supervision_coco(export: Path) -> Found:
    import supervision

    dataset = supervision.DetectionDataset.from_coco(
        images_directory_path=str(export / "images"),
        annotations_path=str(export / "instances.json"),
        force_masks=True,
    )
    yield from _of_supervision(dataset, export / "images")


def _of_supervision(dataset: Any, images: Path) -> Found:
    for path, detections in dataset.annotations.items():
        masks = [] if detections.mask is None else list(np.asarray(detections.mask, dtype=bool))
        yield _stem(Path(path).relative_to(images).as_posix()), masks


def _labelme(export: Path) -> Found:
    import labelme

    for path in sorted(export.rglob("*.json")):
        file = labelme.LabelFile(str(path))
        content = json.loads(path.read_bytes())
        height, width = content["imageHeight"], content["imageWidth"]
        masks: dict[Any, Mask] = {}
        for number, shape in enumerate(file.shapes):
            if shape["shape_type"] == "rectangle":
                continue
            group = shape["group_id"]
            key = ("single", number) if group is None else (shape["label"], group)
            _, drawn = labelme.utils.shapes_to_label((height, width), [shape], {shape["label"]: 1})
            masks[key] = masks.get(key, np.zeros((height, width), dtype=bool)) | (drawn > 0)
        yield _stem(path.relative_to(export).as_posix()), list(masks.values())


def _datumaro(export: Path, kind: str) -> Found:
    import datumaro
    from datumaro.components.annotation import AnnotationType

    for item in datumaro.Dataset.import_from(str(export), kind):
        found = [each for each in item.annotations if each.type == AnnotationType.mask]
        yield item.id, [np.asarray(each.image, dtype=bool) for each in found]


def _label_studio(export: Path) -> Found:
    from label_studio_sdk.converter.brush import decode_rle

    for task in json.loads((export / "tasks.json").read_bytes()):
        answers = [*task.get("annotations", ()), *task.get("predictions", ())]
        masks = []
        for result in (each for answer in answers for each in answer["result"]):
            if "rle" in result["value"]:
                size_hw = (result["original_height"], result["original_width"])
                masks.append(decode_rle(result["value"]["rle"]).reshape(*size_hw, 4)[..., 3] > 127)
        name = task["data"]["image"].partition("?d=images/")[2]
        yield _stem(name), masks


def _sa1b(export: Path) -> Found:
    """As the data set's own notes read it: pycocotools, and every score a number."""
    from pycocotools import mask as coco_mask

    for path in sorted(export.glob("*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                if member.name.endswith(".json"):
                    content = json.load(archive.extractfile(member) or io.BytesIO())
                    items = content["annotations"]
                    assert all(item.get("predicted_iou", 0.0) >= 0 for item in items)
                    masks = [coco_mask.decode(item["segmentation"]).astype(bool) for item in items]
                    yield _stem(content["image"]["original_file_name"]), masks


def _pillow(export: Path) -> Found:
    for path in sorted((export / "masks").rglob("*.png")):
        with Image.open(path) as image:
            numbers = np.asarray(image)
        masks = [numbers == number for number in np.unique(numbers) if number]
        yield _stem(path.relative_to(export / "masks").as_posix()), masks


READERS: dict[str, Callable[[Path], Found]] = {
    "pycocotools": _pycocotools,
    "lvis": _lvis,
    "ultralytics": _ultralytics,
    "supervision-yolo": _supervision_yolo,
    "supervision-coco": _supervision_coco,
    "labelme": _labelme,
    "datumaro-coco": lambda export: _datumaro(export, "coco_instances"),
    "datumaro-cvat": lambda export: _datumaro(export, "cvat"),
    "label-studio-sdk": _label_studio,
    "sa-1b": _sa1b,
    "pillow": _pillow,
}


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def pack(found: Found) -> dict[str, NDArray[Any]]:
    """Members of the file that goes back."""
    members: dict[str, NDArray[Any]] = {}
    for name, masks in found:
        members[name] = np.array(masks[0].shape if masks else (0, 0))
        for number, mask in enumerate(masks):
            members[f"{name}|{number}"] = np.packbits(mask)
    return members


if __name__ == "__main__":
    reader, export, out = sys.argv[1], Path(sys.argv[2]).resolve(), Path(sys.argv[3]).resolve()
    members = pack(READERS[reader](export))
    np.savez_compressed(out, **members)  # type: ignore[arg-type]
