"""Runs a loop again and again, each time dying a little later, until it comes to its end.

Arguments: the config, the loop's folder. Prints how often it died. One process loads the engine;
the runs are its forks.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sa_engine.pipelines.loop import steps
from sa_engine.pipelines.loop.bench import Watcher
from sa_engine.pipelines.loop.reading import read_loop
from sa_engine.pipelines.loop.rounds import run_loop
from sa_engine.pipelines.loop.steps import Step

torch.set_num_threads(1)


class Doom(Watcher):
    """Counts whatever happens, and kills its process without warning at the last count."""

    def __init__(self, moments: int) -> None:
        self.left = moments

    def pass_by(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def begin(self, label: str) -> None:
        self.pass_by()

    def training(self, steps: int) -> Callable[[Any], None]:
        self.pass_by()
        return lambda _: self.pass_by()

    def done(self, label: str, step: Step, *, made: bool) -> None:
        self.pass_by()


def run(moments: int) -> None:
    doom = Doom(moments)
    module: Any = steps
    write = module.write_synced

    def write_and_pass(path: Path, data: bytes) -> None:
        # Twice: before anything is written, and when it is written but does not count yet.
        doom.pass_by()
        write(path, data)
        doom.pass_by()

    module.write_synced = write_and_pass
    run_loop(read_loop(Path(sys.argv[1]), out=Path(sys.argv[2])), watcher=doom)


deaths = 0
while True:
    child = os.fork()
    if child == 0:
        run(4 + 5 * deaths)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        sys.stdout.write(f"{deaths}\n")
        sys.exit(os.WEXITSTATUS(status))
    deaths += 1
