"""A signal that asks to stop ends a command with 130, whenever it comes and however often."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Run, command_line, environment

SMALL = ("--points-per-side", "3", "--precision", "fp32", "--checkpoint")


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for seed in range(6):
        pixels = np.random.default_rng(seed).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}.png")
    return folder


def caught(pid: int) -> bool:
    """Whether a process handles SIGTERM."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = re.search(r"SigCgt:\s*([0-9a-f]+)", status)
    return mask is not None and bool(int(mask[1], 16) >> (signal.SIGTERM - 1) & 1)


def start(arguments: list[str | Path], tmp_path: Path) -> subprocess.Popen[str]:
    """The command in a session of its own, as soon as it handles signals."""
    process = subprocess.Popen(
        command_line(*arguments),
        cwd=tmp_path,
        env=environment(),
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not caught(process.pid):
        assert process.poll() is None
        time.sleep(0.002)
    return process


@pytest.mark.parametrize(
    ("number", "after", "to_all"),
    [
        ("SIGTERM", 0.0, False),  # while it imports
        ("SIGTERM", 0.0, True),
        ("SIGUSR1", 0.6, True),
        ("SIGHUP", 1.5, True),
        ("SIGUSR2", 3.0, False),  # workers start, or work
        ("SIGTERM", 4.0, True),
        ("SIGINT", 2.5, True),
        ("SIGXCPU", 5.0, True),
    ],
)
def test_a_signal_ends_the_command_with_130(
    tmp_path: Path, photographs: Path, small_model: Path, number: str, after: float, to_all: bool
) -> None:
    with start(
        ["auto", "--images", photographs, "--out", "out", *SMALL, small_model], tmp_path
    ) as process:
        time.sleep(after)
        send = os.killpg if to_all else os.kill
        # Schedulers repeat themselves; a person who presses Ctrl-C again means at once.
        for _ in range(1 if number == "SIGINT" else 3):
            if process.poll() is None:
                send(process.pid, getattr(signal, number))
            time.sleep(0.05)
        said = process.communicate(timeout=120)[1]
        assert process.returncode in (130, 0 if after >= 2 else 130), said
        assert "Traceback" not in said
        assert process.returncode == 0 or "Interrupted" in said


def test_a_signal_inside_exec_ends_with_the_status_too(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("""
import signal
from sa_engine.pipelines.run.signals import exit_undisturbed, interrupt_on_signals

interrupt_on_signals()
try:
    exec("signal.raise_signal(signal.SIGUSR1); [0 for _ in range(9)]")
except KeyboardInterrupt:
    exit_undisturbed(130)
""")
    ended = subprocess.run([sys.executable, "-m", "program"], cwd=tmp_path, check=False)
    assert ended.returncode == 130


def test_a_signal_that_is_swallowed_still_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("""
import signal
import sys
from sa_engine.pipelines.run.signals import interrupt_on_signals, stop_on_signals

interrupt_on_signals()
with stop_on_signals() as stop:
    assert not stop()
try:
    signal.raise_signal(signal.SIGHUP)  # as in a package that expects no such thing of an import
except BaseException:
    pass
with stop_on_signals() as stop:
    sys.exit(7 if stop() else 0)
""")
    ended = subprocess.run([sys.executable, "-m", "program"], cwd=tmp_path, check=False)
    assert ended.returncode == 7


def test_what_was_stopped_goes_on(
    tmp_path: Path, photographs: Path, small_model: Path, sa_engine: Run
) -> None:
    command: list[str | Path] = [
        "auto",
        "--images",
        photographs,
        "--out",
        "out",
        *SMALL,
        small_model,
    ]
    for _ in range(2):
        with start(command, tmp_path) as process:
            time.sleep(1.0)
            os.killpg(process.pid, signal.SIGUSR1)
            process.communicate(timeout=120)
    done = sa_engine(*command)
    assert done.returncode == 0 and "6 images" in done.stdout
    assert sa_engine("verify", "out").returncode == 0


def test_nohup_is_respected(tmp_path: Path, photographs: Path, small_model: Path) -> None:
    options: list[str | Path] = [
        "--checkpoint",
        small_model,
        "--points-per-side",
        "2",
        "--precision",
        "fp32",
    ]
    command = command_line("auto", "--images", photographs, "--out", "out", *options)
    with subprocess.Popen(
        ["nohup", *command], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        while not caught(process.pid):
            time.sleep(0.002)
        process.send_signal(signal.SIGHUP)
        said = process.communicate(timeout=120)[1]
        assert process.returncode == 0, said
