"""A new image encoder fitted to another model's embedding, by photographs alone.

A mask decoder that meets an encoder it does not know collapses to empty masks within a few dozen
steps of training, at any usable learning rate. So the new encoder's embedding is fitted to that of
a model that works, by mean squared error; it needs no masks. The new model takes over that model's
prompt encoder and mask decoder, and training from there begins with masks, not with nothing.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sa_engine.dataset.images.reading import read_rgb
from sa_engine.dataset.sources.listing import SourceList, list_sources, read_source_bytes
from sa_engine.errors import ImageError, TrainingError, UsageError
from sa_engine.model.card import ModelCard
from sa_engine.model.checkpoint import load_checkpoint, read_card, save_checkpoint
from sa_engine.model.encoders.imagenet import PACKAGES, imagenet_backbone
from sa_engine.model.encoders.lite import LiteEncoder
from sa_engine.model.framing import resize_to_input
from sa_engine.model.sam import Sam
from sa_engine.model.variants import build_sam
from sa_engine.training.options import digest_of_file
from sa_engine.training.sam.config import AlignConfig

_BACKBONE_RATE = 0.25
_CLIP_NORM = 1.0
_WEIGHT_DECAY = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignRequest:
    """images: what `list_sources` takes; teacher: the model that works; out: the file to write."""

    images: str
    teacher: Path
    out: Path
    config: AlignConfig = field(default_factory=AlignConfig)
    name: str = ""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@dataclass(frozen=True, slots=True)
class AlignReport:
    """step: from 1. error: mean squared error of its embeddings, as a share of their variance."""

    step: int
    error: float
    images_per_s: float


def align(
    request: AlignRequest, *, report: Callable[[AlignReport], None] = lambda _: None
) -> ModelCard:
    """Fit a new encoder and write the model with its card.

    Raises UsageError for no usable image, a missing package of ImageNet weights or an impossible
    size; CheckpointError for a teacher that holds no model; TrainingError if the error is no
    number.
    """
    config = request.config
    teacher = load_checkpoint(request.teacher, image_size=config.image_size).to(request.device)
    sources = list_sources(request.images)
    student = _student(config, teacher).to(request.device)
    encoder = student.image_encoder
    assert isinstance(encoder, LiteEncoder)
    backbone = list(encoder.backbone.parameters())
    # What only the decoder's skips read stays as it is: they begin at zero.
    skips = ("top8.", "top4.", "skip8.", "skip4.")
    neck = [p for name, p in encoder.neck.named_parameters() if not name.startswith(skips)]
    optimizer = torch.optim.AdamW(
        [{"params": neck, "share": 1.0}, {"params": backbone, "share": _BACKBONE_RATE}],
        betas=(0.9, 0.99),
        weight_decay=_WEIGHT_DECAY,
    )
    batches = _batches(sources, config)
    errors: list[float] = []
    begun = time.monotonic()
    student.train()
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.lr_at(step) * group["share"]
        inputs = [student.preprocess(x.to(request.device).float()) for x in next(batches)]
        pixels = torch.stack(inputs)
        loss, error = _loss(student, teacher, pixels, config)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_([*neck, *backbone], _CLIP_NORM)
        if not math.isfinite(float(norm)):
            raise TrainingError(
                f"the error or its gradient is no longer a number at step {step + 1}; "
                "try a lower --lr"
            )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        errors.append(error)
        now = time.monotonic()
        report(AlignReport(step + 1, error, config.batch_images / max(now - begun, 1e-9)))
        begun = now
    card = _card(request, len(sources), errors)
    save_checkpoint(student.cpu(), request.out, card)
    return card


def _student(config: AlignConfig, teacher: Sam) -> Sam:
    """The new encoder from ImageNet; prompt encoder and mask decoder from the teacher."""
    torch.manual_seed(config.seed)
    student = build_sam(config.variant, config.image_size)
    assert isinstance(student.image_encoder, LiteEncoder)
    student.image_encoder.backbone.load_state_dict(imagenet_backbone(config.variant))
    student.prompt_encoder.load_state_dict(teacher.prompt_encoder.state_dict())
    student.mask_decoder.load_state_dict(teacher.mask_decoder.state_dict())
    return student


def _loss(
    student: Sam, teacher: Sam, pixels_B3SS: Tensor, config: AlignConfig
) -> tuple[Tensor, float]:
    """The mean squared error of a batch, and that as a share of the target's variance."""
    mixed = torch.autocast(
        pixels_B3SS.device.type, torch.bfloat16, enabled=config.precision == "bf16"
    )
    with torch.no_grad(), mixed:
        target = teacher.encode_image(pixels_B3SS).coarse_BCHW.float()
    with mixed:
        found = student.encode_image(pixels_B3SS).coarse_BCHW.float()
    loss = F.mse_loss(found, target)
    return loss, float(loss.detach() / target.var().clamp(min=1e-12))


def _batches(sources: SourceList, config: AlignConfig) -> Iterator[list[Tensor]]:
    """Endless batches of random crops, (3, h, w) uint8 each; unreadable images are left out.

    Raises UsageError if no image can be read.
    """
    rng = np.random.default_rng(config.seed)
    usable = list(range(len(sources)))
    while True:
        batch: list[Tensor] = []
        while len(batch) < config.batch_images:
            if not usable:
                raise UsageError(f"not one of the {len(sources)} images can be read")
            place = int(rng.integers(len(usable)))
            try:
                rgb = read_rgb(read_source_bytes(sources[usable[place]]))
            except ImageError:
                del usable[place]
                continue
            batch.append(torch.from_numpy(_crop(rgb, rng, config)))
        yield batch


def _crop(
    rgb_HW3: NDArray[np.uint8], rng: np.random.Generator, config: AlignConfig
) -> NDArray[np.uint8]:
    """A random part of the image's shape, mirrored half of the time, (3, h, w).

    Its longest side is the model's input; the rest is padded as in use.
    """
    size_hw = np.array(rgb_HW3.shape[:2])
    height, width = np.maximum(1, size_hw * rng.uniform(config.min_scale, 1)).astype(int)
    y, x = rng.integers(size_hw - (height, width) + 1)
    part = rgb_HW3[y : y + height, x : x + width]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    resized = resize_to_input(np.ascontiguousarray(part), config.image_size)
    return np.ascontiguousarray(resized.transpose(2, 0, 1))


def _card(request: AlignRequest, images: int, errors: list[float]) -> ModelCard:
    config, start = request.config, read_card(request.teacher)
    package = PACKAGES[config.variant]
    recent = errors[-50:]
    return ModelCard(
        name=request.name or request.out.stem,
        variant=config.variant,
        image_size=config.image_size,
        data=(
            f"backbone: ImageNet-1k, {package.requirement}, sha256 {package.sha256}",
            f"embedding, prompt encoder and mask decoder: {start.name}, "
            f"sha256 {digest_of_file(request.teacher)}",
            f"aligned on {images} images without masks",
        ),
        options={
            f"align.{name}": getattr(config, name)
            for name in ("image_size", "steps", "batch_images", "lr", "min_scale", "seed")
        },
        results={"embedding_error": sum(recent) / len(recent)},
        pred_iou_thresh=start.pred_iou_thresh,
        stability_score_thresh=start.stability_score_thresh,
        mask_nms_thresh=start.mask_nms_thresh,
    )
