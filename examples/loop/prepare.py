"""Lay out what the example loop works on: four parts that share no image.

    python examples/loop/prepare.py --out out/loop-data
    python examples/loop/prepare.py --out out/loop-data --masks my-dataset/

    stage1/      people's masks in COCO's format, with the pictures
    stage2/      a dataset whose masks are held back: they stand for the annotator of stage 2
    unlabelled/  pictures without masks, for stage 3
    heldout/     a dataset that nothing is trained on

With --masks, a dataset of your own masks (`sa-engine import`) is divided. Without, people's masks
are those of synthetic scenes, rendered with pieces of the example photographs, and the photographs
themselves join the pictures of stage 3.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sa_engine.dataset.combine import split
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageStatus
from sa_engine.masks import rle
from sa_engine.pipelines.export import ExportRun, OutFormat, run_export
from sa_engine.pipelines.stages.manual import ImportRun, run_import
from sa_engine.training.data.scene_config import SceneConfig
from sa_engine.training.data.scene_fills import Rgb
from sa_engine.training.data.scenes import render_scene

PHOTOGRAPHS = Path(__file__).resolve().parents[1] / "images"
SHARES = {"heldout": 0.2, "unlabelled": 0.2, "stage2": 0.4}
"""Of a dataset; stage 1 gets the rest."""

SCENES = {"stage1": 24, "stage2": 20, "unlabelled": 8, "heldout": 16}


def as_worn_camera(rgb_HW3: Rgb, rng: np.random.Generator) -> Rgb:
    """A scene as an old grey camera sees it: a negative of low contrast, with grain and dust.

    A domain of its own, which no model was made for: so there is something to learn.
    """
    grey = rgb_HW3.astype(np.float32).mean(axis=2)
    low = 120 + 0.28 * (127.5 - grey)
    grain = rng.normal(scale=22, size=low.shape) + 14 * rng.standard_t(3, size=(low.shape[0], 1))
    worn = np.where(rng.random(low.shape) < 0.01, 255, low + grain)
    return np.repeat(np.clip(worn, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def render(part: str, folder: Path, *, size: int, photos: list[Rgb]) -> Path:
    """A part's scenes as pictures and a COCO file; gives the file's path."""
    config = SceneConfig(size=size, min_things=3, max_things=8, min_area=60)
    first = 1000 * list(SCENES).index(part)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number in range(1, SCENES[part] + 1):
        scene = render_scene(first + number, config, photos=photos)
        name = f"{part}-{number:03d}.png"
        seen = as_worn_camera(scene.rgb_HW3, np.random.default_rng(first + number))
        Image.fromarray(seen).save(folder / "images" / name)
        images.append({"id": number, "file_name": name, "width": size, "height": size})
        for mask in scene.masks_MHW:
            coded = rle.encode(mask)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "segmentation": coded.to_coco(),
                    "area": rle.area(coded),
                    "bbox": list(rle.bbox_xywh(coded)),
                    "iscrowd": 0,
                }
            )
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "object"}],
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path


def from_scenes(out: Path, *, size: int) -> None:
    """The four parts from synthetic scenes."""
    paths = sorted(p for p in PHOTOGRAPHS.iterdir() if p.suffix in (".jpg", ".png"))
    photos = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    render("stage1", out / "stage1", size=size, photos=photos)
    for part in ("stage2", "heldout"):
        with tempfile.TemporaryDirectory() as rendered:
            file = render(part, Path(rendered), size=size, photos=photos)
            run_import(ImportRun(annotations=file, out=out / part))
    with tempfile.TemporaryDirectory() as rendered:
        render("unlabelled", Path(rendered), size=size, photos=photos)
        shutil.copytree(Path(rendered) / "images", out / "unlabelled")
    for path in paths:
        shutil.copy(path, out / "unlabelled" / path.name)


def from_masks(masks: Path, out: Path) -> None:
    """The four parts from one dataset, by the content of its images: always the same."""
    left, rest = masks, 1.0
    with tempfile.TemporaryDirectory() as scratch:
        for part, share in SHARES.items():
            remaining = Path(scratch) / f"without-{part}"
            chosen = Path(scratch) / part if part == "unlabelled" else out / part
            split(left, remaining, chosen, fraction=share / rest)
            left, rest = remaining, rest - share
        export = ExportRun(dataset=left, out=out / "stage1", format=OutFormat.COCO)
        run_export(export)
        unlabelled = Dataset(Path(scratch) / "unlabelled")
        (out / "unlabelled").mkdir()
        for record in unlabelled.images(status=ImageStatus.OK):
            data = unlabelled.read_image_bytes(record)
            (out / "unlabelled" / record.file_name).write_bytes(data)


def main() -> None:
    """Make the parts, unless they are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--masks", type=Path, help="a dataset of your own to divide")
    parser.add_argument("--size", type=int, default=160, help="side of the scenes, pixels")
    options = parser.parse_args()
    if options.out.exists():
        print(f"{options.out} is there already; delete it to make it anew")
        return
    options.out.parent.mkdir(parents=True, exist_ok=True)
    partial = options.out.with_name(options.out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    if options.masks is None:
        from_scenes(partial, size=options.size)
    else:
        from_masks(options.masks, partial)
    partial.rename(options.out)
    print(f"{options.out}: {', '.join(sorted(p.name for p in options.out.iterdir()))}")


if __name__ == "__main__":
    main()
