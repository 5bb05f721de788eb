"""The training loop of the promptable model."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sa_engine.errors import UsageError
from sa_engine.model.sam import Sam
from sa_engine.training.clock import RunClock, WaitedFor
from sa_engine.training.data.mixture import Mixture, Positions, start_method
from sa_engine.training.data.samples import Sample
from sa_engine.training.distributed import (
    World,
    average_gradients,
    summed,
    synchronise_norms,
)
from sa_engine.training.host_copy import HostCopy
from sa_engine.training.metrics import MetricsLog, StepReport
from sa_engine.training.optimizer import MovingAverage, build_optimizer, set_lr
from sa_engine.training.sam.compute import Compute
from sa_engine.training.sam.config import TrainConfig
from sa_engine.training.sam.rounds import Batch
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


@dataclass(frozen=True, slots=True)
class _Step:
    """A step that the device may still be at.

    number: from 1. sums: five over this process's prompts, and their count. norm: its gradient's.
    seen: (loss's sum, prompts, norm) as soon as the device is through with it.
    """

    number: int
    sums: Tensor
    norm: Tensor
    seen: HostCopy


class Trainer:
    """Trains `sam` in place, from where `paths` left off.

    The device works behind this process, which looks at a step's numbers one step later: a GPU
    never waits for Python.
    """

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
        self._compute = Compute(self.sam, config)
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
        self._step, seconds = 0, 0.0
        state = load_state(paths.state, fingerprint=fingerprint)
        if state is not None:
            state.restore(self._trained, self._optimizer, self._average)
            self._step, seconds = state.step, state.seconds
        self._clock = RunClock(config.max_minutes, self._world, self._device, before=seconds)

    @property
    def step(self) -> int:
        """Steps done."""
        return self._step

    @property
    def is_finished(self) -> bool:
        """Whether its steps are done or its time is up."""
        return self._step >= self._config.steps or self._clock.is_over()

    @property
    def averaged_weights(self) -> dict[str, Tensor]:
        """The weights to ship."""
        return self._average.weights

    def run(
        self,
        *,
        report: Callable[[StepReport], None] = lambda _: None,
        on_step: Callable[[int], None] = lambda _: None,
        on_checkpoint: Callable[["Trainer"], None] = lambda _: None,
        report_every: int = 10,
        checkpoint_seconds: float = 120.0,
        tensorboard: bool = False,
    ) -> None:
        """Train to the last step, or for as long as the config lets it.

        report: called on the main process every `report_every` steps and at the last.
        on_step: called on the main process after each step, with the steps done.
        on_checkpoint: called on the main process after each state written.
        tensorboard: write event files, too; needs the extra "train".
        Raises TrainingError when the loss is not finite; the last good state stays on disk.
        """
        config = self._config
        log = MetricsLog(self._paths.folder, tensorboard=tensorboard and self._world.is_main)
        batches = WaitedFor(iter(self._loader()))
        self._clock.start()
        last_save = time.monotonic()
        reports = _Reports(config.batch_images, self._step, self._device)
        before: _Step | None = None
        self.sam.train()
        while not self.is_finished:
            lr = config.optim.lr_at(self._step, self._clock.horizon(self._step, config.steps))
            set_lr(self._optimizer, lr)
            # Stochastic depth draws from torch's generator: the same at this step on any run.
            torch.manual_seed(hash((config.seed, self._step, self._world.rank)))
            sums = self._accumulate(batches)
            average_gradients(self._trained.parameters(), self._world)
            norm = torch.nn.utils.clip_grad_norm_(
                self._trained.parameters(), config.optim.clip_norm
            )
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
            self._average.update(self.sam, self._step)
            self._step += 1
            seen = HostCopy(torch.stack([sums[0], sums[5], norm]))
            made = _Step(self._step, sums, norm, seen)
            self._check(before)
            before = made
            reports.add(made)
            if self._world.is_main:
                on_step(self._step)
            self._clock.read()
            done = self.is_finished
            saves = done or time.monotonic() - last_save >= checkpoint_seconds
            if saves:
                self._check(made)
            if self._step - reports.reported >= report_every or done:
                horizon = self._clock.horizon(self._step, config.steps)
                values = reports.take(self._world, lr=lr, waited_s=batches.take(), horizon=horizon)
                if self._world.is_main:
                    log.write(values)
                    report(values)
            if self._world.is_main and saves:
                self._save()
                on_checkpoint(self)
                last_save = time.monotonic()

    def _loader(self) -> DataLoader[Sample]:
        return DataLoader(
            self._mixture,
            batch_size=self._micro,
            sampler=Positions(
                batch_images=self._config.batch_images,
                first_step=self._step,
                steps=self._config.steps,
                world=self._world,
            ),
            num_workers=self._workers,
            multiprocessing_context=start_method(self._workers),
            collate_fn=stack,
            prefetch_factor=3 if self._workers else None,
            worker_init_fn=_one_thread,
            pin_memory=self._device.type == "cuda",
        )

    def _accumulate(self, batches: Iterator[Batch]) -> Tensor:
        """Gradients of one step: five sums over this process's prompts, and their count."""
        config = self._config
        parts = config.batch_images // self._world.size // self._micro
        sums = torch.zeros(6, device=self._device)
        for _ in range(parts):
            batch = to_device(next(batches), self._device)
            result = self._compute.play(batch, step=self._step, similarity=self._similarity)
            (result.loss / parts).backward()  # type: ignore[no-untyped-call]
            found = [result.loss.detach() * result.prompts, result.first_best_iou]
            found += [result.first_own_iou, result.last_iou, result.iou_error]
            sums[:5] += torch.stack([f.float() for f in found])
            sums[5] += result.prompts
        return sums

    def _check(self, made: _Step | None) -> None:
        """Wait for a step. Raises TrainingError if its gradient is no number."""
        if made is None:
            return
        loss, prompts, norm = made.seen.tolist()
        if not math.isfinite(norm):
            raise diverged(made.number, loss / prompts, norm, self._paths.state)

    def _save(self) -> None:
        save_state(
            self._paths.state,
            step=self._step,
            fingerprint=self._fingerprint,
            model=self._trained,
            optimizer=self._optimizer,
            average=self._average,
            seconds=self._clock.seconds,
        )


class _Reports:
    """Sums of the steps since the last report."""

    def __init__(self, batch_images: int, step: int, device: torch.device) -> None:
        self._batch_images = batch_images
        self._sums = torch.zeros(6, device=device)
        self._last: _Step | None = None
        self._since = time.monotonic()
        self.reported = step

    def add(self, made: _Step) -> None:
        """Count a step in."""
        self._sums += made.sums
        self._last = made

    def take(self, world: World, *, lr: float, waited_s: float, horizon: int) -> StepReport:
        """What there is to say of the steps that were added, which begin anew after it."""
        assert self._last is not None, "no step was added"
        total = summed(self._sums, world)
        loss, best, own, last, error = (total[:5] / total[5]).tolist()
        step, norm = self._last.number, float(self._last.norm)
        now = time.monotonic()
        passed = max(now - self._since, 1e-9)
        images = (step - self.reported) * self._batch_images
        self._since, self.reported = now, step
        self._sums = torch.zeros_like(self._sums)
        return StepReport(
            step=step,
            loss=loss,
            first_best_iou=best,
            first_own_iou=own,
            last_iou=last,
            iou_error=error,
            lr=lr,
            grad_norm=norm,
            images_per_s=images / passed,
            data_wait_share=min(waited_s / passed, 1.0),
            horizon=horizon,
        )
