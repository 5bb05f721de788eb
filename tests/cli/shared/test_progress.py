"""What stands for a bar where there is no terminal."""

from dataclasses import dataclass

import click
import pytest

from sa_engine.cli.shared.command import GroupedCommand
from sa_engine.cli.shared.progress import Meter, RunBar, StepBar, count, duration
from sa_engine.pipelines.run.events import ImageDone


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_plain_line_every_half_minute(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Meter("auto", clock=clock) as meter:
        meter.begin(100, 20)
        meter.resume(10)
        for _ in range(14):
            clock.now += 5
            meter.step("3.0 masks an image, 1 failed")
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "auto: 36 of 100 images, 5 s each, 3.0 masks an image, 1 failed, 5 min 20 s left",
        "auto: 42 of 100 images, 5 s each, 3.0 masks an image, 1 failed, 4 min 50 s left",
    ]


def test_short_jobs_leave_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Meter("export", total=1000, clock=clock) as meter:
        for done in range(1, 1001):
            clock.now += 0.01
            meter.to(done, 1000)
    assert capsys.readouterr().err == ""


@dataclass(frozen=True)
class Report:
    step: int
    loss: float


def run(arguments: list[str], work: click.Command) -> None:
    work.main(arguments, standalone_mode=False)


def test_quiet_verbose_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    from sa_engine.cli.shared.console import console

    @click.command(cls=GroupedCommand)
    def work() -> None:
        """Work."""
        console().note("loading")
        bar = RunBar("auto")
        bar.begin(2, 0)
        bar.image(ImageDone(1, "a.jpg", 1, None))
        bar.image(ImageDone(2, "b.jpg", 0, "truncated: it ends"))
        steps = StepBar[Report]("train", 20, lambda made: f"loss {made.loss:.1f}")
        steps.report(Report(10, 0.5))
        console().say("2 images")
        console().result({"images": 2, "share": float("nan")})

    run([], work)
    assert capsys.readouterr() == ("2 images\n", "loading\n")
    run(["-q"], work)
    assert capsys.readouterr() == ("2 images\n", "")
    run(["-v"], work)
    lines = ["loading", "a.jpg: 1 mask", "b.jpg: failed: truncated: it ends", "step 10: loss 0.5"]
    assert capsys.readouterr().err.splitlines() == lines
    run(["--json", "-q"], work)
    assert capsys.readouterr().out == '{\n "images": 2,\n "share": null\n}\n'


def test_a_training_by_the_clock_counts_the_steps_that_it_will_have() -> None:
    bar = StepBar[Report]("train", 1_000_000, lambda _: "", horizon=lambda made: made.step + 150)
    bar.report(Report(50, 0.5))
    assert bar._meter.line().startswith("train: 50 of 200 steps")
    bar.report(Report(60, 0.5))
    assert bar._meter.line().startswith("train: 60 of 210 steps")


def test_a_training_counts_from_where_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    bar = StepBar[Report]("train", 100, lambda made: f"loss {made.loss:.1f}")
    assert not bar.has_begun
    bar.step(41)
    assert bar.has_begun
    bar.report(Report(50, 0.5))
    meter = bar._meter
    assert meter.line("loss 0.5").startswith("train: 50 of 100 steps, ")


def test_numbers_and_times_for_people() -> None:
    assert [count(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
    assert count(2, "box has", "boxes have") == "2 boxes have"
    assert [duration(s) for s in (8.5, 125, 12000)] == ["8.5 s", "2 min 5 s", "3 h 20 min"]
