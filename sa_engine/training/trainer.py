"""The training loop, the same for every model: what is trained says so as a `Task`."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, Self, TypeVar

import cv2
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sa_engine.errors import UsageError
from sa_engine.training.clock import RunClock, WaitedFor
from sa_engine.training.data.mixture import Mixture, Positions, start_method
from sa_engine.training.distributed import World, average_gradients, summed
from sa_engine.training.host_copy import HostCopy
from sa_engine.training.metrics import MetricsLog, Pace, Report
from sa_engine.training.optim_config import OptimConfig
from sa_engine.training.optimizer import MovingAverage, set_lr
from sa_engine.training.state import STATE_NAME, diverged, load_state, save_state

S = TypeVar("S")
B = TypeVar("B")
R = TypeVar("R", bound=Report)
R_co = TypeVar("R_co", bound=Report, covariant=True)


class RunConfig(Protocol):
    """What the loop asks of a run's config; the fields as `TrainConfig` says."""

    @property
    def steps(self) -> int: ...
    @property
    def max_minutes(self) -> float | None: ...
    @property
    def batch_images(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def optim(self) -> OptimConfig: ...


class Task(Protocol[S, B, R_co]):
    """A model that learns, its loss and what there is to say of it.

    S is a sample, B a batch of them, R a report.
    """

    @property
    def trained(self) -> nn.Module:
        """All that learns, on its device; the run's state keeps it."""

    @property
    def shipped(self) -> nn.Module:
        """The part whose averaged weights are the result."""

    @property
    def figures(self) -> int:
        """How many sums `play` gives."""

    def stack(self, samples: list[S]) -> B:
        """Samples as one batch. Called in the processes that prepare them."""

    def play(self, batch: B, *, step: int) -> tuple[Tensor, Tensor]:
        """The mean loss of a batch, differentiable, and sums (figures + 1,) float32.

        Its first sum is the loss's; the last is the number that divides the others to means.
        """

    def report(self, means: list[float], pace: Pace) -> R_co:
        """What the steps since the last report did, by the means of the figures."""


def micro_batch(batch_images: int, processes: int, most: int | None = None) -> int:
    """Images that one process takes through the model at once.

    most: the largest such part; None for all of a process's.
    Raises UsageError if the batch does not divide over processes, or a process's part into parts.
    """
    own, rest = divmod(batch_images, processes)
    if rest or not own:
        raise UsageError(
            f"a batch of {batch_images} does not divide over {processes} processes; "
            f"give --batch-images {max(1, own) * processes}"
        )
    micro = min(most or own, own)
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

    number: from 1. sums: of this process's samples, the divisor last. norm: its gradient's.
    seen: (loss's sum, divisor, norm) as soon as the device is through with it.
    """

    number: int
    sums: Tensor
    norm: Tensor
    seen: HostCopy


class Trainer(Generic[S, B, R]):
    """Trains a task's model in place, from where `folder` left off.

    The device works behind this process, which looks at a step's numbers one step later: a GPU
    never waits for Python.

    task: what is trained.
    mixture: the samples, by position.
    optimizer: over the task's parameters.
    folder: keeps the state and the metrics.
    micro: images that one process takes through the model at once, as `micro_batch` gives it.
    data_workers: processes that prepare samples.
    fingerprint: a digest of all that a resumed run must share.
    Raises UsageError if the state in `folder` is another run's, TrainingError if it is damaged.
    """

    def __init__(
        self,
        task: Task[S, B, R],
        mixture: Mixture[S],
        *,
        config: RunConfig,
        optimizer: torch.optim.Optimizer,
        folder: Path,
        micro: int,
        world: World,
        device: torch.device,
        data_workers: int = 0,
        fingerprint: str = "",
    ) -> None:
        self.task = task
        self._mixture = mixture
        self._config = config
        self._optimizer = optimizer
        self._folder = folder
        self._micro = micro
        self._world, self._device = world, device
        self._workers = data_workers
        self._fingerprint = fingerprint
        self._average = MovingAverage(task.shipped, config.optim.ema_decay)
        self._step, seconds = 0, 0.0
        state = load_state(self._state, fingerprint=fingerprint)
        if state is not None:
            state.restore(task.trained, optimizer, self._average)
            self._step, seconds = state.step, state.seconds
        self._clock = RunClock(config.max_minutes, world, device, before=seconds)

    @property
    def _state(self) -> Path:
        return self._folder / STATE_NAME

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
        report: Callable[[R], None] = lambda _: None,
        on_step: Callable[[int], None] = lambda _: None,
        on_checkpoint: Callable[[Self], None] = lambda _: None,
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
        log = MetricsLog(self._folder, tensorboard=tensorboard and self._world.is_main)
        batches = WaitedFor(iter(self._loader()))
        self._clock.start()
        last_save = time.monotonic()
        reports = _Reports(self._config.batch_images, self._step)
        before: _Step | None = None
        self.task.trained.train()
        while not self.is_finished:
            lr = self._config.optim.lr_at(self._step, self._horizon())
            made = self._take_step(batches, lr)
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
                means, pace = reports.take(
                    self._world, lr=lr, waited_s=batches.take(), horizon=self._horizon()
                )
                if self._world.is_main:
                    values = self.task.report(means, pace)
                    log.write(values)
                    report(values)
            if self._world.is_main and saves:
                self._save()
                on_checkpoint(self)
                last_save = time.monotonic()

    def _horizon(self) -> int:
        return self._clock.horizon(self._step, self._config.steps)

    def _loader(self) -> DataLoader[S]:
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
            collate_fn=self.task.stack,
            prefetch_factor=3 if self._workers else None,
            worker_init_fn=_one_thread,
            pin_memory=self._device.type == "cuda",
        )

    def _take_step(self, batches: Iterator[B], lr: float) -> _Step:
        set_lr(self._optimizer, lr)
        # Stochastic depth draws from torch's generator: the same at this step on any run.
        torch.manual_seed(hash((self._config.seed, self._step, self._world.rank)))
        sums = self._accumulate(batches)
        parameters = list(self.task.trained.parameters())
        average_gradients(parameters, self._world)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self._config.optim.clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._average.update(self.task.shipped, self._step)
        self._step += 1
        return _Step(self._step, sums, norm, HostCopy(torch.stack([sums[0], sums[-1], norm])))

    def _accumulate(self, batches: Iterator[B]) -> Tensor:
        """Gradients of one step, and the sums over this process's samples."""
        parts = self._config.batch_images // self._world.size // self._micro
        sums = torch.zeros(self.task.figures + 1, device=self._device)
        for _ in range(parts):
            loss, found = self.task.play(next(batches), step=self._step)
            (loss / parts).backward()  # type: ignore[no-untyped-call]
            sums += found
        return sums

    def _check(self, made: _Step | None) -> None:
        """Wait for a step. Raises TrainingError if its gradient is no number."""
        if made is None:
            return
        loss, divisor, norm = made.seen.tolist()
        if not math.isfinite(norm):
            raise diverged(made.number, loss / divisor, norm, self._state)

    def _save(self) -> None:
        save_state(
            self._state,
            step=self._step,
            fingerprint=self._fingerprint,
            model=self.task.trained,
            optimizer=self._optimizer,
            average=self._average,
            seconds=self._clock.seconds,
        )


class _Reports:
    """Sums of the steps since the last report, which was of step `step`."""

    def __init__(self, batch_images: int, step: int) -> None:
        self._batch_images = batch_images
        self._sums: Tensor | None = None
        self._last: _Step | None = None
        self._since = time.monotonic()
        self.reported = step

    def add(self, made: _Step) -> None:
        """Count a step in."""
        self._sums = made.sums if self._sums is None else self._sums + made.sums
        self._last = made

    def take(
        self, world: World, *, lr: float, waited_s: float, horizon: int
    ) -> tuple[list[float], Pace]:
        """Means and pace of the steps that were added; the next ones are counted from here."""
        assert self._sums is not None and self._last is not None, "no step was added"
        total = summed(self._sums.clone(), world)
        means: list[float] = (total[:-1] / total[-1]).tolist()
        now = time.monotonic()
        passed = max(now - self._since, 1e-9)
        images = (self._last.number - self.reported) * self._batch_images
        self._since, self.reported, self._sums = now, self._last.number, None
        return means, Pace(
            step=self._last.number,
            lr=lr,
            grad_norm=float(self._last.norm),
            images_per_s=images / passed,
            data_wait_share=min(waited_s / passed, 1.0),
            horizon=horizon,
        )
