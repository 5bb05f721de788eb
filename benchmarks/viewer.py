"""How quick the viewer is with many images: python -m benchmarks.viewer OUT_FOLDER [--images 10000]

Makes a dataset of small synthetic photographs with some masks each, writes the viewer's folder, and
opens it in headless Chromium (Playwright): seconds until the first thumbnail is painted, until the
first image is painted with its masks, and from a key to the next image's masks, for 50 images in a
row and for 50 at random places. A JSON result goes to benchmarks/results/viewer.json with --record.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from playwright.sync_api import sync_playwright

from sa_engine.pipelines.viewer import ViewerRun, write_viewer

SIZE_HW = (240, 320)
MASKS = 10
SHOWN = """key => new Promise(resolve => {
  const begin = performance.now(), look = () => document.body.dataset.shown === key
    ? requestAnimationFrame(() => resolve(performance.now() - begin)) : setTimeout(look, 1);
  look(); })"""


def make(folder: Path, images: int) -> Path:
    """A dataset of `images` small photographs, through `sa-engine import`; made once."""
    dataset = folder / f"data-{images}"
    if (dataset / "manifest.json").exists():
        return dataset
    rng = np.random.default_rng(0)
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    listed: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    height, width = SIZE_HW
    for number in range(1, images + 1):
        coarse = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)
        name = f"{number:05d}.jpg"
        picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(pictures / name), picture)
        listed.append({"id": number, "file_name": name, "width": width, "height": height})
        for _ in range(MASKS):
            x, y = rng.integers(0, width - 40), rng.integers(0, height - 40)
            ring = rng.integers(0, 40, (12, 2)) + np.array([x, y])
            hull = cv2.convexHull(ring.astype(np.int32)).reshape(-1).tolist()
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": 1,
                 "segmentation": [hull], "bbox": [0, 0, 1, 1], "area": 1, "iscrowd": 0}
            )  # fmt: skip
    source = folder / "instances.json"
    categories = [{"id": 1, "name": "thing"}]
    content = {"images": listed, "annotations": annotations, "categories": categories}
    source.write_text(json.dumps(content))
    command = ["sa-engine", "import", str(source), "--images", str(pictures), "--out", str(dataset)]
    subprocess.run(command, check=True)
    return dataset


def measure(page_file: Path, images: int) -> dict[str, Any]:
    """Seconds in the browser."""
    program = shutil.which("chromium")
    rng = np.random.default_rng(1)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        begin = time.perf_counter()
        page.goto(page_file.as_uri(), wait_until="commit")
        page.wait_for_function("[...document.querySelectorAll('.cell img')].some(i => i.complete)")
        first_thumbnail = time.perf_counter() - begin
        begin = time.perf_counter()
        page.goto("about:blank")
        page.goto(page_file.as_uri() + "#1", wait_until="commit")
        page.wait_for_function("document.body.dataset.shown === '1'")
        first_image = time.perf_counter() - begin

        def timed(action: str, key: str) -> float:
            return float(page.evaluate(f"async key => {{ {action}; return ({SHOWN})(key); }}", key))

        press = "dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight'}))"
        following = []
        for number in range(2, 52):
            following.append(timed(press, str(number)))
            # A person looks at an image for a while.
            page.wait_for_timeout(150)
        anywhere = [
            timed("viewer.open(Number(key) - 1)", str(number))
            for number in rng.choice(np.arange(100, images), 50, replace=False)
        ]
        begin = time.perf_counter()
        page.evaluate("find('area').value = '200-400'; viewer.choose()")
        filtered = time.perf_counter() - begin
        browser.close()
    return {
        "first_thumbnail_s": round(first_thumbnail, 3),
        "first_image_s": round(first_image, 3),
        "next_image_s": _spread(following),
        "any_image_s": _spread(anywhere),
        "filter_s": round(filtered, 3),
    }


def _spread(milliseconds: list[float]) -> dict[str, float]:
    seconds = sorted(each / 1000 for each in milliseconds)
    middle = statistics.median(seconds)
    return {"median": round(middle, 4), "p95": round(seconds[47], 4), "most": round(seconds[-1], 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    dataset = make(options.folder, options.images)
    out = options.folder / "viewer"
    begin = time.perf_counter()
    write_viewer(ViewerRun(datasets=(dataset,), out=out))
    seconds = time.perf_counter() - begin
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    result = {
        "images": options.images,
        "size_hw": SIZE_HW,
        "masks_an_image": MASKS,
        "write_s": round(seconds, 1),
        "write_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "folder_mib": sum(p.stat().st_size for p in out.rglob("*") if p.is_file()) >> 20,
        **measure(out / "index.html", options.images),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, headless Chromium",
        "load_average": round(os.getloadavg()[0], 1),
        "commit": commit.stdout.strip(),
    }
    print(json.dumps(result, indent=1))
    if options.record:
        path = Path(__file__).parent / "results" / "viewer.json"
        path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
