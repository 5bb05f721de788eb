"""The loop: resumed, killed, in several processes, and stopped when it diverges."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sa_engine.errors import TrainingError, UsageError
from sa_engine.training.clock import RunClock
from sa_engine.training.data.mixture import Mixture
from sa_engine.training.data.samples import PromptConfig
from sa_engine.training.data.scene_source import SceneSource
from sa_engine.training.optim_config import OptimConfig, Schedule
from sa_engine.training.sam.config import TrainConfig
from sa_engine.training.sam.recipes import scratch
from sa_engine.training.sam.report import StepReport
from sa_engine.training.sam.task import SamTrainer
from tests.support.small_sam import small_sam

HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[2])}
SIZE = 32


def config(**changes: Any) -> TrainConfig:
    prompts = PromptConfig(masks_per_image=3, box_probability=0.3)
    small = replace(
        scratch().train, image_size=SIZE, steps=6, batch_images=4, prompts=prompts, drop_path=0.2
    )
    return replace(small, **changes)


def trainer(folder: Path, options: TrainConfig) -> SamTrainer:
    torch.manual_seed(0)
    sam = small_sam(SIZE, drop_path=options.drop_path)
    mixture = Mixture([SceneSource(size=SIZE, prompts=options.prompts)], [1], seed=options.seed)
    return SamTrainer(sam, mixture, config=options, folder=folder)


def test_a_resumed_run_ends_with_the_same_weights(tmp_path: Path):
    whole = trainer(tmp_path / "whole", config())
    whole.run()

    class Stop(Exception):  # noqa: N818 - not an error
        pass

    def stop_at_three(of: SamTrainer) -> None:
        if of.step == 3:
            raise Stop

    first = trainer(tmp_path / "parts", config())
    with pytest.raises(Stop):
        first.run(on_checkpoint=stop_at_three, checkpoint_seconds=0)
    second = trainer(tmp_path / "parts", config())
    assert second.step == 3
    second.run()
    for name, value in whole.task.sam.state_dict().items():
        assert torch.equal(value, second.task.sam.state_dict()[name]), name
    for name, value in whole.averaged_weights.items():
        assert torch.equal(value, second.averaged_weights[name]), name


def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path):
    script = HERE / "killed_run.py"

    def start(folder: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(script), str(folder)], env=ENVIRONMENT)

    assert start(tmp_path / "whole").wait() == 0
    process = start(tmp_path / "killed")
    state = tmp_path / "killed" / "state.pt"
    while process.poll() is None and not state.exists():
        time.sleep(0.02)
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


def test_two_processes_give_the_loss_of_one(tmp_path: Path):
    script = str(HERE / "distributed_run.py")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    for name, command in (("one", [sys.executable]), ("two", launcher)):
        subprocess.run([*command, script, str(tmp_path / name)], check=True, env=ENVIRONMENT)
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert [r["step"] for r in one] == [r["step"] for r in two] == [1, 2, 3]
    for first, second in zip(one, two, strict=True):
        for key in ("loss", "grad_norm", "iou_error"):
            assert first[key] == pytest.approx(second[key], rel=2e-3), (first["step"], key)


def test_gradient_accumulation_gives_the_loss_of_the_whole_batch(tmp_path: Path):
    # One step: later ones see the statistics of smaller batches.
    whole = trainer(tmp_path / "whole", config(steps=1, drop_path=0.0))
    whole.run()
    parts = trainer(tmp_path / "parts", config(steps=1, drop_path=0.0, micro_batch=2))
    parts.run()
    logs = [
        json.loads((tmp_path / name / "metrics.jsonl").read_text()) for name in ("whole", "parts")
    ]
    assert logs[0]["loss"] == pytest.approx(logs[1]["loss"], rel=0.05)


def test_divergence_stops_with_the_last_good_state(tmp_path: Path):
    run = trainer(tmp_path, config())

    def spoil(of: SamTrainer) -> None:
        if of.step == 2:
            with torch.no_grad():
                next(of.task.sam.mask_decoder.parameters()).fill_(float("nan"))

    with pytest.raises(TrainingError, match=r"no longer a number at step 3"):
        run.run(on_checkpoint=spoil, checkpoint_seconds=0)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["step"] == 2
    assert all(v.isfinite().all() for v in state["model"].values() if v.is_floating_point())


def test_the_loss_falls(tmp_path: Path):
    optim = OptimConfig(lr=1e-3, layer_decay=1.0, warmup_steps=5, clip_norm=1.0)
    run = trainer(tmp_path, config(steps=30, optim=optim))
    losses = []
    run.run(report=lambda r: losses.append(r.loss), report_every=1)
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_a_frozen_encoder_stays_as_it_is(tmp_path: Path):
    begun = trainer(tmp_path / "begun", config())
    before = {name: value.clone() for name, value in begun.task.sam.state_dict().items()}
    frozen = trainer(tmp_path / "frozen", config(freeze_encoder=True))
    frozen.run()
    changed = {n for n, v in frozen.task.sam.state_dict().items() if not torch.equal(v, before[n])}
    assert {name.split(".")[0] for name in changed} == {"prompt_encoder", "mask_decoder"}
    for name, value in frozen.averaged_weights.items():
        assert name in changed or torch.equal(value, before[name]), name
    assert frozen.task.sam.training and not frozen.task.sam.image_encoder.training


def test_a_state_of_another_run_is_refused(tmp_path: Path):
    trainer(tmp_path, config(steps=1)).run()
    sam = small_sam(SIZE)
    mixture = Mixture([SceneSource(size=SIZE, prompts=config().prompts)], [1], seed=0)
    with pytest.raises(UsageError, match="other options or data"):
        SamTrainer(sam, mixture, config=config(), folder=tmp_path, fingerprint="other")


def test_a_damaged_state_says_so(tmp_path: Path):
    (tmp_path / "state.pt").write_bytes(b"not a state")
    with pytest.raises(TrainingError, match="delete it to start"):
        trainer(tmp_path, config())


def test_a_batch_that_does_not_divide_names_one_that_does(tmp_path: Path):
    with pytest.raises(UsageError, match="--micro-batch 2"):
        trainer(tmp_path, config(micro_batch=3))


@pytest.fixture
def tenths(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which every look at it takes a tenth of a second."""
    looks = itertools.count()
    monkeypatch.setattr(RunClock, "seconds", property(lambda _: next(looks) / 10))


@pytest.mark.usefixtures("tenths")
def test_a_run_ends_with_its_time_and_its_schedule_with_it(tmp_path: Path):
    optim = OptimConfig(lr=1e-3, warmup_steps=2, schedule=Schedule.COSINE, final_lr_fraction=0.01)
    options = config(steps=100_000, max_minutes=2 / 60, optim=optim)
    run = trainer(tmp_path, options)
    reports: list[StepReport] = []
    run.run(report=reports.append, report_every=1, checkpoint_seconds=1e9)
    assert run.step == 20
    assert reports[-1].step == reports[-1].horizon == 20
    # Near the peak after the warm-up, near the end's share at the end.
    assert max(r.lr for r in reports) > 0.9e-3
    assert reports[-1].lr < 0.1e-3
    assert all(0 <= r.data_wait_share <= 1 for r in reports)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["step"] == 20 and state["seconds"] >= 2
    # Its time is up: the same command again adds nothing.
    again = trainer(tmp_path, options)
    assert again.is_finished
    again.run()
    assert again.step == 20


def test_a_stopped_run_has_the_rest_of_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    options = config(steps=100_000, max_minutes=0.7 / 60)

    class Stop(Exception):  # noqa: N818 - not an error
        pass

    def stop(of: SamTrainer) -> None:
        if of.step == 3:
            raise Stop

    # As the real clock, but that a step takes a tenth of a second.
    monkeypatch.setattr(
        RunClock, "seconds", property(lambda clock: clock._before + max(run.step - begun, 0) / 10)
    )
    run, begun = trainer(tmp_path, options), 0
    with pytest.raises(Stop):
        run.run(on_checkpoint=stop, checkpoint_seconds=0)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["seconds"] == pytest.approx(0.3)
    run, begun = trainer(tmp_path, options), 3
    run.run()
    assert run.step == 7


def test_processes_that_prepare_samples_change_nothing(tmp_path: Path):
    options = config(steps=3)
    alone, helped = trainer(tmp_path / "alone", options), trainer(tmp_path / "helped", options)
    helped._workers = 2
    alone.run()
    helped.run()
    for name, value in alone.task.sam.state_dict().items():
        assert torch.equal(value, helped.task.sam.state_dict()[name]), name
