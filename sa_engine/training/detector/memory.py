"""Whether a batch of the detector's training fits, found out before any time is spent."""

import torch

from sa_engine.detection.encoder import encode
from sa_engine.detection.network import Detector
from sa_engine.errors import UsageError
from sa_engine.model.sam import Sam
from sa_engine.training.available import available_bytes
from sa_engine.training.detector.config import DetectorTrainConfig
from sa_engine.training.sam.memory import kept_bytes

_SLACK = 2.0
"""Measured bytes are those kept for the backward pass; it needs some of its own, as do the losses'
tables of objects by places."""


def check_detector_memory(
    sam: Sam,
    detector: Detector,
    config: DetectorTrainConfig,
    *,
    device: torch.device,
    processes: int = 1,
) -> None:
    """Raise UsageError, with the batch that fits, if a step needs more memory than there is.

    processes: that train at once; on a CPU they share its memory.
    """
    own = max(1, config.batch_images // processes)
    sharing = processes if device.type == "cpu" else 1
    available = available_bytes(device) / sharing
    size = sam.image_size
    with torch.no_grad():
        encoded = encode(sam.eval(), torch.zeros(1, 3, size, size, device=sam.device))
    maps = [encoded.embedding.coarse_BCHW, *encoded.finer.values()]

    def answer() -> object:
        return detector(encoded)

    each = kept_bytes(detector, answer) + sum(4 * x.numel() for x in maps)
    each = int(each * _SLACK)
    fixed = 5 * sum(4 * p.numel() for p in detector.parameters())
    if fixed + own * each <= available:
        return
    fits = int((available - fixed) // each) * processes
    advice = (
        f"give --batch-images {fits}"
        if fits >= 1
        else "not even one fits; give fewer --channels or a larger --finest-stride"
    )
    raise UsageError(
        f"{own} images at once need about {(fixed + own * each) / 2**30:.1f} GiB and "
        f"{available / 2**30:.1f} GiB are free for each process; {advice}"
    )
