"""What a training run of the detector is told."""

from dataclasses import dataclass, field

from sa_engine.detection.config import DetectorConfig
from sa_engine.training.data.photos import JitterConfig
from sa_engine.training.optim_config import OptimConfig, Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorOptimConfig(OptimConfig):
    lr: float = 2e-3
    weight_decay: float = 0.05
    layer_decay: float = 1.0
    warmup_steps: int = 100
    schedule: Schedule = Schedule.COSINE
    clip_norm: float = 5.0
    ema_decay: float = 0.998


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorJitterConfig(JitterConfig):
    min_scale: float = 0.6
    max_scale: float = 1.8
    aspect: float = 0.1
    colour: float = 0.3


# The same options with other defaults: a small network on frozen maps.
DetectorOptimConfig.__doc__ = OptimConfig.__doc__
DetectorJitterConfig.__doc__ = JitterConfig.__doc__


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorLossConfig:
    """What an answer costs.

    box_weight: of the boxes' loss beside the scores', >= 0.
    places_per_object: most places that answer for one object, >= 1.
    score_power: how much a place's score counts when places are chosen, >= 0.
    iou_power: how much the IoU of its box counts there, >= 0.
    negative_weight: of places without an object, >= 0.
    focus: power of a wrong score in its own weight, >= 0; 0 weighs all places alike.
    """

    box_weight: float = 2.0
    places_per_object: int = 10
    score_power: float = 0.5
    iou_power: float = 4.0
    negative_weight: float = 0.75
    focus: float = 2.0

    def __post_init__(self) -> None:
        if self.places_per_object < 1:
            raise ValueError(f"places_per_object is {self.places_per_object}; give at least 1")
        for name in ("box_weight", "score_power", "iou_power", "negative_weight", "focus"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give at least 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorTrainConfig:
    """One run of the detector's training.

    steps: optimizer steps.
    max_minutes: stop after so many minutes, though there are steps left, > 0; the schedule then
        runs to its end in that time. None for no limit.
    batch_images: images in a step, over all processes.
    seed: everything random follows from it.
    views: fixed variations of each image whose encoded maps are kept on disk, so that the frozen
        encoder sees each but once; 0 for a new variation every time, and nothing kept.
    keep_gib: most disk space for kept maps, GiB; there are fewer views if it is not enough.
    max_objects: most objects of an image, drawn at random, >= 1.
    min_side: objects whose shorter side is under this many pixels of the model's input are left
        out, > 0.
    """

    steps: int = 6000
    max_minutes: float | None = None
    batch_images: int = 16
    seed: int = 0
    views: int = 4
    keep_gib: float = 16.0
    max_objects: int = 100
    min_side: float = 2.0
    net: DetectorConfig = field(default_factory=DetectorConfig)
    losses: DetectorLossConfig = field(default_factory=DetectorLossConfig)
    optim: DetectorOptimConfig = field(default_factory=DetectorOptimConfig)
    jitter: DetectorJitterConfig = field(default_factory=DetectorJitterConfig)

    def __post_init__(self) -> None:
        for name in ("steps", "batch_images", "max_objects"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give at least 1")
        if self.max_minutes is not None and not self.max_minutes > 0:
            raise ValueError(f"max_minutes is {self.max_minutes}; give a value above 0")
        if self.views < 0:
            raise ValueError(f"views is {self.views}; give at least 0")
        for name in ("min_side", "keep_gib"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give a value above 0")
