"""The training loop of the box detector."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from sa_engine.detection.boxes import inside
from sa_engine.detection.encoder import EncodedMaps, encode
from sa_engine.detection.network import Detector
from sa_engine.errors import UsageError
from sa_engine.model.sam import Sam
from sa_engine.training.clock import RunClock
from sa_engine.training.data.feature_bank import FeatureBank
from sa_engine.training.data.mixture import Mixture, Positions, start_method
from sa_engine.training.detector.config import DetectorTrainConfig
from sa_engine.training.detector.losses import DetectorLoss, detector_loss
from sa_engine.training.detector.report import DetectorReport
from sa_engine.training.detector.source import DetectorSample
from sa_engine.training.distributed import World, average_gradients, summed
from sa_engine.training.metrics import MetricsLog
from sa_engine.training.optimizer import MovingAverage, build_optimizer, set_lr
from sa_engine.training.state import STATE_NAME, diverged, load_state, save_state


class DetectorTrainer:
    """Trains `detector` in place on a frozen model's encoder, from where `folder` left off.

    folder: keeps the state and the metrics. bank: keeps encoded maps; None to keep none.
    fingerprint: a digest of all that a continued run must share.
    """

    def __init__(
        self,
        sam: Sam,
        detector: Detector,
        mixture: Mixture[DetectorSample],
        *,
        config: DetectorTrainConfig,
        folder: Path,
        bank: FeatureBank | None = None,
        world: World | None = None,
        device: torch.device | None = None,
        data_workers: int = 0,
        fingerprint: str = "",
    ) -> None:
        self._world = world or World()
        self._device = device or torch.device("cpu")
        if config.batch_images % self._world.size:
            fits = max(1, config.batch_images // self._world.size) * self._world.size
            raise UsageError(
                f"a batch of {config.batch_images} does not divide over {self._world.size} "
                f"processes; give --batch-images {fits}"
            )
        self._sam = sam.to(self._device).eval()
        self.detector = detector.to(self._device).train()
        self._mixture = mixture
        self._config = config
        self._state = folder / STATE_NAME
        self._folder = folder
        self._bank = bank
        self._workers = data_workers
        self._fingerprint = fingerprint
        self._optimizer = build_optimizer(self.detector, config.optim)
        self._average = MovingAverage(self.detector, config.optim.ema_decay)
        self.step, seconds = 0, 0.0
        state = load_state(self._state, fingerprint=fingerprint)
        if state is not None:
            state.restore(self.detector, self._optimizer, self._average)
            self.step, seconds = state.step, state.seconds
        self._clock = RunClock(config.max_minutes, self._world, self._device, before=seconds)

    @property
    def is_finished(self) -> bool:
        """Whether its steps are done or its time is up."""
        return self.step >= self._config.steps or self._clock.is_over()

    @property
    def averaged_weights(self) -> dict[str, Tensor]:
        """The weights to ship."""
        return self._average.weights

    def run(
        self,
        *,
        report: Callable[[DetectorReport], None] = lambda _: None,
        on_checkpoint: Callable[["DetectorTrainer"], None] = lambda _: None,
        on_step: Callable[[int], None] = lambda _: None,
        report_every: int = 10,
        checkpoint_seconds: float = 120.0,
        tensorboard: bool = False,
    ) -> None:
        """Train to the last step, or for as long as the config lets it.

        report: called on the main process every `report_every` steps and at the last.
        on_step: called on the main process after each step, with the steps done.
        on_checkpoint: called on the main process after each state written.
        Raises TrainingError when the loss is not finite; the last good state stays on disk.
        """
        config = self._config
        loader = DataLoader(
            self._mixture,
            batch_size=config.batch_images // self._world.size,
            sampler=Positions(
                batch_images=config.batch_images,
                first_step=self.step,
                steps=config.steps,
                world=self._world,
            ),
            num_workers=self._workers,
            multiprocessing_context=start_method(self._workers),
            collate_fn=list,
            prefetch_factor=4 if self._workers else None,
        )
        batches: Iterator[list[DetectorSample]] = iter(loader)
        log = MetricsLog(self._folder, tensorboard=tensorboard and self._world.is_main)
        last_report = last_save = time.monotonic()
        reported = self.step
        sums = torch.zeros(6, device=self._device)
        self._clock.start()
        while not self.is_finished:
            lr = config.optim.lr_at(self.step, self._clock.horizon(self.step, config.steps))
            set_lr(self._optimizer, lr)
            samples = next(batches)
            found = self._loss(samples)
            found.loss.backward()  # type: ignore[no-untyped-call]
            parameters = list(self.detector.parameters())
            average_gradients(parameters, self._world)
            norm = float(torch.nn.utils.clip_grad_norm_(parameters, config.optim.clip_norm))
            if not math.isfinite(norm):
                loss = float(found.loss.detach())
                raise diverged(self.step + 1, loss, float(norm), self._state)
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
            self._average.update(self.detector, self.step)
            self.step += 1
            if self._world.is_main:
                on_step(self.step)
            self._clock.read()
            objects = sum(len(s.boxes_G4) for s in samples) / len(samples)
            figures = [found.loss.detach(), found.score_loss, found.box_loss, found.box_iou]
            sums[:4] += torch.stack(figures)
            sums[4] += objects
            sums[5] += 1
            done = self.is_finished
            if self.step - reported >= report_every or done:
                total = summed(sums.clone(), self._world)
                loss, score, box, iou, objects = (total[:5] / total[5]).tolist()
                now = time.monotonic()
                rate = (self.step - reported) * config.batch_images / max(now - last_report, 1e-9)
                if self._world.is_main:
                    made = DetectorReport(
                        step=self.step,
                        loss=loss,
                        score_loss=score,
                        box_loss=box,
                        box_iou=iou,
                        objects=objects,
                        lr=lr,
                        grad_norm=norm,
                        images_per_s=rate,
                        horizon=self._clock.horizon(self.step, config.steps),
                    )
                    log.write(made)
                    report(made)
                last_report, reported = now, self.step
                sums.zero_()
            if self._world.is_main and (done or time.monotonic() - last_save >= checkpoint_seconds):
                self._save()
                on_checkpoint(self)
                last_save = time.monotonic()

    def _loss(self, samples: Sequence[DetectorSample]) -> DetectorLoss:
        answers = self.detector(self._encode(samples))
        usable = torch.stack([inside(answers.places, s.input_hw) for s in samples])
        objects = [torch.from_numpy(s.boxes_G4).to(self._device) for s in samples]
        return detector_loss(answers, objects, usable_BL=usable, config=self._config.losses)

    @torch.no_grad()
    def _encode(self, samples: Sequence[DetectorSample]) -> EncodedMaps:
        """The encoder's maps of a batch: new ones, or those that are kept."""
        if self._bank is None:
            return self._encode_new([s.image_3SS for s in samples], samples)
        for sample in samples:
            if sample.image_3SS is not None:
                # One at a time, so that an entry does not depend on its neighbours in a batch.
                self._bank.put(sample.entry, self._encode_new([sample.image_3SS], [sample]))
        kept = self._bank.get([s.entry for s in samples])
        return EncodedMaps(
            kept.embedding.to(self._device),
            {stride: x.to(self._device) for stride, x in kept.finer.items()},
        )

    def _encode_new(
        self, images: Sequence[np.ndarray | None], samples: Sequence[DetectorSample]
    ) -> EncodedMaps:
        pixels = torch.from_numpy(np.stack([x for x in images if x is not None]))
        normed = self._sam.preprocess(pixels.to(self._device).float())
        for b, sample in enumerate(samples):
            # As in use: the padding is zero once normalised.
            height, width = sample.input_hw
            normed[b, :, height:], normed[b, :, :, width:] = 0, 0
        return encode(self._sam, normed)

    def _save(self) -> None:
        save_state(
            self._state,
            step=self.step,
            fingerprint=self._fingerprint,
            model=self.detector,
            optimizer=self._optimizer,
            average=self._average,
            seconds=self._clock.seconds,
        )
