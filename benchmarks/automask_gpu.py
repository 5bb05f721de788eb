"""Everything mode on a GPU: milliseconds an image, by model and step.

    python benchmarks/automask_gpu.py PACK --checkpoint lite2.safetensors --out rows.json

Images come from a pack (`sa-engine train pack`), enlarged to 1500 px as SA-1B's are. Models of
published sizes have random weights; so that they have as much to measure and to suppress as a
trained one, about a tenth of all masks is let through. Each row is the median over images of one
process, after a warm-up; steps are measured in a second pass, which waits at each of them.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sa_engine.automask.generator import MaskGenerator
from sa_engine.automask.steps import StepTimes
from sa_engine.model.card import ModelCard
from sa_engine.model.checkpoint import load_checkpoint
from sa_engine.model.predictor import Predictor
from sa_engine.model.sam import Sam
from sa_engine.model.variants import build_sam
from sa_engine.training.data.pack import read_pack

KEPT_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Row:
    """One model's figures.

    ms, images_per_s: median over images of the whole, and its inverse. masks: mean an image.
    encode_ms: of the image encoder alone, resizing included. steps_ms: mean by step, which adds up
    to more than `ms`, as the device is waited for at each. peak_gib: of the device's memory.
    """

    model: str
    image_size: int
    precision: str
    ms: float
    images_per_s: float
    masks: float
    encode_ms: float
    steps_ms: dict[str, float]
    peak_gib: float


def main() -> None:
    options = _options()
    device = torch.device(options.device)
    images = _images(options.pack, options.images, options.longest_side)
    print(f"{_name(device)}, PyTorch {torch.__version__}, {len(images)} images", flush=True)
    models: list[tuple[str, Callable[[], Sam]]] = []
    if options.checkpoint is not None:
        models.append((options.checkpoint.stem, lambda: load_checkpoint(options.checkpoint)))
    for variant in filter(None, options.variants.split(",")):
        models.append((variant, partial(_random, variant, options.image_size, device)))
    rows = []
    for name, build in models:
        begun = time.monotonic()
        try:
            rows.append(_measure(name, build(), images, options, device))
        except (RuntimeError, ValueError) as error:
            # The other rows are worth having.
            print(f"{name}: {error}", flush=True)
            continue
        print(f"{json.dumps(asdict(rows[-1]))} in {time.monotonic() - begun:.0f} s", flush=True)
        options.out.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
        if device.type == "cuda":
            torch.cuda.empty_cache()
    print("\n" + _table(rows))


def _measure(
    name: str,
    sam: Sam,
    images: Sequence[NDArray[np.uint8]],
    options: argparse.Namespace,
    device: torch.device,
) -> Row:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    thresholds: dict[str, Any] = {}
    if sam.card is None:
        thresholds = {"pred_iou_thresh": _threshold(sam, images[0], device)}
        thresholds |= {"stability_score_thresh": 0.0, "box_nms_thresh": 0.7}
    generator = MaskGenerator(sam, device=device, precision=options.precision, **thresholds)
    masks: list[int] = []

    def generate(image: NDArray[np.uint8]) -> None:
        masks.append(len(generator.generate(image)))

    whole = _median_ms(generate, images, options.seconds, device)
    predictor = Predictor(sam, device, next(sam.mask_decoder.parameters()).dtype)
    encode = _median_ms(predictor.set_image, images, options.seconds / 3, device)
    times = StepTimes(device)
    timed = MaskGenerator(sam, times=times, **thresholds)
    for image in images[:3]:
        timed.generate(image)
    return Row(
        model=name,
        image_size=sam.image_size,
        precision=str(next(sam.mask_decoder.parameters()).dtype).removeprefix("torch."),
        ms=round(whole, 1),
        images_per_s=round(1000 / whole, 1),
        masks=round(statistics.mean(masks), 1),
        encode_ms=round(encode, 1),
        steps_ms={
            step.value: round(1000 * seconds / len(images[:3]), 1)
            for step, seconds in times.seconds.items()
        },
        peak_gib=round(torch.cuda.max_memory_allocated() / 2**30, 2)
        if device.type == "cuda"
        else 0.0,
    )


def _median_ms(
    use: Callable[[NDArray[np.uint8]], object],
    images: Sequence[NDArray[np.uint8]],
    seconds: float,
    device: torch.device,
) -> float:
    """Median milliseconds an image, over as many as fit into the time, two for warm-up."""
    taken: list[float] = []
    begun = time.perf_counter()
    while len(taken) < 5 or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        use(images[len(taken) % len(images)])
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(1000 * (time.perf_counter() - start))
    return statistics.median(taken[2:])


def _random(variant: str, image_size: int, device: torch.device) -> Sam:
    torch.manual_seed(0)
    with device:
        sam = build_sam(variant, image_size)
    return sam.to(device).eval()


@torch.inference_mode()
def _threshold(sam: Sam, image: NDArray[np.uint8], device: torch.device) -> float:
    """The predicted IoU that a tenth of a grid's masks exceed, in [0, 1]."""
    predictor = Predictor(sam, device)
    predictor.set_image(image)
    height, width = image.shape[:2]
    places = np.stack(np.meshgrid(np.linspace(0.1, 0.9, 6), np.linspace(0.1, 0.9, 6)), -1)
    found = [
        predictor.predict(points_xy=[xy], labels=[1]).iou
        for xy in places.reshape(-1, 2) * (width, height)
    ]
    # A head of random weights says numbers around 0; shifted, they are those of a trained one.
    level = float(np.quantile(np.concatenate(found), 1 - KEPT_SHARE))
    last = sam.mask_decoder.iou_prediction_head.layers[-1]
    assert isinstance(last, nn.Linear)
    last.bias.data += 0.5 - level
    sam.card = ModelCard(name="random", variant=sam.variant, image_size=sam.image_size)
    return 0.5


def _images(path: Path, count: int, longest_side: int) -> list[NDArray[np.uint8]]:
    """Images spread over a pack's first set, enlarged."""
    images_of = next(iter(read_pack(path).sets.values()))
    records = list(images_of.images())
    made = []
    for record in records[:: max(1, len(records) // count)][:count]:
        rgb = images_of.read_rgb(record)
        scale = longest_side / max(rgb.shape[:2])
        large = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        made.append(np.asarray(large, dtype=np.uint8))
    return made


def _table(rows: Sequence[Row]) -> str:
    lines = ["| model | px | precision | ms an image | images/s | encoder, ms | masks | GiB |"]
    lines += ["| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |"]
    for r in rows:
        lines.append(
            f"| {r.model} | {r.image_size} | {r.precision} | {r.ms} | {r.images_per_s} | "
            f"{r.encode_ms} | {r.masks} | {r.peak_gib} |"
        )
    return "\n".join(lines)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name() if device.type == "cuda" else str(device)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pack", type=Path)
    parser.add_argument("--checkpoint", type=Path, help="a trained model's weights")
    parser.add_argument("--variants", default="vit_t,vit_h", help="models with random weights")
    parser.add_argument("--image-size", type=int, default=1024, help="input of these, pixels")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--longest-side", type=int, default=1500)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each row")
    parser.add_argument("--out", type=Path, default=Path("rows.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
