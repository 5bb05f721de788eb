"""One engine of the everything-mode benchmark, in a process of its own.

Reads one JSON request a line from stdin, answers one JSON line on stdout. A process per engine
keeps peak memory apart; the driver (`automask.py`) asks engines in turn for the same image.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.automask_overhead import overhead
from benchmarks.automask_transformers import transformers_masks, transformers_pipeline
from benchmarks.automask_work import count_work, operators
from sa_engine.automask.config import GeneratorConfig
from sa_engine.automask.generator import MaskGenerator
from sa_engine.automask.steps import StepTimes, TimedStep
from sa_engine.masks.rle import encode
from sa_engine.model.checkpoint import load_checkpoint
from sa_engine.model.crew import one_thread_an_operator
from sa_engine.model.encoders.lite import LiteEncoder
from sa_engine.model.sam import Sam
from sa_engine.model.variants import build_sam
from tests.support.reference import PUBLISHED_PARAMETERS, reference_records, reference_sam

Answer = dict[str, Any]


def load_sam(variant: str, checkpoint: Path, image_size: int | None) -> Sam:
    """The checkpoint, or another encoder with random weights in front of its decoder."""
    sam = load_checkpoint(checkpoint, "cpu", image_size=image_size).eval()
    if sam.variant == variant:
        return sam
    torch.manual_seed(0)
    other = build_sam(variant, sam.image_size).eval()
    other.prompt_encoder.load_state_dict(sam.prompt_encoder.state_dict())
    other.mask_decoder.load_state_dict(sam.mask_decoder.state_dict())
    return other


class Ours:
    """This engine."""

    def __init__(self, sam: Sam, device: torch.device, precision: str) -> None:
        self.sam, self.device, self._precision = sam, device, precision

    def generate(self, rgb_HW3: NDArray[np.uint8], parameters: dict[str, Any]) -> Answer:
        times = StepTimes(self.device)
        generator = MaskGenerator(
            self.sam,
            GeneratorConfig(**parameters),
            device=self.device,
            precision=self._precision,
            times=times,
        )
        begin = time.perf_counter()
        records = generator.generate(rgb_HW3)
        seconds = time.perf_counter() - begin
        s = times.seconds
        return {
            "seconds": seconds,
            "steps": {
                "encode": s[TimedStep.RESIZE] + s[TimedStep.ENCODE],
                "prompt decode": s[TimedStep.PROMPT] + s[TimedStep.DRAW],
                "post-process": seconds
                - sum(
                    s[k]
                    for k in (TimedStep.RESIZE, TimedStep.ENCODE, TimedStep.PROMPT, TimedStep.DRAW)
                ),
            },
            "fine_steps": {step.value: value for step, value in s.items()},
            "masks": [
                {
                    "segmentation": r.segmentation.to_coco(),
                    "predicted_iou": r.predicted_iou,
                    "stability_score": r.stability_score,
                }
                for r in records
            ],
        }


class AsFast(nn.Module):
    """Our image encoder for a peer, with its work divided as the engine divides it."""

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.encoder = sam.image_encoder
        self.img_size = sam.image_size
        self.skips: tuple[torch.Tensor, ...] = ()

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Embeddings of preprocessed images; a lite encoder's skips are kept for the decoder."""
        with one_thread_an_operator(x_BCHW.device):
            out = self.encoder(x_BCHW)
        embedding: torch.Tensor = out
        if isinstance(out, tuple):
            embedding, *skips = out
            self.skips = tuple(skips)
        return embedding


class Reference:
    """`segment-anything` 1.0's generator around our image encoder, with its own decoder."""

    def __init__(self, sam: Sam, device: torch.device) -> None:
        self._model = reference_sam(sam)
        encoder = AsFast(sam)
        self._model.image_encoder = encoder
        if isinstance(sam.image_encoder, LiteEncoder):
            self._model.mask_decoder.output_upscaling.image = encoder
        self._model.to(device).eval()
        self._seconds = {"encode": 0.0, "prompt decode": 0.0}
        self.device = device
        self._time(self._model.image_encoder, "encode")
        self._time(self._model.prompt_encoder, "prompt decode")
        self._time(self._model.mask_decoder, "prompt decode")

    def _time(self, module: nn.Module, step: str) -> None:
        begin: list[float] = []

        def before(*_: Any) -> None:
            self._wait()
            begin.append(time.perf_counter())

        def after(*_: Any) -> None:
            self._wait()
            self._seconds[step] += time.perf_counter() - begin.pop()

        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def generate(self, rgb_HW3: NDArray[np.uint8], parameters: dict[str, Any]) -> Answer:
        known = {k: v for k, v in parameters.items() if k in PUBLISHED_PARAMETERS}
        self._seconds.update(dict.fromkeys(self._seconds, 0.0))
        begin = time.perf_counter()
        records = reference_records(self._model, rgb_HW3, **known)
        seconds = time.perf_counter() - begin
        return {
            "seconds": seconds,
            "steps": {**self._seconds, "post-process": seconds - sum(self._seconds.values())},
            "masks": [
                {k: r[k] for k in ("segmentation", "predicted_iou", "stability_score")}
                for r in records
            ],
        }


class Transformers:
    """`transformers`' pipeline around our image encoder; masks come back as whole pictures."""

    def __init__(self, sam: Sam, device: torch.device) -> None:
        sam.image_encoder = AsFast(sam)
        self._pipe = transformers_pipeline(sam, device)

    def generate(self, rgb_HW3: NDArray[np.uint8], parameters: dict[str, Any]) -> Answer:
        begin = time.perf_counter()
        masks = transformers_masks(self._pipe, rgb_HW3, parameters)
        seconds = time.perf_counter() - begin
        return {
            "seconds": seconds,
            "steps": {},
            "masks": [
                {
                    "segmentation": encode(mask).to_coco(),
                    "predicted_iou": score,
                    "stability_score": None,
                }
                for mask, score in masks
            ],
        }


Engine = Ours | Reference | Transformers


def flat_memory(
    engine: Ours, image: NDArray[np.uint8], parameters: dict[str, Any], n: int
) -> Answer:
    """Resident memory after each of n different images of one size."""
    resident = []
    for shift in range(n):
        engine.generate(np.roll(image, 7 * shift, axis=1), parameters)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resident.append(pages * resource.getpagesize() / 2**30)
    return {"resident_gib": resident}


def engine_on_gpu(engine: Engine) -> bool:
    """Whether it computes on an accelerator."""
    return isinstance(engine, Ours | Reference) and engine.device.type == "cuda"


def device_rate(engine: Engine) -> Answer:
    """Best matrix product of an accelerator in bf16, TFLOP/s."""
    assert isinstance(engine, Ours)
    a = torch.randn(8192, 8192, device=engine.device, dtype=torch.bfloat16)
    best = float("inf")
    for _ in range(10):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        a @ a
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begin)
    return {"matrix_tflops_bf16": 2 * 8192**3 / best / 1e12}


def answer(engine: Engine, request: dict[str, Any]) -> Answer:
    """Do what one request asks."""
    threads = torch.get_num_threads()
    result = device_rate(engine) if "matrix_rate" in request else _measure(engine, request)
    torch.set_num_threads(threads)
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {**result, "peak_gib": peak_gib}


def _measure(engine: Engine, request: dict[str, Any]) -> Answer:
    parameters = request["parameters"]
    if "overhead" in request:
        assert isinstance(engine, Ours)
        generator = MaskGenerator(engine.sam, GeneratorConfig(**parameters), device=engine.device)
        return overhead(generator, request["overhead"], request["repeats"])
    begin = time.perf_counter()
    bgr = cv2.imread(request["image"])
    assert bgr is not None, request["image"]
    rgb = bgr[:, :, ::-1]
    decode_seconds = time.perf_counter() - begin
    if request.get("size_hw"):
        rgb = cv2.resize(rgb, request["size_hw"][::-1], interpolation=cv2.INTER_CUBIC)
    image = np.ascontiguousarray(rgb, dtype=np.uint8)
    if request.get("work"):
        assert isinstance(engine, Ours)
        result = count_work(engine.sam, engine.device, image, parameters)
    elif request.get("profile"):
        assert isinstance(engine, Ours)
        result = operators(engine.sam, engine.device, image, parameters)
    elif request.get("flat"):
        assert isinstance(engine, Ours)
        result = flat_memory(engine, image, parameters, request["flat"])
    else:
        if engine_on_gpu(engine):
            engine.generate(image, parameters)  # kernels are chosen and compiled by shape
        result = engine.generate(image, parameters)
        result["steps"] = {"decode": decode_seconds, **result["steps"]}
    return {**result, "size_hw": image.shape[:2]}


def main() -> None:
    """Serve requests until stdin ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", choices=["ours", "reference", "transformers"], required=True)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    device = torch.device(options.device)
    sam = load_sam(options.variant, options.checkpoint, options.image_size)
    make: dict[str, Callable[[], Engine]] = {
        "ours": lambda: Ours(sam, device, options.precision),
        "reference": lambda: Reference(sam, device),
        "transformers": lambda: Transformers(sam, device),
    }
    engine = make[options.engine]()
    # Libraries set themselves up on first use; no engine's first image pays for it.
    engine.generate(np.zeros((64, 64, 3), np.uint8), asdict(GeneratorConfig(points_per_side=1)))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(engine, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
