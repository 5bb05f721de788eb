"""The parts of the everything-mode benchmark: each a few minutes on two quiet cores.

Models. The bundled `lite2` is measured as it is shipped. A `vit_t` and a ViT-B at 1024 pixels, the
published size, show what public weights of these sizes take: their encoders have random weights in
front of the bundled decoder, so that the time is real and the masks mean nothing, with thresholds
that let some through. Parts of earlier dates had the weights of a `vit_t` that was bundled then.
All engines of a part have the same weights and thresholds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PUBLISHED_SIZE = 1024
AT_1024 = {"stability_score_thresh": 0.4}
RANDOM_ENCODER = {"pred_iou_thresh": 0.2, "stability_score_thresh": 0.4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Who is measured: `kind` is a worker's --engine."""

    name: str
    kind: str
    precision: str = "fp32"


OURS = Engine(name="sa-engine fp32", kind="ours")
OURS_BF16 = Engine(name="sa-engine bf16", kind="ours", precision="bf16")
REFERENCE = Engine(name="segment-anything 1.0", kind="reference")
TRANSFORMERS = Engine(name="transformers", kind="transformers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part.

    does: what is measured, the name of a function in `benchmarks.automask`.
    minutes: expected on two quiet cores.
    images: how many of the given ones.
    image_size: side of the model's input, pixels; None is the weights' own.
    parameters: over the preset's and the card's.
    needs: "bf16" or "cuda": hardware without which the part is not measured.
    more: further values that `does` takes.
    """

    name: str
    title: str
    does: str
    minutes: float
    variant: str = "vit_t"
    preset: str = "default"
    image_size: int | None = None
    images: int = 1
    engines: tuple[Engine, ...] = (OURS,)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    needs: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


PARTS = (
    Part(
        name="default",
        title="vit_t, 1024 px, default grid",
        does="side_by_side",
        minutes=9,
        image_size=PUBLISHED_SIZE,
        images=2,
        engines=(OURS, REFERENCE),
        parameters=AT_1024,
    ),
    Part(
        name="sa-1b",
        title="vit_t, 1024 px, sa-1b preset",
        does="side_by_side",
        minutes=11,
        preset="sa-1b",
        image_size=PUBLISHED_SIZE,
        engines=(OURS, REFERENCE),
        parameters=AT_1024,
    ),
    Part(
        name="lite2-default",
        title="lite2 as shipped, 512 px, default grid",
        does="side_by_side",
        minutes=5,
        variant="lite2",
        images=2,
        engines=(OURS, REFERENCE),
    ),
    Part(
        name="lite2-sa-1b",
        title="lite2 as shipped, 512 px, sa-1b preset",
        does="side_by_side",
        minutes=8,
        variant="lite2",
        preset="sa-1b",
        engines=(OURS, REFERENCE),
    ),
    Part(
        name="vit_b",
        title="ViT-B, 1024 px, default grid",
        does="side_by_side",
        minutes=6,
        variant="vit_b",
        image_size=PUBLISHED_SIZE,
        engines=(OURS, REFERENCE),
        parameters=RANDOM_ENCODER,
    ),
    Part(
        name="transformers",
        title="vit_t, 1024 px, default grid, transformers' pipeline",
        does="side_by_side",
        minutes=6,
        image_size=PUBLISHED_SIZE,
        engines=(OURS, TRANSFORMERS),
        parameters=AT_1024,
    ),
    Part(
        name="default-bf16",
        title="vit_t, 1024 px, default grid, bf16",
        does="side_by_side",
        minutes=9,
        image_size=PUBLISHED_SIZE,
        images=2,
        engines=(OURS_BF16, REFERENCE),
        parameters=AT_1024,
        needs="bf16",
    ),
    Part(
        name="memory",
        title="peak memory, vit_t, 1024 px, sa-1b preset",
        does="memory",
        minutes=4,
        preset="sa-1b",
        image_size=PUBLISHED_SIZE,
        parameters=AT_1024,
        more={"sizes_hw": ((1500, 2250), (6000, 8000))},
    ),
    Part(
        name="flat",
        title="200 images in a row, lite2 as shipped, default grid",
        does="flat",
        minutes=10,
        variant="lite2",
        more={"images": 200, "size_hw": (512, 768)},
    ),
    Part(
        name="overhead",
        title="`sa-engine auto` over the bare generator, vit_t, default grid",
        does="overhead",
        minutes=6,
        images=4,
        more={"repeats": 3, "sizes": (None, PUBLISHED_SIZE)},
    ),
    Part(
        name="profile",
        title="operators of a run, vit_t, default grid",
        does="profile",
        minutes=4,
        more={"sizes": (PUBLISHED_SIZE, None)},
    ),
    Part(
        name="gpu-vit_h",
        title="ViT-H, 1024 px, default grid, bf16, one GPU",
        does="side_by_side",
        minutes=9,
        variant="vit_h",
        image_size=PUBLISHED_SIZE,
        images=4,
        engines=(OURS_BF16, REFERENCE),
        parameters=RANDOM_ENCODER,
        device="cuda",
        needs="cuda",
    ),
    Part(
        name="gpu-vit_t",
        title="vit_t, 1024 px, default grid, bf16, one GPU",
        does="side_by_side",
        minutes=5,
        image_size=PUBLISHED_SIZE,
        images=4,
        engines=(OURS_BF16, REFERENCE),
        parameters=AT_1024,
        device="cuda",
        needs="cuda",
    ),
)
