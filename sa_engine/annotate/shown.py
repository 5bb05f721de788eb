"""Masks of datasets that people are shown: proposals to decide on, and existing masks."""

from typing import Any

from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageRecord
from sa_engine.formats.work.work_source import proposals_by_name
from sa_engine.masks.rle import Rle


class ShownMasks:
    """The masks of a dataset, to be found by the names of images."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._ids = proposals_by_name(dataset)

    def record(self, name: str, size_hw: tuple[int, int]) -> ImageRecord | None:
        """The image of that name, if the dataset has it in that size."""
        image_id = self._ids.get(name)
        if image_id is None:
            return None
        record = self.dataset.record(image_id)
        return record if (record.height, record.width) == size_hw else None

    def for_page(self, name: str, size_hw: tuple[int, int]) -> list[dict[str, Any]]:
        """The masks as the page takes them, the largest first."""
        record = self.record(name, size_hw)
        if record is None:
            return []
        found = [
            {
                "id": record.mask_id(position),
                "rle": mask.segmentation.to_coco(),
                "area": mask.area,
                "box": list(mask.bbox_xywh),
                "score": mask.box_score if mask.box_score is not None else mask.predicted_iou,
                "point": list(mask.point_coords_xy[0]) if mask.point_coords_xy else None,
                "prompt_box": mask.prompt_box_xywh,
            }
            for position, mask in enumerate(record.annotations)
        ]
        return sorted(found, key=lambda each: -int(each["area"]))

    def mask(self, name: str, size_hw: tuple[int, int], mask_id: int) -> Rle | None:
        """One mask by its id, if it is of that image."""
        record = self.record(name, size_hw)
        if record is None:
            return None
        for position, mask in enumerate(record.annotations):
            if record.mask_id(position) == mask_id:
                return mask.segmentation
        return None
