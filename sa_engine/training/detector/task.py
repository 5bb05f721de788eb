"""What the training of the box detector learns by."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sa_engine.detection.boxes import inside
from sa_engine.detection.encoder import EncodedMaps, encode
from sa_engine.detection.network import Detector
from sa_engine.model.sam import Sam
from sa_engine.training.data.feature_bank import FeatureBank
from sa_engine.training.data.mixture import Mixture
from sa_engine.training.detector.config import DetectorTrainConfig
from sa_engine.training.detector.losses import detector_loss
from sa_engine.training.detector.report import DetectorReport
from sa_engine.training.detector.source import DetectorSample
from sa_engine.training.distributed import World
from sa_engine.training.metrics import Pace
from sa_engine.training.optimizer import build_optimizer
from sa_engine.training.trainer import Trainer, micro_batch


class DetectorTask:
    """`detector` on the maps of a frozen model's encoder.

    bank: keeps encoded maps; None to keep none.
    """

    figures = 5

    def __init__(
        self,
        sam: Sam,
        detector: Detector,
        config: DetectorTrainConfig,
        *,
        bank: FeatureBank | None,
        device: torch.device,
    ) -> None:
        self.sam = sam.to(device).eval()
        self.detector = detector.to(device)
        self._config, self._bank, self._device = config, bank, device

    @property
    def trained(self) -> Detector:
        """The detector."""
        return self.detector

    @property
    def shipped(self) -> Detector:
        """The detector."""
        return self.detector

    def stack(self, samples: list[DetectorSample]) -> list[DetectorSample]:
        """As they are: some of them have no pixels."""
        return samples

    def play(self, batch: list[DetectorSample], *, step: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002 - a step is like another
        """The loss of a batch, and its figures as one of so many batches."""
        answers = self.detector(self._encode(batch))
        usable = torch.stack([inside(answers.places, s.input_hw) for s in batch])
        objects = [torch.from_numpy(s.boxes_G4).to(self._device) for s in batch]
        found = detector_loss(answers, objects, usable_BL=usable, config=self._config.losses)
        number = sum(len(s.boxes_G4) for s in batch) / len(batch)
        sums = [found.loss.detach(), found.score_loss, found.box_loss, found.box_iou]
        more = torch.tensor([number, 1.0]).to(self._device, non_blocking=True)
        return found.loss, torch.cat([torch.stack(sums), more])

    def report(self, means: list[float], pace: Pace) -> DetectorReport:
        """The report of some steps."""
        loss, score, box, iou, objects = means
        return DetectorReport(
            loss=loss,
            score_loss=score,
            box_loss=box,
            box_iou=iou,
            objects=objects,
            **asdict(pace),
        )

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
        normed = self.sam.preprocess(pixels.to(self._device).float())
        for b, sample in enumerate(samples):
            # As in use: the padding is zero once normalised.
            height, width = sample.input_hw
            normed[b, :, height:], normed[b, :, :, width:] = 0, 0
        return encode(self.sam, normed)


class DetectorTrainer(Trainer[DetectorSample, list[DetectorSample], DetectorReport]):
    """Trains `detector` in place on a frozen model's encoder; the arguments as of `Trainer`.

    bank: keeps encoded maps; None to keep none.
    Raises UsageError also for a batch that does not divide.
    """

    task: DetectorTask

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
        world, device = world or World(), device or torch.device("cpu")
        super().__init__(
            DetectorTask(sam, detector, config, bank=bank, device=device),
            mixture,
            config=config,
            optimizer=build_optimizer(detector, config.optim),
            folder=folder,
            micro=micro_batch(config.batch_images, world.size),
            world=world,
            device=device,
            data_workers=data_workers,
            fingerprint=fingerprint,
        )
