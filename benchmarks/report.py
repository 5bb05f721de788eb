"""What `sa-engine report` costs: python -m benchmarks.report OUT_FOLDER [--masks 1000000]

Makes datasets of synthetic SA-1B-like images (2250 x 1500, 100 masks each, wavy outlines from 20 to
700 pixels across; the masks of 50 images are used over and over, each time with another
photograph), of a tenth, a third and all of the masks, and reports on each in a process of its own:
wall seconds, CPU seconds of all its processes, peak memory of the largest one. Beside a fixed part
(the images that stand out, which are drawn) the cost a mask should be flat.
A JSON result goes to benchmarks/results/report.json with --record.
"""

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sa_engine.dataset.manifest import Manifest, is_dataset, open_output
from sa_engine.dataset.records import ImageRecord, MaskRecord, Stage
from sa_engine.dataset.shards.writer import ShardWriter, clear_scratch, pending_shards
from sa_engine.dataset.sources.source_list import Source
from sa_engine.masks import rle

HEIGHT, WIDTH, MASKS, SCENES = 1500, 2250, 100, 50
_CHILD = """
import json, resource, sys, time
from pathlib import Path
from sa_engine.pipelines.report.run import ReportRun, write_report
if __name__ == "__main__":
    begin = time.perf_counter()
    run = ReportRun(datasets=(Path(sys.argv[1]),), out=Path(sys.argv[2]), workers=int(sys.argv[3]))
    summary = write_report(run)
    wall = time.perf_counter() - begin
    use = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps({
        "images": summary.images, "masks": summary.masks, "wall_s": round(wall, 1),
        "cpu_s": round(sum(u.ru_utime + u.ru_stime for u in use), 1),
        "peak_mib": max(u.ru_maxrss for u in use) >> 10}))
"""


def scene(rng: np.random.Generator) -> tuple[MaskRecord, ...]:
    """The masks of one image."""
    found: list[MaskRecord] = []
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    while len(found) < MASKS:
        size = float(np.exp(rng.uniform(np.log(10), np.log(350))))
        waves = 0.6 + 0.3 * np.sin(angles * rng.integers(2, 9)) + 0.05 * rng.random(200)
        centre = rng.integers(0, WIDTH), rng.integers(0, HEIGHT)
        outline = np.stack([np.cos(angles), np.sin(angles)], 1) * (size * waves)[:, None] + centre
        pixels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        cv2.fillPoly(pixels, [outline.astype(np.int32)], 1)
        coded = rle.encode(pixels)
        if rle.area(coded):
            found.append(
                MaskRecord(
                    segmentation=coded,
                    bbox_xywh=rle.bbox_xywh(coded),
                    area=rle.area(coded),
                    stage=Stage.AUTOMATIC,
                    predicted_iou=float(rng.random()),
                    stability_score=float(rng.random()),
                    crop_box_xywh=(0, 0, WIDTH, HEIGHT),
                )
            )
    return tuple(found)


def photograph(rng: np.random.Generator) -> bytes:
    """A JPEG file of the image's size."""
    coarse = rng.integers(0, 255, (24, 36, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    return cv2.imencode(".jpg", picture)[1].tobytes()


def make(folder: Path, images: int) -> Path:
    """A dataset of so many images; made once."""
    out = folder / f"data-{images}"
    if is_dataset(out):
        return out
    rng = np.random.default_rng(0)
    scenes = [scene(rng) for _ in range(SCENES)]
    sources = [Source(f"/{n:07d}.jpg", f"{n:07d}.jpg") for n in range(images)]
    manifest = open_output(out, Manifest(stage=Stage.AUTOMATIC, num_images=images), sources)
    for index in list(pending_shards(out, manifest)):
        with ShardWriter(out, index, manifest=manifest) as writer:
            for image_id in manifest.image_ids(index):
                data = photograph(rng)
                record = ImageRecord(
                    image_id=image_id,
                    file_name=f"sa_{image_id}.jpg",
                    source=sources[image_id - 1].name,
                    width=WIDTH,
                    height=HEIGHT,
                    sha256=hashlib.sha256(data).hexdigest(),
                    annotations=scenes[image_id % SCENES],
                )
                writer.add(record, data, seconds=0.0)
            writer.finish()
    clear_scratch(out, manifest)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--masks", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    script = options.folder / "child.py"
    script.write_text(_CHILD)
    runs: list[dict[str, Any]] = []
    for images in (
        options.masks // MASKS // 10,
        options.masks // MASKS // 3,
        options.masks // MASKS,
    ):
        dataset = make(options.folder, images)
        out = options.folder / f"page-{images}"
        command = [sys.executable, str(script), str(dataset), str(out), str(options.workers)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        runs.append(json.loads(done.stdout))
        runs[-1]["cpu_ms_a_mask"] = round(1000 * runs[-1]["cpu_s"] / runs[-1]["masks"], 3)
        print(runs[-1], flush=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    result = {
        "workers": options.workers,
        "runs": runs,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "load_average": round(os.getloadavg()[0], 1),
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip(),
    }
    if options.record:
        path = Path(__file__).parent / "results" / "report.json"
        path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
