"""A stand-in for a package of ImageNet weights: the published layout, random weights."""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sa_engine.model.encoders import imagenet
from sa_engine.model.encoders.efficientnet_lite import EfficientNetLite
from sa_engine.model.sizes import LITE_SIZES


def install_backbone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, variant: str
) -> tuple[Path, EfficientNetLite]:
    """Put a package into a folder of its own for one test: its weights file, and what is in it."""
    backbone = EfficientNetLite(LITE_SIZES[variant])
    module = f"some_{variant}_weights"
    package = folder / "packages" / module
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    path = package / "models" / "weights.pth"
    torch.save(published_names(backbone), path)
    known = replace(
        imagenet.PACKAGES[variant],
        module=module,
        file="models/weights.pth",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    monkeypatch.setitem(imagenet.PACKAGES, variant, known)
    monkeypatch.setattr(sys, "path", [str(folder / "packages"), *sys.path])
    return path, backbone


def published_names(backbone: EfficientNetLite) -> dict[str, Tensor]:
    """The state dict by the names of the packages' files."""
    tensors = {"_conv_head.weight": torch.zeros(1280, 320, 1, 1), "_fc.bias": torch.zeros(1000)}
    parts = {
        "expand": ("_expand_conv", "_bn0"),
        "depthwise": ("_depthwise_conv", "_bn1"),
        "project": ("_project_conv", "_bn2"),
    }
    blocks: list[str] = []
    for name, value in backbone.state_dict().items():
        *place, part, kind, last = name.split(".")
        if part == "stem":
            tensors[f"{'_conv_stem' if kind == 'conv' else '_bn0'}.{last}"] = value
            continue
        at = ".".join(place)
        if at not in blocks:
            blocks.append(at)
        conv, norm = parts[part]
        to = f"_blocks.{blocks.index(at)}.{conv if kind == 'conv' else norm}."
        tensors[to + last] = value
        tensors[to + "num_batches_tracked"] = torch.tensor(7)
    return tensors
