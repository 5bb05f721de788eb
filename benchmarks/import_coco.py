"""Import of a COCO file of 100,000 polygon masks: masks per second and peak memory.

    python -m benchmarks.import_coco --data DIR [--masks 100000] [--workers 2]

DIR holds sets as `<set>/instances.json` and `<set>/images`. Their masks are traced, simplified to
within a pixel as people draw, and repeated under new names until there are enough. Written beside
this script: `results/import_coco.json`.

Three things are measured, each in a process of its own:
    rows    the annotation file to a dataset's shards, without the pictures: listing, parsing,
            filling, measuring, writing
    import  `sa-engine import` of the same file with its pictures, which are read, decoded to check
            them, and stored as they are
    dense   one picture of 4000x3000 with 5,000 masks
Peak memory is the highest resident size less what the process had before it opened the file; the
whole of it is given too. Processor time is given beside wall time, for the machine may be shared.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from PIL import Image

from benchmarks.provenance import commit, load_average, processor, today
from sa_engine.dataset.manifest import Manifest, open_output
from sa_engine.dataset.records import ImageRecord, Stage
from sa_engine.dataset.shards.writer import ShardWriter
from sa_engine.dataset.sources.listing import Source
from sa_engine.formats.convert import convert
from sa_engine.formats.frames import Orientation
from sa_engine.formats.readers.coco import CocoSource
from sa_engine.masks.polygons import to_parts

HERE = Path(__file__).resolve().parent
SETS = ("train/coco", "train/ccp", "train/carparts", "train/facades")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--masks", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--part", choices=["rows", "import", "dense"])
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.part is not None:
        measure = {"rows": measure_rows, "import": measure_import, "dense": measure_dense}
        print(json.dumps(measure[options.part](options.folder, options.workers)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        described = make_file(options.data, folder, options.masks)
        results = {"file": described}
        for part in ("rows", "import", "dense"):
            if part == "dense":
                make_dense(folder)
            results[part] = run_part(part, folder, options)
            print(part, json.dumps(results[part]), flush=True)
    report = {"made": environment(), "sets": SETS, **results}
    path = HERE / "results" / "import_coco.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")


def run_part(part: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.import_coco", "--data", str(options.data)]
    command += ["--part", part, "--folder", str(folder), "--workers", str(options.workers)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=HERE.parent)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def make_file(data: Path, folder: Path, num_masks: int) -> dict[str, Any]:
    """Write the annotation file and the pictures; what they are."""
    pictures = folder / "images"
    pictures.mkdir()
    drawn = [each for name in SETS for each in drawn_images(data / name)]
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    repeat = 0
    while len(annotations) < num_masks:
        for path, (height, width), masks in drawn:
            image_id = len(images) + 1
            name = f"{repeat:03d}_{path.parent.parent.name}_{path.name}"
            shutil.copyfile(path, pictures / name)
            images.append({"id": image_id, "file_name": name, "width": width, "height": height})
            for rings, category in masks:
                annotations.append(
                    {
                        "segmentation": rings,
                        "area": 1.0,
                        "iscrowd": 0,
                        "image_id": image_id,
                        "bbox": [0, 0, 1, 1],
                        "category_id": category,
                        "id": len(annotations) + 1,
                    }
                )
            if len(annotations) >= num_masks:
                break
        repeat += 1
    # Annotations of one image do not lie together in COCO's own files.
    np.random.default_rng(0).shuffle(annotations)
    categories = [{"id": n, "name": f"category {n}"} for n in range(200)]
    path = folder / "instances.json"
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    points = sum(len(ring) // 2 for a in annotations for ring in a["segmentation"])
    return {
        "megabytes": round(path.stat().st_size / 1e6, 1),
        "num_images": len(images),
        "num_masks": len(annotations),
        "points_per_mask": round(points / len(annotations), 1),
    }


def drawn_images(folder: Path) -> list[tuple[Path, tuple[int, int], list[tuple[Any, int]]]]:
    source = CocoSource(folder / "instances.json")
    found = []
    for index, listed in enumerate(source.images):
        size_hw = source.size_hw(index)
        assert size_hw is not None
        masks = []
        for mask in source.read(index, size_hw).masks:
            rings = []
            for part in to_parts(mask.segmentation):
                ring = cv2.approxPolyDP(part.outer[:, None, :], 1.0, closed=True)
                if len(ring) >= 3:
                    # Two digits behind the point, as in COCO's files.
                    rings.append([float(value) + 0.25 for value in ring.reshape(-1).tolist()])
            if rings:
                masks.append((rings, int(mask.attributes.get("category_id", 1))))
        found.append((folder / "images" / listed.file_name, size_hw, masks))
    return found


def measure_rows(folder: Path, workers: int) -> dict[str, Any]:
    """The annotation file to a whole dataset, but for the pictures, which are not looked at."""
    before = peak_mib()
    started, cpu = time.perf_counter(), cpu_s()
    source = CocoSource(folder / "instances.json")
    listed = time.perf_counter() - started
    sources = [Source(f"/none/{image.file_name}", image.file_name) for image in source.images]
    manifest = Manifest(stage=Stage.MANUAL, num_images=len(sources), images_per_shard=1000)
    manifest = open_output(folder / "rows", manifest, sources)
    jobs = [(source, folder / "rows", manifest, part, workers) for part in range(workers)]
    with ProcessPoolExecutor(workers) as pool:
        masks, highest = zip(*pool.map(write_shards, jobs), strict=True)
    seconds, cpu = time.perf_counter() - started, cpu_s() - cpu
    own = peak_mib()
    size = (folder / "instances.json").stat().st_size / 2**20
    above = own - before + sum(each - before for each in highest)
    return {
        "masks_per_s": round(sum(masks) / seconds),
        "masks_per_cpu_s": round(sum(masks) / cpu),
        "seconds": round(seconds, 2),
        "listing_s": round(listed, 2),
        "cpu_s": round(cpu, 2),
        "workers": workers,
        "file_mib": round(size, 1),
        "start_mib": round(before, 1),
        "peak_mib": round(own, 1),
        "worker_peak_mib": [round(each, 1) for each in highest],
        "all_above_start_over_file": round(above / size, 2),
    }


def write_shards(job: tuple[CocoSource, Path, Manifest, int, int]) -> tuple[int, float]:
    """Every `workers`-th shard; how many masks they have, and this process's peak memory."""
    source, out, manifest, part, workers = job
    masks = 0
    for shard in range(part, manifest.num_shards, workers):
        with ShardWriter(out, shard, manifest=manifest) as writer:
            for image_id in manifest.image_ids(shard):
                height, width = source.size_hw(image_id - 1) or (0, 0)
                found = convert(source, [image_id - 1], Orientation(1, (height, width)))
                record = ImageRecord(
                    image_id=image_id,
                    file_name=f"sa_{image_id}.jpg",
                    source=source.images[image_id - 1].file_name,
                    width=width,
                    height=height,
                    sha256="",
                    annotations=found.masks,
                    attributes=found.image_attributes(),
                )
                writer.add(record)
                masks += len(found.masks)
            writer.finish()
    return masks, peak_mib()


def measure_import(folder: Path, workers: int) -> dict[str, Any]:
    """The command as users run it."""
    command = [sys.executable, "-m", "sa_engine", "import", str(folder / "instances.json")]
    command += ["--out", str(folder / "dataset"), "--workers", str(workers)]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - started
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = json.loads((folder / "dataset" / "import-report.json").read_bytes())
    masks = report["masks"]["kept"]
    cpu = usage.ru_utime + usage.ru_stime
    return {
        "masks_per_s": round(masks / seconds),
        "masks_per_cpu_s": round(masks / cpu),
        "images_per_s": round(report["images"]["imported"] / seconds),
        "seconds": round(seconds, 2),
        "cpu_s": round(cpu, 2),
        "workers": workers,
        "highest_process_peak_mib": round(usage.ru_maxrss / 1024, 1),
    }


def make_dense(folder: Path) -> None:
    width, height = 4000, 3000
    random = np.random.default_rng(0)
    annotations = []
    for number in range(5000):
        x, y = random.uniform(0, width), random.uniform(0, height)
        angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        radii = random.uniform(20, 400) * random.uniform(0.7, 1.0, 40)
        ring = np.stack((x + radii * np.cos(angles), y + radii * np.sin(angles)), axis=1)
        ring = ring.clip(0, (width, height))
        annotations.append(
            {"id": number, "image_id": 1, "segmentation": [ring.round(2).reshape(-1).tolist()]}
        )
    image = {"id": 1, "file_name": "dense.png", "width": width, "height": height}
    content = {"images": [image], "annotations": annotations}
    (folder / "dense.json").write_text(json.dumps(content))
    Image.fromarray(random.integers(0, 256, (height, width), dtype=np.uint8)).save(
        folder / "dense.png"
    )


def measure_dense(folder: Path, _workers: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "sa_engine", "import", str(folder / "dense.json")]
    command += ["--images", str(folder / "dense.png"), "--out", str(folder / "dense")]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = json.loads((folder / "dense" / "import-report.json").read_bytes())
    return {
        "masks": report["masks"]["kept"],
        "seconds": round(time.perf_counter() - started, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mib": round(usage.ru_maxrss / 1024, 1),
    }


def peak_mib() -> float:
    """Highest resident size of this process so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def cpu_s() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def environment() -> dict[str, Any]:
    return {
        "date": today(),
        "commit": commit(),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "load_average": load_average(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pyarrow": pa.__version__,
    }


if __name__ == "__main__":
    main()
