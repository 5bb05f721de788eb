"""The process that encodes images, so that clicks share no interpreter with it.

`python -m sa_engine.annotate.models.encoder <descriptor>`: jobs come and answers go through that
socket; it ends when the socket does.
"""

import os
import resource
import signal
import sys
from multiprocessing.connection import Connection

import numpy as np
import torch
from numpy.typing import NDArray

from sa_engine.annotate.models.embedding_file import write_embedding
from sa_engine.annotate.models.encode_job import Job, Outcome
from sa_engine.dataset.images.reading import read_rgb
from sa_engine.dataset.sources.listing import read_source_bytes
from sa_engine.errors import SaEngineError
from sa_engine.model.checkpoint import load_checkpoint
from sa_engine.model.device import choose_device, choose_precision
from sa_engine.model.predictor import Predictor

_MODELS = 2
_IMAGES = 2
_NICE = 10


class _Bench:
    """Models and images that were used last."""

    def __init__(self) -> None:
        self._models: dict[str, Predictor] = {}
        self._images: dict[str, NDArray[np.uint8]] = {}

    def work(self, job: Job) -> None:
        predictor = self._predictor(job)
        rgb = self._image(job)
        x, y, w, h = job.frame.rect
        predictor.set_image(np.ascontiguousarray(rgb[y : y + h, x : x + w]))
        write_embedding(job.target, predictor.embedding, model=job.frame.model)

    def _predictor(self, job: Job) -> Predictor:
        found = self._models.pop(job.frame.model, None)
        if found is None:
            device = choose_device(job.device)
            precision = choose_precision(job.precision, device)
            found = Predictor(load_checkpoint(job.checkpoint), device, precision)
            while len(self._models) >= _MODELS:
                self._models.pop(next(iter(self._models)))
        self._models[job.frame.model] = found
        return found

    def _image(self, job: Job) -> NDArray[np.uint8]:
        found = self._images.pop(job.frame.image, None)
        if found is None:
            found = read_rgb(read_source_bytes(job.source), max_pixels=job.max_pixels)
            while len(self._images) >= _IMAGES:
                self._images.pop(next(iter(self._images)))
        self._images[job.frame.image] = found
        return found


def main(descriptor: int) -> None:
    """Take jobs until the other side is gone."""
    # The terminal's Ctrl-C is for the server, which ends us by closing the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICE)
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) - 1))
    bench = _Bench()
    with Connection(descriptor) as server:
        while True:
            try:
                job = server.recv()
            except (EOFError, ConnectionError):
                return
            before = _cpu_s()
            error = None
            try:
                bench.work(job)
            except (SaEngineError, OSError, RuntimeError, ValueError) as failure:
                error = str(failure) or type(failure).__name__
            try:
                server.send(Outcome(error, _cpu_s() - before))
            except ConnectionError:
                return


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(int(sys.argv[1]))
