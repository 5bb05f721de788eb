"""The training loop of the promptable model."""

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sa_engine.errors import UsageError
from sa_engine.model.sam import Sam
from sa_engine.training.data.mixture import Mixture, Positions
from sa_engine.training.data.samples import Sample
from sa_engine.training.distributed import (
    World,
    average_gradients,
    summed,
    synchronise_norms,
)
from sa_engine.training.metrics import MetricsLog, StepReport
from sa_engine.training.optimizer import MovingAverage, build_optimizer, set_lr
from sa_engine.training.sam.config import TrainConfig
from sa_engine.training.sam.rounds import Batch, run_rounds
from sa_engine.training.sam.similarity import ClickSimilarity
from sa_engine.training.state import STATE_NAME, diverged, load_state, save_state


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPaths:
    """Files of a run, in one folder."""

    folder: Path

    @property
    def state(self) -> Path:
        """The state that a continued run starts from."""
        return self.folder / STATE_NAME


def stack(samples: list[Sample]) -> Batch:
    """Samples as one batch of tensors."""
    images = np.stack([s.image_3SS for s in samples])
    targets = np.stack([s.targets_Phw for s in samples])
    return Batch(
        torch.from_numpy(images),
        torch.from_numpy(targets),
        torch.from_numpy(np.stack([s.points_P2 for s in samples])),
        torch.from_numpy(np.stack([s.boxes_P4 for s in samples])),
        torch.from_numpy(np.stack([s.box_first_P for s in samples])),
        torch.tensor([s.key for s in samples], dtype=torch.int64),
    )


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device, pixels and targets as floats."""
    moved = [
        getattr(batch, f.name).to(device, non_blocking=True) for f in dataclasses.fields(batch)
    ]
    images, targets, *rest = moved
    return Batch(images.float(), targets.float() / 255, *rest)


def micro_batch(config: TrainConfig, processes: int) -> int:
    """Pictures that one process takes through the model at once.

    Raises UsageError if the batch does not divide over processes, or a process's part into parts.
    """
    own, rest = divmod(config.batch_images, processes)
    if rest or not own:
        raise UsageError(
            f"a batch of {config.batch_images} does not divide over {processes} processes; "
            f"give --batch-images {max(1, own) * processes}"
        )
    micro = min(config.micro_batch or own, own)
    if own % micro:
        fits = max(m for m in range(1, micro + 1) if own % m == 0)
        raise UsageError(
            f"the {own} images of a process do not divide into parts of {micro}; "
            f"give --micro-batch {fits}"
        )
    return micro


def _one_thread(_: int) -> None:
    """Workers are many already: OpenCV must not start threads in each."""
    cv2.setNumThreads(0)


class Trainer:
    """Trains `sam` in place, from where `paths` left off."""

    def __init__(
        self,
        sam: Sam,
        mixture: Mixture[Sample],
        *,
        config: TrainConfig,
        paths: RunPaths,
        world: World | None = None,
        device: torch.device | None = None,
        data_workers: int = 0,
        fingerprint: str = "",
    ) -> None:
        self._world = world or World()
        self._device = device or torch.device("cpu")
        self._micro = micro_batch(config, self._world.size)
        if config.sync_norms:
            synchronise_norms(sam, self._world)
        self.sam = sam.to(self._device)
        if config.freeze_encoder:
            sam.freeze_encoder()
        if config.freeze_stages:
            sam.freeze_stages(config.freeze_stages)
        if config.compile_encoder:
            # In place: the state dict keeps its names.
            self.sam.image_encoder.compile()
        self._mixture = mixture
        self._config = config
        self._paths = paths
        self._workers = data_workers
        self._fingerprint = fingerprint
        self._similarity: ClickSimilarity | None = None
        trained = nn.ModuleDict({"sam": self.sam})
        if config.losses.similarity:
            torch.manual_seed(config.seed)
            self._similarity = ClickSimilarity(self.sam).to(self._device)
            trained["similarity"] = self._similarity
        self._trained = trained
        self._optimizer = build_optimizer(self.sam, config.optim, self._similarity)
        self._average = MovingAverage(self.sam, config.optim.ema_decay)
        self._step = 0
        state = load_state(paths.state, fingerprint=fingerprint)
        if state is not None:
            state.restore(self._trained, self._optimizer, self._average)
            self._step = state.step

    @property
    def step(self) -> int:
        """Steps done."""
        return self._step

    @property
    def averaged_weights(self) -> dict[str, Tensor]:
        """The weights to ship."""
        return self._average.weights

    def run(
        self,
        *,
        report: Callable[[StepReport], None] = lambda _: None,
        on_checkpoint: Callable[["Trainer"], None] = lambda _: None,
        report_every: int = 10,
        checkpoint_seconds: float = 120.0,
        tensorboard: bool = False,
    ) -> None:
        """Train to the last step.

        report: called on the main process every `report_every` steps and at the last.
        on_checkpoint: called on the main process after each state written.
        tensorboard: write event files, too; needs the extra "train".
        Raises TrainingError when the loss is not finite; the last good state stays on disk.
        """
        config = self._config
        loader = DataLoader(
            self._mixture,
            batch_size=self._micro,
            sampler=Positions(
                batch_images=config.batch_images,
                first_step=self._step,
                steps=config.steps,
                world=self._world,
            ),
            num_workers=self._workers,
            collate_fn=stack,
            prefetch_factor=4 if self._workers else None,
            worker_init_fn=_one_thread,
            pin_memory=self._device.type == "cuda",
        )
        batches = iter(loader)
        log = MetricsLog(self._paths.folder, tensorboard=tensorboard and self._world.is_main)
        parts = config.batch_images // self._world.size // self._micro
        last_report = last_save = time.monotonic()
        reported = self._step
        sums = torch.zeros(6, device=self._device)
        self.sam.train()
        while self._step < config.steps:
            lr = config.optim.lr_at(self._step, config.steps)
            set_lr(self._optimizer, lr)
            # Stochastic depth draws from torch's generator: the same at this step on any run.
            torch.manual_seed(hash((config.seed, self._step, self._world.rank)))
            step_sums = self._accumulate(batches, parts)
            average_gradients(self._trained.parameters(), self._world)
            norm = torch.nn.utils.clip_grad_norm_(
                self._trained.parameters(), config.optim.clip_norm
            )
            if not math.isfinite(float(norm)):
                loss = float(step_sums[0] / step_sums[5])
                raise diverged(self._step + 1, loss, float(norm), self._paths.state)
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
            self._average.update(self.sam, self._step)
            self._step += 1
            sums += step_sums
            done = self._step == config.steps
            if self._step - reported >= report_every or done:
                total = summed(sums, self._world)
                loss, best, own, last, error = (total[:5] / total[5]).tolist()
                now = time.monotonic()
                rate = (self._step - reported) * config.batch_images / max(now - last_report, 1e-9)
                made = StepReport(
                    step=self._step,
                    loss=loss,
                    first_best_iou=best,
                    first_own_iou=own,
                    last_iou=last,
                    iou_error=error,
                    lr=lr,
                    grad_norm=float(norm),
                    images_per_s=rate,
                )
                if self._world.is_main:
                    log.write(made)
                    report(made)
                last_report, reported = now, self._step
                sums = torch.zeros_like(sums)
            if self._world.is_main and (done or time.monotonic() - last_save >= checkpoint_seconds):
                self._save()
                on_checkpoint(self)
                last_save = time.monotonic()

    def _accumulate(self, batches: Any, parts: int) -> Tensor:
        """Gradients of one step: five sums over this process's prompts, and their count."""
        config = self._config
        sums = torch.zeros(6, device=self._device)
        for _ in range(parts):
            batch = to_device(next(batches), self._device)
            with torch.autocast(
                self._device.type, torch.bfloat16, enabled=config.precision == "bfloat16"
            ):
                result = run_rounds(
                    self.sam,
                    batch,
                    config=config.rounds,
                    weights=config.losses,
                    step=self._step,
                    similarity=self._similarity,
                )
            (result.loss / parts).backward()  # type: ignore[no-untyped-call]
            found = [result.loss.detach() * result.prompts, result.first_best_iou]
            found += [result.first_own_iou, result.last_iou, result.iou_error]
            sums[:5] += torch.stack([f.float() for f in found])
            sums[5] += result.prompts
        return sums

    def _save(self) -> None:
        save_state(
            self._paths.state,
            step=self._step,
            fingerprint=self._fingerprint,
            model=self._trained,
            optimizer=self._optimizer,
            average=self._average,
        )
