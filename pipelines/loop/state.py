"""How far a loop is: what there is of each round, and what is in force."""

from dataclasses import dataclass
from enum import StrEnum

from sa_engine.pipelines.loop.config import (
    LoopConfig,
)
from sa_engine.pipelines.loop.parts import (
    GatheredSet,
    LoopDetector,
    Model,
    Scores,
)


class LoopProgress(StrEnum):
    """How far a round is."""

    DONE = "done"
    BEGUN = "begun"
    WAITING = "waiting for people"
    PENDING = "pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundState:
    """What there is of a round.

    sets: gathered in it. trained_on: names of the sets that its model was trained on.
    model, measured: trained in it. before: mean IoU of the model promoted until then.
    promoted: whether its model was; None if it trained none.
    detector: trained in it. recall: its AR@100 on the held-out sets. detector_promoted: whether it
        is in force from then on.
    doing: the step that is missing, with the seconds spent on it so far.
    steps: ids of its steps, in order. seconds: that they took.
    """

    name: str
    progress: LoopProgress
    sets: tuple[GatheredSet, ...] = ()
    trained_on: tuple[str, ...] = ()
    model: Model | None = None
    measured: Scores | None = None
    before: float | None = None
    promoted: bool | None = None
    detector: LoopDetector | None = None
    recall: float | None = None
    detector_promoted: bool | None = None
    doing: str | None = None
    doing_seconds: float | None = None
    steps: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopState:
    """What there is of a loop.

    started_from: the model that it begins with. start: how that measures; None if that is not
        known yet.
    model, detector: in force now.
    waiting: what people have to do before it can go on.
    """

    config: LoopConfig
    rounds: tuple[RoundState, ...]
    started_from: Model
    model: Model
    start: Scores | None = None
    detector: LoopDetector | None = None
    waiting: str | None = None
    doing: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether every round is done."""
        return all(each.progress is LoopProgress.DONE for each in self.rounds)
