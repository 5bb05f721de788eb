"""Lets the `segment_anything` package run where torchvision cannot be installed.

It needs four functions of torchvision. They are written here in plain code, slow and readable, so
that the reference can be a witness in tests.
"""

import importlib.util
import sys
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def import_segment_anything() -> Any:
    """The reference package, with stand-ins for torchvision where that is absent."""
    if "torchvision" not in sys.modules and importlib.util.find_spec("torchvision") is None:
        _install_stand_ins()
    import segment_anything  # only now: it imports torchvision

    return segment_anything


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


def _install_stand_ins() -> None:
    functions = {
        "torchvision.ops.boxes": {"nms": nms, "batched_nms": batched_nms, "box_area": box_area},
        "torchvision.transforms.functional": {"resize": resize, "to_pil_image": to_pil_image},
    }
    for name, members in functions.items():
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):
            path = ".".join(parts[:depth])
            if path not in sys.modules:
                sys.modules[path] = ModuleType(path)
                if depth > 1:
                    setattr(
                        sys.modules[".".join(parts[: depth - 1])],
                        parts[depth - 1],
                        sys.modules[path],
                    )
        for member, function in members.items():
            setattr(sys.modules[name], member, function)
