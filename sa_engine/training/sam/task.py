"""What the training of the promptable model learns by."""

from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from sa_engine.model.sam import Sam
from sa_engine.training.data.mixture import Mixture
from sa_engine.training.data.samples import Sample
from sa_engine.training.distributed import World, synchronise_norms
from sa_engine.training.metrics import Pace
from sa_engine.training.optimizer import build_optimizer
from sa_engine.training.sam.compute import Compute
from sa_engine.training.sam.config import TrainConfig
from sa_engine.training.sam.report import StepReport
from sa_engine.training.sam.rounds import Batch
from sa_engine.training.sam.similarity import ClickSimilarity
from sa_engine.training.trainer import Trainer, micro_batch


class SamTask:
    """`sam` in rounds of prompts and corrections; with the helper head if its loss has a weight."""

    figures = 5

    def __init__(self, sam: Sam, config: TrainConfig, device: torch.device) -> None:
        self.sam = sam.to(device)
        if config.freeze_encoder:
            sam.freeze_encoder()
        if config.freeze_stages:
            sam.freeze_stages(config.freeze_stages)
        self._compute = Compute(sam, config)
        self._device = device
        self.similarity: ClickSimilarity | None = None
        self.trained = nn.ModuleDict({"sam": sam})
        if config.losses.similarity:
            torch.manual_seed(config.seed)
            self.similarity = ClickSimilarity(sam).to(device)
            self.trained["similarity"] = self.similarity

    @property
    def shipped(self) -> Sam:
        """The model without its helper."""
        return self.sam

    def stack(self, samples: list[Sample]) -> Batch:
        """Samples as one batch of tensors."""
        return Batch.of(samples)

    def play(self, batch: Batch, *, step: int) -> tuple[Tensor, Tensor]:
        """All rounds of a batch; sums over its prompts."""
        moved = batch.to(self._device)
        result = self._compute.play(moved, step=step, similarity=self.similarity)
        sums = [result.loss.detach() * result.prompts, result.first_best_iou]
        sums += [result.first_own_iou, result.last_iou, result.iou_error]
        count = torch.full((), result.prompts, device=self._device)
        return result.loss, torch.stack([value.float() for value in [*sums, count]])

    def report(self, means: list[float], pace: Pace) -> StepReport:
        """The report of some steps."""
        loss, best, own, last, error = means
        return StepReport(
            loss=loss,
            first_best_iou=best,
            first_own_iou=own,
            last_iou=last,
            iou_error=error,
            **asdict(pace),
        )


class SamTrainer(Trainer[Sample, Batch, StepReport]):
    """Trains a promptable model in place; the arguments as of `Trainer`.

    Raises UsageError also for a batch that does not divide.
    """

    task: SamTask

    def __init__(
        self,
        sam: Sam,
        mixture: Mixture[Sample],
        *,
        config: TrainConfig,
        folder: Path,
        world: World | None = None,
        device: torch.device | None = None,
        data_workers: int = 0,
        fingerprint: str = "",
    ) -> None:
        world, device = world or World(), device or torch.device("cpu")
        micro = micro_batch(config.batch_images, world.size, config.micro_batch)
        if config.sync_norms:
            synchronise_norms(sam, world)
        task = SamTask(sam, config, device)
        super().__init__(
            task,
            mixture,
            config=config,
            optimizer=build_optimizer(sam, config.optim, task.similarity),
            folder=folder,
            micro=micro,
            world=world,
            device=device,
            data_workers=data_workers,
            fingerprint=fingerprint,
        )
