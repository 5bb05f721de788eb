"""What is known of a detector, kept inside its file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from sa_engine.errors import CheckpointError
from sa_engine.version import __version__

BOX_SCORE_THRESH = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorCard:
    """Where a detector comes from, which image encoder it belongs to and how to use it.

    name: what users call it.
    model: the name of the promptable model that it was trained on.
    variant: that model's image encoder, one of `variants.VARIANTS`.
    image_size: side of the model's square input, pixels.
    encoder_sha256: `encoder_digest` of that image encoder.
    net: the options of the network, JSON values; see `DetectorConfig`.
    data: what it was trained on, a line per source.
    options: the training's options, JSON values.
    results: measured figures by protocol, JSON values.
    box_score_thresh: recommended least score of a box, [0, 1].
    engine_version: the engine that wrote the file.
    """

    name: str
    model: str
    variant: str
    image_size: int
    encoder_sha256: str
    net: Mapping[str, Any] = field(default_factory=dict)
    data: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    box_score_thresh: float = BOX_SCORE_THRESH
    engine_version: str = __version__

    def __post_init__(self) -> None:
        if not 0.0 <= self.box_score_thresh <= 1.0:
            raise ValueError(f"box_score_thresh is {self.box_score_thresh}; it must be from 0 to 1")

    def to_json(self) -> str:
        """One line with sorted keys: the same card, the same bytes."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "DetectorCard":
        """Undo `to_json`. Fields of a newer engine are passed over.

        Raises CheckpointError if the text is not a card.
        """
        try:
            values = json.loads(text)
            known = {f.name: values[f.name] for f in fields(cls) if f.name in values}
            known["data"] = tuple(known.get("data", ()))
            return cls(**known)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"the detector's card is damaged: {error}") from error
