"""Lets the `segment_anything` package run where torchvision cannot be installed.

It needs four functions of torchvision. They are written here in plain code, slow and readable, so
that the reference can be a witness in tests.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def import_segment_anything() -> Any:
    """The reference package, with stand-ins for torchvision where that is absent.

    They are there only while it is imported: other packages ask whether torchvision exists.
    """
    if "segment_anything" in sys.modules or importlib.util.find_spec("torchvision") is not None:
        return importlib.import_module("segment_anything")
    stand_ins = _stand_ins()
    sys.modules.update(stand_ins)
    try:
        return importlib.import_module("segment_anything")
    finally:
        for name in stand_ins:
            del sys.modules[name]


def box_area(boxes_xyxy: Tensor) -> Tensor:
    """Areas of (N, 4) boxes."""
    return (boxes_xyxy[:, 2] - boxes_xyxy[:, 0]) * (boxes_xyxy[:, 3] - boxes_xyxy[:, 1])


def nms(boxes_xyxy: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Indices of the boxes kept, best first; a box goes when it overlaps a better one too much.

    torchvision works in the boxes' dtype and sorts stably; so does this.
    """
    order = torch.sort(scores, stable=True, descending=True).indices
    areas = box_area(boxes_xyxy)
    gone = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    kept = []
    for i in order.tolist():
        if gone[i]:
            continue
        kept.append(i)
        corner_min = torch.maximum(boxes_xyxy[i, :2], boxes_xyxy[:, :2])
        corner_max = torch.minimum(boxes_xyxy[i, 2:], boxes_xyxy[:, 2:])
        overlap = (corner_max - corner_min).clamp(min=0).prod(dim=1)
        gone |= overlap / (areas[i] + areas - overlap) > iou_threshold
    return torch.tensor(kept, dtype=torch.int64, device=scores.device)


def batched_nms(boxes_xyxy: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """`nms` within each group of equal `idxs`; indices of the boxes kept, best first."""
    kept = [
        members[nms(boxes_xyxy[members], scores[members], iou_threshold)]
        for members in (torch.where(idxs == group)[0] for group in torch.unique(idxs))
    ]
    every = torch.cat(kept) if kept else torch.zeros(0, dtype=torch.int64)
    return every[torch.sort(scores[every], stable=True, descending=True).indices]


def to_pil_image(image_HWC: Any) -> Image.Image:
    """A uint8 (H, W, 3) array as a PIL image."""
    return Image.fromarray(np.asarray(image_HWC))


def resize(image: Image.Image, size_hw: tuple[int, int]) -> Image.Image:
    """PIL's bilinear resizing, torchvision's default for PIL images."""
    return image.resize((size_hw[1], size_hw[0]), Image.Resampling.BILINEAR)


def _stand_ins() -> dict[str, ModuleType]:
    """Modules by name; those that only lead to others are there too."""
    functions: dict[str, dict[str, Callable[..., Any]]] = {
        "torchvision": {},
        "torchvision.ops": {},
        "torchvision.ops.boxes": {"nms": nms, "batched_nms": batched_nms, "box_area": box_area},
        "torchvision.transforms": {},
        "torchvision.transforms.functional": {"resize": resize, "to_pil_image": to_pil_image},
    }
    modules = {name: ModuleType(name) for name in functions}
    for name, members in functions.items():
        for member, function in members.items():
            setattr(modules[name], member, function)
    return modules
