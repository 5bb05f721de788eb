"""What a loop is told: rounds of gathering, training and judging, declared in a TOML file.

`loop_reading` makes one of a file, `loop_references` finds what is wrong with its names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from sa_engine.detection.file import bundled_detector
from sa_engine.formats.registry import Format
from sa_engine.model.weights import DEFAULT_MODEL, bundled_model
from sa_engine.pipelines.export import OutFormat

ACCEPT_IOU = 0.8
"""A proposal that fits an object this well is worth taking over."""

CALIBRATE = 8
"""Pictures that a new model's thresholds are found on."""

PROMOTED = "promoted"
START = "start"
RANDOM = "random"

TOOLS = (OutFormat.COCO, OutFormat.CVAT, OutFormat.LABEL_STUDIO, OutFormat.LABELME)
"""Formats in which proposals go out to people and come back."""


class Kind(StrEnum):
    """Where a set of masks comes from."""

    IMPORT = "import"
    DATASET = "dataset"
    SEMI = "semi"
    AUTO = "auto"
    ANNOTATE = "annotate"


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Proposals are corrected in an annotation tool; the loop waits until the file is there.

    tool: the format of what they get. file: where what they made of it will lie.
    """

    tool: OutFormat
    file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class InBrowser:
    """Proposals are corrected with `sa-engine annotate`; the loop waits for the answers.

    work: the folder of people's answers, of this set alone. take: how many answered images are
        enough; None for all, those that people skipped among them.
    """

    work: Path
    take: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """Proposals are corrected by masks that people drew before and that were held back.

    masks: a dataset with all masks of the images. accept_iou: a proposal with at least this IoU to
        one of them is taken over, (0, 1]; the others are deleted, and what is missing is drawn.
    """

    masks: Path
    accept_iou: float = ACCEPT_IOU


@dataclass(frozen=True, slots=True, kw_only=True)
class Gather:
    """One set of masks.

    name: unique in the loop; the set's name in mixtures, too.
    annotations, format: of "import". images: of all but "dataset"; see `list_sources`; a
        dataset's folder stands for its images.
    data: of "dataset".
    model: of "semi" and "auto": "promoted" (the best so far), "start", or a round's name.
    existing: of "semi": a set whose masks are not proposed again.
    by: of "semi": who corrects the proposals; None takes them as they are.
    work, take: of "annotate": the folder of people's answers, which rounds may share, and how many
        answered images this round takes.
    preset: of "auto". options: further options of "semi" or "auto", as on the command line.
    limit: only the first so many images.
    """

    name: str
    kind: Kind
    annotations: Path | None = None
    format: Format | None = None
    images: str | None = None
    data: Path | None = None
    model: str = PROMOTED
    existing: str | None = None
    by: People | InBrowser | Simulated | None = None
    preset: str = "default"
    options: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None
    work: Path | None = None
    take: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainPlan:
    """How a round trains the promptable model.

    data: sets to train on; None for all that were gathered until then.
    init: weights to start from: "promoted", "start", "random", or a round's name.
    recipe: a name of RECIPES. changes: options by part, as in `TrainOptions`.
    synthetic, mask_area_power, scenes: see `TrainOptions`.
    calibrate: pictures of people's masks among the sets on which the thresholds that the new
        model's card recommends are found, see `loop_thresholds`; 0 takes those of its start.
    pred_iou_thresh, stability_score_thresh: these instead, where given.
    """

    data: tuple[str, ...] | None = None
    init: str = PROMOTED
    recipe: str = "finetune"
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    synthetic: float | None = None
    mask_area_power: float | None = None
    scenes: str | None = None
    calibrate: int = CALIBRATE
    pred_iou_thresh: float | None = None
    stability_score_thresh: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorPlan:
    """How a round trains a box detector, on the image encoder of the model promoted by then.

    data: sets to train on; None for all that were gathered until then. changes: options by part.
    init: "promoted", the detector in force where it is of the same network and input size; or
        "random".
    """

    data: tuple[str, ...] | None = None
    init: str = PROMOTED
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round of the loop.

    mix: how often a set or a stage is drawn in training, by name; see `TrainOptions.weights`.
    min_gain: its model is promoted if its mean IoU on the held-out sets is higher by more than
        this than that of the model promoted so far.
    """

    name: str
    gather: tuple[Gather, ...] = ()
    mix: Mapping[str, float] = field(default_factory=dict)
    train: TrainPlan | None = None
    detector: DetectorPlan | None = None
    min_gain: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """How every model is measured: one click on each object of sets that nothing is trained on.

    sets: gathered as rounds gather, by "import" or "dataset".
    points: clicks given, from 1. max_images, max_masks: see `PointsConfig`. seed: of the choice.
    """

    sets: tuple[Gather, ...]
    points: int = 1
    max_images: int | None = None
    max_masks: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """A whole loop.

    out: the folder that everything is made in. name: its title.
    model: name of a bundled model to start from; checkpoint: a weights file instead; with neither,
        the engine's own. detector: one for that model, if there is one.
    device, precision: "auto" takes the best that the machine has.
    workers: processes that make masks. data_workers: processes that prepare training samples.
    """

    out: Path
    held_out: HeldOut
    rounds: tuple[Round, ...]
    name: str = "loop"
    model: str | None = None
    checkpoint: Path | None = None
    detector: Path | None = None
    device: str = "auto"
    precision: str = "auto"
    workers: int = 1
    data_workers: int = 0

    @property
    def first_model(self) -> Path:
        """The weights that the loop starts from."""
        return self.checkpoint or bundled_model(self.model or DEFAULT_MODEL)

    @property
    def first_detector(self) -> Path | None:
        """The detector that there is from the start: the one given, or that of a bundled model."""
        if self.detector is not None or self.checkpoint is not None:
            return self.detector
        return bundled_detector(self.model or DEFAULT_MODEL)
