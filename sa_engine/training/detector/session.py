"""One training run of the detector, from datasets to its file."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from sa_engine.detection.card import DetectorCard
from sa_engine.detection.config import DetectorConfig
from sa_engine.detection.encoder import EMBEDDING_STRIDE, encoder_digest, finer_channels
from sa_engine.detection.file import (
    build_detector,
    embedding_channels,
    net_options,
    read_detector_card,
    read_network,
    save_detector,
)
from sa_engine.detection.network import Detector
from sa_engine.errors import UsageError
from sa_engine.model.sam import Sam
from sa_engine.training.data.feature_bank import FeatureBank, bytes_of_entry
from sa_engine.training.data.mixture import Mixture
from sa_engine.training.data.photos import PhotoSource, usable_records
from sa_engine.training.data.samples import PromptConfig
from sa_engine.training.data.sets import open_sets
from sa_engine.training.detector.config import DetectorTrainConfig
from sa_engine.training.detector.memory import check_detector_memory
from sa_engine.training.detector.report import DetectorReport
from sa_engine.training.detector.source import DetectorSample, DetectorSource
from sa_engine.training.detector.task import DetectorTrainer
from sa_engine.training.distributed import World
from sa_engine.training.metrics import last_reports
from sa_engine.training.options import digest_of, digest_of_file, flat_options
from sa_engine.training.state import STATE_NAME, check_model_file, only_run


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorRequest:
    """What to train, on what, into which file.

    sam: the model whose frozen image encoder the detector stands on, as it was loaded.
    model_name: that model's name. data: datasets, each by its folder's name, and packs.
    weights: by set or by stage; a set without one has the square root of its number of images.
    out: the safetensors file; state and metrics lie beside it, in "<out>.run", and kept maps until
        the run is done.
    init: a detector to start from, of the same network; its encoder may have been another, such as
        that of the round before. None for random weights.
    name: the detector's name on its card. data_workers: processes that prepare samples.
    """

    sam: Sam
    model_name: str
    data: Sequence[Path | str]
    out: Path
    config: DetectorTrainConfig = field(default_factory=DetectorTrainConfig)
    weights: Mapping[str, float] = field(default_factory=dict)
    init: Path | None = None
    name: str = ""
    data_workers: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    world: World = field(default_factory=World)
    tensorboard: bool = False

    @property
    def run_folder(self) -> Path:
        """Where the run keeps its state, its metrics and encoded maps."""
        return self.out.with_name(self.out.name + ".run")


@dataclass(frozen=True, slots=True)
class DetectorData:
    """Sets ready to draw from: their sources and weights; digests by name; a line on each."""

    sources: list[DetectorSource]
    weights: list[float]
    digests: dict[str, str]
    lines: tuple[str, ...]
    bank: FeatureBank | None


def train_detector(
    request: DetectorRequest,
    *,
    report: Callable[[DetectorReport], None] = lambda _: None,
    on_step: Callable[[int], None] = lambda _: None,
) -> DetectorCard:
    """Train, or continue a run that was stopped, and write the detector with its card.

    Everything that can be wrong with the request is found before the first step. A finished
    detector is never written again: its card, which may hold results by now, is returned.

    Raises UsageError for an empty set, an unknown name in the weights, no room for the maps, a
    batch that does not fit, a file that another run or program wrote; TrainingError if training
    cannot go on.
    """
    check_model_file(request.out, request.run_folder / STATE_NAME)
    with only_run(request.run_folder, is_main=request.world.is_main):
        return _train(request, report, on_step)


def _train(
    request: DetectorRequest,
    report: Callable[[DetectorReport], None],
    on_step: Callable[[int], None],
) -> DetectorCard:
    config = request.config
    digest = encoder_digest(request.sam)
    torch.manual_seed(config.seed)
    detector = _start(request)
    check_detector_memory(
        request.sam, detector, config, device=request.device, processes=request.world.size
    )
    data = open_detector_data(request, detector, digest)
    fingerprint = digest_of(
        {
            "config": flat_options(config),
            "data": data.digests,
            "weights": data.weights,
            "encoder": digest,
            "init": None if request.init is None else digest_of_file(request.init),
        }
    )
    trainer = DetectorTrainer(
        request.sam,
        detector,
        Mixture[DetectorSample](data.sources, data.weights, seed=config.seed),
        config=config,
        folder=request.run_folder,
        bank=data.bank,
        world=request.world,
        device=request.device,
        data_workers=request.data_workers,
        fingerprint=fingerprint,
    )
    if trainer.is_finished and request.out.exists():
        if data.bank is not None:
            data.bank.remove()
        return read_detector_card(request.out)
    trainer.run(report=report, on_step=on_step, tensorboard=request.tensorboard)
    recent = last_reports(request.run_folder, DetectorReport)
    card = DetectorCard(
        name=request.name or request.out.stem,
        model=request.model_name,
        variant=request.sam.variant,
        image_size=request.sam.image_size,
        encoder_sha256=digest,
        net=net_options(config.net),
        data=data.lines,
        options=flat_options(config),
        results={
            f"training_{key}": float(np.mean([getattr(r, key) for r in recent]))
            for key in ("loss", "box_iou")
            if recent
        },
    )
    if request.world.is_main:
        detector.load_state_dict(trainer.averaged_weights)
        save_detector(detector, request.out, card)
        if data.bank is not None:
            data.bank.remove()
    return card


def open_detector_data(request: DetectorRequest, detector: Detector, digest: str) -> DetectorData:
    """Open every set and check the weights.

    digest: the encoder's, to which kept maps belong. Raises UsageError with the name at fault.
    """
    config, size = request.config, request.sam.image_size
    if not request.data:
        raise UsageError("no --data; give a dataset with masks")
    opened = open_sets(request.data, request.weights)
    photos = [
        PhotoSource(
            name=name,
            dataset=dataset,
            records=usable_records(dataset, name),
            size=size,
            prompts=PromptConfig(),
            jitter=config.jitter,
            stage_weights=opened.stages,
        )
        for name, dataset in opened.sets.items()
    ]
    digests = {source.name: source.dataset.digest() for source in photos}
    channels = {
        EMBEDDING_STRIDE: embedding_channels(request.sam),
        **{s: c for s, c in finer_channels(request.sam).items() if s >= detector.strides[0]},
    }
    num_pictures = sum(len(source.records) for source in photos)
    fitting = int(config.keep_gib * 2**30 / (num_pictures * bytes_of_entry(channels, size)))
    views = min(config.views, fitting)
    bank = None
    if views:
        # A run with other images, variations or weights has other maps.
        content = [digests, flat_options(config.jitter), config.seed, views, size, digest]
        content.append(config.min_side)
        path = request.run_folder / f"maps-{digest_of(content)[:16]}.bin"
        bank = FeatureBank(
            path, num_entries=num_pictures * views, channels=channels, image_size=size
        )
    sources: list[DetectorSource] = []
    weights: list[float] = []
    lines: list[str] = []
    first = 0
    for source in photos:
        made = DetectorSource(
            photos=source, config=config, views=views, first_entry=first, bank=bank
        )
        first += made.num_entries
        sources.append(made)
        number = len(source.records)
        weights.append(opened.weights.get(source.name, math.sqrt(number)) * source.stage_share())
        masks = sum(not m.iscrowd for r in source.records for m in r.annotations)
        lines.append(
            f"{source.name}: {number} images, {masks} masks, sha256 {digests[source.name]}"
        )
    if sum(weights) <= 0:
        raise UsageError("every set has weight 0; give one of them a weight above 0")
    return DetectorData(sources, weights, digests, tuple(lines), bank)


def _start(request: DetectorRequest) -> Detector:
    """The detector to train: from a file, or random by the seed."""
    net = request.config.net
    if request.init is None:
        return build_detector(net, request.sam)
    start = read_network(request.init, request.sam)
    if start.config != net:
        raise UsageError(
            f"{request.init} has {_network(start.config)}, the run wants {_network(net)}; "
            "give the same options of the network or another --init"
        )
    return start


def _network(config: DetectorConfig) -> str:
    return ", ".join(f"{name} {value}" for name, value in net_options(config).items())
