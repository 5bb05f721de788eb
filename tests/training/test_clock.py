"""Time of a run, with the clock in the test's hands."""

import time

import pytest
import torch

from sa_engine.training.clock import RunClock, WaitedFor
from sa_engine.training.distributed import World


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    at = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: at[0])
    return at


def test_the_horizon_follows_the_speed(now: list[float]):
    clock = RunClock(1.0, World(), torch.device("cpu"))
    clock.start()
    assert clock.horizon(0, 5000) == 5000, "nothing is known yet"
    now[0] += 15
    clock.read()
    assert clock.horizon(50, 5000) == 200
    assert clock.horizon(50, 120) == 120, "there are no more steps"
    assert not clock.is_over()
    now[0] += 45
    clock.read()
    assert clock.is_over()
    assert clock.horizon(230, 5000) == 230


def test_earlier_parts_count(now: list[float]):
    clock = RunClock(1.0, World(), torch.device("cpu"), before=40.0)
    clock.start()
    now[0] += 10
    assert clock.seconds == 50
    clock.read()
    assert not clock.is_over()
    now[0] += 10
    clock.read()
    assert clock.is_over()
    assert RunClock(1.0, World(), torch.device("cpu"), before=60.0).is_over()


def test_without_a_limit_steps_decide(now: list[float]):
    clock = RunClock(None, World(), torch.device("cpu"))
    clock.start()
    now[0] += 1e6
    clock.read()
    assert not clock.is_over()
    assert clock.horizon(10, 300) == 300


def test_waiting_is_measured(now: list[float]):
    def slow():
        for value in "ab":
            now[0] += 2
            yield value

    values = WaitedFor(slow())
    assert next(values) == "a"
    now[0] += 5
    assert next(values) == "b"
    assert values.take() == 4
    assert values.take() == 0
