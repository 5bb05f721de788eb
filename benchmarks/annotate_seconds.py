"""Seconds a mask of a scripted annotator: clicks answered by the model, against the brush alone.

    python -m benchmarks.annotate_seconds --data DIR --out benchmarks/results/annotate-seconds.json

DIR holds sets in the COCO format (SET/images, SET/instances.json). Masks are drawn at random. The
annotator sees the truth: it clicks where the error is largest and stops as soon as the IoU is 0.9.
When clicks stop helping it repairs what is wrong with the brush, or paints the mask from nothing if
that is less work. Times of hands and eyes are the keystroke-level model's (Card, Moran and Newell,
"The keystroke-level model for user performance time with interactive systems", 1980); outlines are
traced on a screen at --trace pixels a second. They are a model of people, not people.

The answers are the server's own: `ClickSegmenter`, from the whole image and, with --views, from an
embedding of the view that is zoomed to the object, as the page asks for it.
"""

import argparse
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.provenance import commit, today
from sa_engine.annotate.models.clicks import Clicks
from sa_engine.annotate.models.embedding_file import write_embedding
from sa_engine.annotate.models.frames import ModelFrame, Rect
from sa_engine.annotate.models.segmenter import ClickSegmenter
from sa_engine.dataset.images.reading import read_rgb
from sa_engine.evaluation.clicks import FirstPoint, first_click, next_click
from sa_engine.formats.detect import open_annotations
from sa_engine.formats.registry import Format
from sa_engine.masks.rle import decode
from sa_engine.model.checkpoint import load_checkpoint
from sa_engine.model.framing import logits_at_full_size
from sa_engine.model.predictor import Predictor
from sa_engine.model.weights import bundled_model

MENTAL_S, POINT_S, PRESS_S, KEY_S = 1.35, 1.1, 0.1, 0.2
ENOUGH = 0.9
MOST_CLICKS = 8
LEAST_GAIN = 0.03
"""A click that brings less is the last one."""
HOPELESS = 0.4
"""An answer that is worse is seen to be of no use: the annotator paints."""
SCREEN_PX = 900
"""Longer side of an object on the screen, zoomed in to be painted."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Target:
    """A mask to be made."""

    image: Path
    mask: Mask


def targets(data: Path, count: int, seed: int) -> list[Target]:
    """Masks of at least 32x32 pixels, one an image, drawn at random over all sets."""
    draw = random.Random(seed)
    found = []
    for folder in sorted(data.iterdir()):
        file = folder / "instances.json"
        if not file.is_file():
            continue
        source = open_annotations(file, Format.COCO)
        for index, listed in enumerate(source.images):
            path = folder / "images" / Path(listed.file_name).name
            if path.is_file():
                found.append((path, source, index))
    draw.shuffle(found)
    chosen = []
    for path, source, index in found:
        size_hw = read_rgb(path.read_bytes()).shape[:2]
        masks = [decode(each.segmentation) for each in source.read(index, size_hw).masks]
        large = [mask for mask in masks if mask.sum() >= 32 * 32]
        if large:
            chosen.append(Target(path, draw.choice(large)))
        if len(chosen) == count:
            break
    return chosen


def share(said: Iterable[Any]) -> float:
    """How many of some are true, of all."""
    every = [bool(each) for each in said]
    return round(sum(every) / max(1, len(every)), 3)


def iou(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def trace_s(piece: Mask, target: Mask, scale: float, speed: float) -> float:
    """Painting or erasing one wrong piece.

    Only where the piece lies at the target's outline must the hand be exact: that length is traced.
    On its other side a broad brush may go too far, into the mask or the background, at no cost. A
    piece that does not touch the outline is one stroke of its longer side.
    """
    ones = np.ones((3, 3), np.uint8)
    edge = target & ~cv2.erode(target.astype(np.uint8), ones, borderValue=0).astype(bool)
    touched = edge & cv2.dilate(piece.astype(np.uint8), ones).astype(bool)
    ys, xs = np.nonzero(piece)
    length = float(touched.sum()) or float(max(np.ptp(xs), np.ptp(ys)) + 1)
    return POINT_S + PRESS_S + length * scale / speed + KEY_S


def brush_s(target: Mask, scale: float, speed: float) -> float:
    """Painting a mask from nothing, until the IoU is enough: its largest pieces first."""
    return MENTAL_S + repair_s(np.zeros_like(target), target, scale, speed)


def repair_s(predicted: Mask, target: Mask, scale: float, speed: float) -> float:
    """Painting and erasing the largest errors until the IoU is enough."""
    pieces = []
    for wrong in (target & ~predicted, predicted & ~target):
        count, labels, stats, _ = cv2.connectedComponentsWithStats(wrong.astype(np.uint8))
        for label in range(1, count):
            pieces.append((int(stats[label, cv2.CC_STAT_AREA]), labels == label))
    now = predicted.copy()
    seconds = 0.0
    for _, piece in sorted(pieces, key=lambda each: -each[0]):
        if iou(now, target) >= ENOUGH:
            break
        now ^= piece
        seconds += trace_s(piece, target, scale, speed)
    return seconds


class Desk:
    """The model at work on one image, as the server has it."""

    def __init__(self, checkpoint: Path, cache: Path) -> None:
        options = {"sha256": "model", "name": checkpoint.stem, "device": "cpu"}
        self.segmenter = ClickSegmenter(checkpoint, precision="fp32", cache=cache, **options)
        self.predictor = Predictor(load_checkpoint(checkpoint))
        self.cache = cache
        self.encode_s: list[float] = []
        self.decode_s: list[float] = []

    def encode(self, name: str, rgb: NDArray[np.uint8], rect: Rect) -> ModelFrame:
        frame = ModelFrame("model", name, rect)
        x, y, w, h = rect
        began = time.process_time()
        self.predictor.set_image(np.ascontiguousarray(rgb[y : y + h, x : x + w]))
        self.encode_s.append(time.process_time() - began)
        write_embedding(frame.path(self.cache), self.predictor.embedding, model="model")
        return frame

    def answer(self, frame: ModelFrame, clicks: Clicks, size_hw: tuple[int, int]) -> Any:
        import torch

        began = time.process_time()
        found = self.segmenter.answer(frame, clicks)
        self.decode_s.append(time.process_time() - began)
        x, y, w, h = frame.rect
        full = logits_at_full_size(
            torch.from_numpy(found.logits),
            input_hw=found.input_hw,
            size_hw=(h, w),
            image_size=self.segmenter.image_size,
        )
        masks = np.zeros((len(found.iou), *size_hw), bool)
        masks[:, y : y + h, x : x + w] = full.numpy() > 0
        return found, masks


def view_of(mask: Mask) -> Rect:
    """The view zoomed to an object: its box, twice as large on each side, inside the image."""
    ys, xs = np.nonzero(mask)
    height, width = mask.shape
    grow_x, grow_y = (xs.max() - xs.min() + 1) // 2, (ys.max() - ys.min() + 1) // 2
    x0, x1 = max(0, xs.min() - grow_x), min(width, xs.max() + 1 + grow_x)
    y0, y1 = max(0, ys.min() - grow_y), min(height, ys.max() + 1 + grow_y)
    return int(x0), int(y0), int(x1 - x0), int(y1 - y0)


def with_model(desk: Desk, frame: ModelFrame, target: Mask, scale: float, speed: float) -> Any:
    """Seconds, clicks and the IoU that clicks reached."""
    size_hw = (target.shape[0], target.shape[1])
    points: list[tuple[float, float]] = []
    labels: list[int] = []
    previous, candidate = None, 0
    now = np.zeros_like(target)
    seconds = best = 0.0
    for number in range(MOST_CLICKS):
        if number:
            click = next_click(now, target)
        else:
            click = first_click(target, how=FirstPoint.CENTRE, rng=np.random.default_rng(0))
        points.append((click.x + 0.5, click.y + 0.5))
        labels.append(int(click.foreground))
        prompt = Clicks(
            points_xy=points,
            labels=labels,
            previous=previous,
            candidate=candidate,
            multimask=number == 0,
        )
        found, masks = desk.answer(frame, prompt, size_hw)
        seconds += MENTAL_S + POINT_S + PRESS_S
        proposed = int(np.argmax(found.iou))
        candidate = int(np.argmax([iou(mask, target) for mask in masks]))
        if candidate != proposed:
            seconds += KEY_S
        previous, now = found.id, masks[candidate]
        reached = iou(now, target)
        if reached >= ENOUGH:
            return seconds + KEY_S, number + 1, reached
        if reached < HOPELESS or (number and reached - best < LEAST_GAIN):
            break
        best = reached
    # Seen at a glance: mend it, or drop it and paint.
    again = min(repair_s(now, target, scale, speed), KEY_S + brush_s(target, scale, speed))
    return seconds + MENTAL_S + again + KEY_S, len(points), iou(now, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--masks", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trace", type=float, default=150.0, help="screen pixels a second")
    parser.add_argument("--checkpoint", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    checkpoint = options.checkpoint or bundled_model()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(checkpoint, Path(folder))
        for number, target in enumerate(targets(options.data, options.masks, options.seed)):
            rgb = read_rgb(target.image.read_bytes())
            height, width, _ = rgb.shape
            ys, xs = np.nonzero(target.mask)
            side = max(np.ptp(xs), np.ptp(ys)) + 1
            # Both ways the annotator zooms until the object fills the screen.
            scale = SCREEN_PX / side
            row: dict[str, Any] = {"mask_px": int(target.mask.sum()), "side_px": int(side)}
            row["brush_s"] = brush_s(target.mask, scale, options.trace) + KEY_S
            for way, rect in (("whole", (0, 0, width, height)), ("view", view_of(target.mask))):
                frame = desk.encode(f"{number}", rgb, rect)
                seconds, clicks, reached = with_model(
                    desk, frame, target.mask, scale, options.trace
                )
                row |= {f"{way}_s": seconds, f"{way}_clicks": clicks, f"{way}_iou": reached}
            rows.append({key: round(float(value), 4) for key, value in row.items()})
    result = {
        "command": " ".join(["python -m benchmarks.annotate_seconds", *sys.argv[1:]]).replace(
            str(options.data), "DIR"
        ),
        "model": checkpoint.name,
        "masks": len(rows),
        "trace_px_s": options.trace,
        "commit": commit(),
        "date": today(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "encode_cpu_s": round(median(desk.encode_s), 3),
        "decode_cpu_s": round(median(desk.decode_s), 4),
    }
    for way in ("brush", "whole", "view"):
        seconds = [row[f"{way}_s"] for row in rows]
        result[way] = {"mean_s": round(mean(seconds), 2), "median_s": round(median(seconds), 2)}
        if way != "brush":
            reached = [row[f"{way}_iou"] for row in rows]
            result[way] |= {
                "mean_clicks": round(mean(row[f"{way}_clicks"] for row in rows), 2),
                "by_clicks_alone": share(each >= ENOUGH for each in reached),
                "won": share(row[f"{way}_s"] < row["brush_s"] for row in rows),
            }
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps({**result, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
