"""The detector's loop: resumed, killed, in two processes, stopped when it diverges."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from sa_engine.dataset.reader import Dataset
from sa_engine.detection.config import DetectorConfig
from sa_engine.detection.encoder import encode
from sa_engine.detection.file import build_detector
from sa_engine.errors import TrainingError, UsageError
from sa_engine.training.clock import RunClock
from sa_engine.training.data.feature_bank import FeatureBank
from sa_engine.training.data.mixture import Mixture
from sa_engine.training.data.photos import PhotoSource, usable_records
from sa_engine.training.data.samples import PromptConfig
from sa_engine.training.detector.config import DetectorOptimConfig, DetectorTrainConfig
from sa_engine.training.detector.memory import check_detector_memory
from sa_engine.training.detector.report import DetectorReport
from sa_engine.training.detector.source import DetectorSample, DetectorSource
from sa_engine.training.detector.task import DetectorTrainer
from sa_engine.training.distributed import World
from tests.support.scene_datasets import write_scenes
from tests.support.small_sam import small_sam

HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[2])}


def trainer(
    folder: Path,
    *,
    steps: int = 6,
    views: int = 2,
    world: World | None = None,
    lr: float = 2e-3,
    max_minutes: float | None = None,
) -> DetectorTrainer:
    """A small detector on scenes that are written into the folder."""
    scenes = folder / "scenes"
    if not scenes.exists():
        write_scenes(scenes, range(3))
    torch.manual_seed(0)
    sam = small_sam(32).eval()
    config = DetectorTrainConfig(
        steps=steps,
        max_minutes=max_minutes,
        batch_images=4,
        views=views,
        net=DetectorConfig(channels=8, head_layers=1),
        optim=DetectorOptimConfig(warmup_steps=2, lr=lr),
    )
    detector = build_detector(config.net, sam)
    dataset = Dataset(scenes)
    photos = PhotoSource(
        name="scenes",
        dataset=dataset,
        records=usable_records(dataset, "scenes"),
        size=32,
        prompts=PromptConfig(),
        jitter=config.jitter,
    )
    bank = None
    if views:
        bank = FeatureBank(
            folder / "maps.bin",
            num_entries=3 * views,
            channels={4: 32, 8: 48, 16: 64},
            image_size=32,
        )
    source = DetectorSource(photos=photos, config=config, views=views, bank=bank)
    mixture = Mixture[DetectorSample]([source], [1], seed=0)
    return DetectorTrainer(
        sam, detector, mixture, config=config, folder=folder, bank=bank, world=world
    )


class Stop(Exception):  # noqa: N818 - not an error
    """Stops a run from outside."""


@pytest.mark.parametrize("views", [0, 2])
def test_a_resumed_run_ends_with_the_same_weights(tmp_path: Path, views: int):
    whole = trainer(tmp_path / "whole", views=views)
    whole.run()

    def stop_at_three(of: DetectorTrainer) -> None:
        if of.step == 3:
            raise Stop

    with pytest.raises(Stop):
        trainer(tmp_path / "parts", views=views).run(
            on_checkpoint=stop_at_three, checkpoint_seconds=0
        )
    second = trainer(tmp_path / "parts", views=views)
    assert second.step == 3
    second.run()
    for name, value in whole.task.detector.state_dict().items():
        assert torch.equal(value, second.task.detector.state_dict()[name]), name
    for name, value in whole.averaged_weights.items():
        assert torch.equal(value, second.averaged_weights[name]), name


def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path):
    for name in ("whole", "killed"):
        write_scenes(tmp_path / name / "scenes", range(3))

    def start(folder: Path) -> subprocess.Popen[bytes]:
        script = HERE / "killed_run.py"
        return subprocess.Popen([sys.executable, str(script), str(folder)], env=ENVIRONMENT)

    assert start(tmp_path / "whole").wait() == 0
    process = start(tmp_path / "killed")
    state = tmp_path / "killed" / "state.pt"
    while process.poll() is None and not state.exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert torch.load(state, weights_only=True)["step"] < 12
    assert start(tmp_path / "killed").wait() == 0
    whole, killed = (
        torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("whole", "killed")
    )
    assert whole["step"] == killed["step"] == 12
    for kind in ("model", "average"):
        for name, value in whole[kind].items():
            assert torch.equal(value, killed[kind][name]), name


def test_divergence_stops_with_the_last_good_state(tmp_path: Path):
    run = trainer(tmp_path)

    def spoil(of: DetectorTrainer) -> None:
        if of.step == 2:
            with torch.no_grad():
                of.task.detector.scales.fill_(float("nan"))

    with pytest.raises(TrainingError, match="no longer a number at step 3"):
        run.run(on_checkpoint=spoil, checkpoint_seconds=0)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["step"] == 2
    assert all(value.isfinite().all() for value in state["model"].values())


def test_the_encoder_stays_as_it_is_and_the_loss_falls(tmp_path: Path):
    run = trainer(tmp_path, steps=40, lr=3e-2)
    picture = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        before = encode(run.task.sam, picture).embedding.coarse_BCHW
    losses = []
    run.run(report=lambda made: losses.append(made.loss), report_every=1)
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    with torch.no_grad():
        assert torch.equal(encode(run.task.sam, picture).embedding.coarse_BCHW, before)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 41))


def test_a_batch_that_does_not_divide_names_one_that_does(tmp_path: Path):
    with pytest.raises(UsageError, match="give --batch-images 3"):
        trainer(tmp_path, world=World(rank=0, size=3))


def test_the_batch_that_fits_is_named(monkeypatch: pytest.MonkeyPatch):
    sam = small_sam(32).eval()
    config = DetectorTrainConfig(batch_images=10**6)
    detector = build_detector(config.net, sam)
    cpu = torch.device("cpu")
    monkeypatch.setattr("sa_engine.training.detector.memory.available_bytes", lambda _: 64 * 2**20)
    with pytest.raises(UsageError, match=r"1000000 images at once .* give --batch-images \d\d"):
        check_detector_memory(sam, detector, config, device=cpu)
    monkeypatch.setattr("sa_engine.training.detector.memory.available_bytes", lambda _: 1000.0)
    with pytest.raises(UsageError, match="not even one fits"):
        check_detector_memory(sam, detector, config, device=cpu)


def test_a_run_ends_with_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    looks = itertools.count()
    monkeypatch.setattr(RunClock, "seconds", property(lambda _: next(looks) / 10))
    run = trainer(tmp_path, steps=100_000, max_minutes=1.2 / 60)
    reports: list[DetectorReport] = []
    run.run(report=reports.append, report_every=1, checkpoint_seconds=1e9)
    assert run.step == reports[-1].horizon == 12 and run.is_finished
    assert reports[-1].lr < 0.2 * max(made.lr for made in reports)
    again = trainer(tmp_path, steps=100_000, max_minutes=1.2 / 60)
    assert again.is_finished and again.step == 12
    with pytest.raises(ValueError, match="max_minutes is -1"):
        DetectorTrainConfig(max_minutes=-1)
