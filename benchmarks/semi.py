"""What proposals cost beside the image encoder's time: `semi` an image, part by part.

    python -m benchmarks.semi --images PHOTO [PHOTO ...] --detector detector.safetensors
    python -m benchmarks.semi --images PHOTO ... --variant vit_b --image-size 1024 --boxes 20

The first form takes real weights and their thresholds. The second builds a model and a detector of
random weights, as time does not depend on them, and lets so many boxes of an image prompt; every
mask then goes all the way. Times are medians over rounds, images in turn, in one process with all
threads that it is given (`OMP_NUM_THREADS`). The result is written beside this script, to
`results/semi.json`, under a name for each configuration.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.provenance import commit, processor, today
from sa_engine.automask.proposal_config import ProposalConfig, resolve_proposals
from sa_engine.automask.proposer import Proposer
from sa_engine.dataset.images.reading import read_image
from sa_engine.detection.config import DetectorConfig
from sa_engine.detection.file import build_detector, load_detector, read_detector_card
from sa_engine.detection.network import Detector
from sa_engine.model.checkpoint import load_checkpoint, read_card
from sa_engine.model.framing import resize_to_input
from sa_engine.model.sam import Sam
from sa_engine.model.sizes import VARIANTS
from sa_engine.model.variants import build_sam
from sa_engine.model.weights import bundled_model
from sa_engine.version import __version__

RESULTS = Path(__file__).resolve().parent / "results" / "semi.json"


def real(options: argparse.Namespace) -> tuple[str, Sam, Detector, ProposalConfig]:
    """Weights with the thresholds that their cards recommend."""
    checkpoint = options.checkpoint or bundled_model()
    sam, card = load_checkpoint(checkpoint), read_card(checkpoint)
    config = resolve_proposals(
        recommended={
            "box_score_thresh": read_detector_card(options.detector).box_score_thresh,
            "pred_iou_thresh": card.pred_iou_thresh,
            "stability_score_thresh": card.stability_score_thresh,
        },
        options={"box_score_thresh": options.box_score_thresh},
    )
    name = f"{card.name}, {sam.image_size} px, its detector"
    return name, sam, load_detector(options.detector, sam), config


def random_weights(options: argparse.Namespace) -> tuple[str, Sam, Detector, ProposalConfig]:
    """A model and a detector of random weights; every box makes a mask."""
    torch.manual_seed(0)
    sam = build_sam(options.variant, options.image_size).eval()
    config = ProposalConfig(
        box_score_thresh=0.0,
        box_nms_thresh=1.0,
        max_boxes=options.boxes,
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
        box_fit_thresh=0.0,
        max_mask_area_ratio=1.0,
        mask_nms_thresh=1.0,
    )
    name = f"{options.variant}, {options.image_size} px, {options.boxes} boxes"
    return name, sam, build_detector(DetectorConfig(), sam).eval(), config


def timed(work: Any) -> tuple[float, Any]:
    """Seconds of a call, and what it gives."""
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


@torch.inference_mode()
def encode_alone(sam: Sam, rgb_HW3: NDArray[np.uint8]) -> None:
    """What the encoder does to an image, whoever asks for it."""
    small = resize_to_input(rgb_HW3, sam.image_size)
    sam.encode_image(sam.preprocess(torch.tensor(small).permute(2, 0, 1).float())[None])


def main() -> None:
    """Measure one configuration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", nargs="+", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--detector", type=Path)
    parser.add_argument("--box-score-thresh", type=float)
    parser.add_argument("--variant", choices=VARIANTS)
    parser.add_argument("--image-size", type=int, default=1024)
    parser.add_argument("--boxes", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if (options.detector is None) == (options.variant is None):
        parser.error("give --detector for real weights, or --variant for random ones")
    name, sam, detector, config = (real if options.detector else random_weights)(options)
    proposer = Proposer(sam, detector, config)
    files = [path.read_bytes() for path in options.images]
    seconds: dict[str, list[float]] = {"read": [], "encoder": [], "proposer": []}
    masks: list[int] = []
    for turn in range(options.rounds + 1):
        for data in files:
            read, image = timed(lambda data=data: read_image(data))
            encoder, _ = timed(lambda image=image: encode_alone(sam, image.rgb_HW3))
            whole, made = timed(lambda image=image: proposer.propose(image.rgb_HW3))
            # The first round warms up.
            if turn:
                for key, value in zip(seconds, (read, encoder, whole), strict=True):
                    seconds[key].append(value)
                masks.append(len(made))
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    total = medians["read"] + medians["proposer"]
    result = {
        "read_s": medians["read"],
        "encoder_s": medians["encoder"],
        "proposer_s": medians["proposer"],
        "semi_over_encoder": total / medians["encoder"],
        "masks_an_image": statistics.mean(masks),
        "images": len(files),
        "rounds": options.rounds,
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "machine": processor(),
        "torch": torch.__version__,
        "engine": __version__,
        "commit": commit(),
        "date": today(),
    }
    every = json.loads(options.out.read_text()) if options.out.exists() else {}
    every[name] = result
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(every, indent=1, sort_keys=True) + "\n")
    print(
        f"{name}: encoder {medians['encoder']:.3f} s, read {medians['read']:.3f} s, with boxes and "
        f"{result['masks_an_image']:.1f} masks {medians['proposer']:.3f} s an image: "
        f"{result['semi_over_encoder']:.2f} times the encoder"
    )


if __name__ == "__main__":
    main()
