"""How a step is computed: precision, and what is compiled."""

from typing import Any

import torch
import torch._dynamo

from sa_engine.model.sam import Sam
from sa_engine.training.sam.config import TrainConfig
from sa_engine.training.sam.rounds import Batch, RoundsResult, run_rounds, turn_loss
from sa_engine.training.sam.similarity import ClickSimilarity

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Compute:
    """Plays the rounds of batches as a run's config says.

    On a GPU the fastest convolutions are looked for once, and products of float32 may use TF32
    where the run is in bfloat16 anyway. What torch.compile cannot compile runs as it is.
    """

    def __init__(self, sam: Sam, config: TrainConfig) -> None:
        self._sam, self._config = sam, config
        self._precision = PRECISIONS[config.precision]
        self._turn_loss: Any = turn_loss
        if sam.device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            if self._precision != torch.float32:
                torch.set_float32_matmul_precision("high")
        if config.compile_model:
            self._compile()

    def play(self, batch: Batch, *, step: int, similarity: ClickSimilarity | None) -> RoundsResult:
        """`run_rounds` of one batch."""
        return run_rounds(
            self._sam,
            batch,
            config=self._config.rounds,
            weights=self._config.losses,
            step=step,
            similarity=similarity,
            precision=self._precision,
            loss_of_turn=self._turn_loss,
        )

    def _compile(self) -> None:
        # Slower is better than not at all: a part that cannot be compiled is run as it is.
        torch._dynamo.config.suppress_errors = True
        # In place: the state dict keeps its names.
        self._sam.image_encoder.compile()
        self._sam.mask_decoder.transformer.compile()
        self._turn_loss = torch.compile(turn_loss)
