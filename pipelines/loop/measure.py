"""Measuring models and detectors of a loop on its held-out sets."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa_engine.dataset.reader import Dataset
from sa_engine.detection.boxes import BoxFilter
from sa_engine.detection.file import load_detector
from sa_engine.detection.finder import BoxFinder
from sa_engine.evaluation.boxes import PictureBoxes, box_scores, evaluate_boxes
from sa_engine.evaluation.calibration import calibrate
from sa_engine.evaluation.model_segmenter import ModelSegmenter
from sa_engine.evaluation.points import PointsConfig, Score, evaluate_points
from sa_engine.evaluation.results import write_rows
from sa_engine.evaluation.summary import summarise
from sa_engine.model.checkpoint import load_checkpoint
from sa_engine.model.device import choose_device, choose_precision
from sa_engine.model.predictor import Predictor
from sa_engine.pipelines.loop.bench import Bench
from sa_engine.pipelines.loop.config import (
    HeldOut,
)
from sa_engine.pipelines.loop.parts import GatheredSet, LoopDetector, Model, Scores
from sa_engine.pipelines.loop.steps import (
    Clock,
    Step,
)

BOXES = 100
"""Boxes of an image that a detector is measured by."""


class Judge:
    """Measures at a bench."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def measure_detector(
        self, detector: LoopDetector, sets: Sequence[GatheredSet], *, label: str
    ) -> tuple[float, Step]:
        """Average recall of a detector's first 100 boxes on the held-out sets, mean over sets."""
        max_images = self._bench.config.held_out.max_images
        inputs = {
            "detector": detector.sha256,
            "model": detector.model.sha256,
            "sets": {each.name: each.digest for each in sets},
            "max-images": max_images,
            "precision": self._bench.config.precision,
        }

        def work(_folder: Path, clock: Clock) -> Mapping[str, Any]:
            device = choose_device(self._bench.config.device)
            sam = load_checkpoint(detector.model.path)
            finder = BoxFinder(
                sam,
                load_detector(detector.path, sam),
                device=device,
                precision=choose_precision(self._bench.config.precision, device),
            )
            kept = BoxFilter(max_boxes=BOXES)

            def find(rgb_HW3: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[Any]]:
                found = finder.find(finder.encode(rgb_HW3), kept)
                return found.boxes_xyxy_N4, found.scores_N

            pictures: list[PictureBoxes] = []
            for each in sets:
                dataset = Dataset(each.path)
                for made in evaluate_boxes(
                    dataset, each.name, methods={"detector": find}, max_images=max_images
                ):
                    pictures += made
                    clock.tick()
            found = [each for each in box_scores(pictures) if each.size == "all"]
            return {
                "boxes": {
                    "ar_100": round(fmean(each.ar_100 for each in found), 5),
                    "sets": {each.dataset: round(each.ar_100, 5) for each in found},
                }
            }

        step = self._bench.step("boxes", inputs, work, label)
        return float(step.result["boxes"]["ar_100"]), step

    def measure(
        self, model: Model, sets: Sequence[GatheredSet], *, label: str
    ) -> tuple[Scores, Step]:
        """Play the point protocol on the held-out sets."""
        plan = self._bench.config.held_out
        inputs = {
            "model": model.sha256,
            "sets": {each.name: each.digest for each in sets},
            "protocol": asdict(_points(plan)),
            "precision": self._bench.config.precision,
        }

        def work(folder: Path, clock: Clock) -> Mapping[str, Any]:
            device = choose_device(self._bench.config.device)
            sam = load_checkpoint(model.path, device)
            precision = choose_precision(self._bench.config.precision, device)
            segmenter = ModelSegmenter(Predictor(sam, device, precision))
            scores: list[Score] = []
            for each in sets:
                dataset = Dataset(each.path)
                for made in evaluate_points(
                    dataset, each.name, segmenters=[segmenter], config=_points(plan)
                ):
                    scores += made
                    clock.tick()
            write_rows(folder / "scores.parquet", scores)
            return {"measured": asdict(_measured(scores))}

        step = self._bench.step("measure", inputs, work, label)
        return Scores(**step.result["measured"]), step


def _points(plan: HeldOut) -> PointsConfig:
    return PointsConfig(
        counts=(plan.points,),
        max_images=plan.max_images,
        max_masks=plan.max_masks,
        seed=plan.seed,
    )


def _measured(scores: Sequence[Score]) -> Scores:
    rows = summarise(scores)
    last = rows[-1]
    return Scores(
        own=round(last.own.mean, 5),
        own_low=round(last.own.low, 5),
        own_high=round(last.own.high, 5),
        oracle=round(last.oracle.mean, 5),
        sets={row.dataset: round(row.own.mean, 5) for row in rows if row is not last}
        or {last.dataset: round(last.own.mean, 5)},
        rank=round(calibrate(scores).spearman, 4),
    )
