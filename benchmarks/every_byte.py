"""Every byte is under a checksum: flip single bits, cut files, and see whether `verify` notices.

    python -m benchmarks.every_byte [--flips 1000] [--cuts 100]

A small dataset of random pictures and masks is made. Then, one at a time, one bit at a random place
of its files is flipped (places drawn over all bytes, and as often over all files alike, so that
small files are hit as well), or a file is cut at a random length; after each, `verify` runs and
the file is put back. Written beside this script: `results/every_byte.json`.
"""

import argparse
import hashlib
import io
import json
import random
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from sa_engine.dataset.manifest import Manifest, open_output
from sa_engine.dataset.records import ImageRecord, MaskRecord, Stage
from sa_engine.dataset.shards import ShardWriter, clear_scratch
from sa_engine.dataset.sources import Source
from sa_engine.dataset.verify import verify
from sa_engine.masks import rle

HERE = Path(__file__).resolve().parent
IMAGES, PER_SHARD, MASKS, SIZE = 24, 8, 12, 64


def make_dataset(out: Path) -> None:
    """24 pictures of 64 x 64 with 12 masks each, in 3 shards."""
    draw = np.random.default_rng(1)
    sources = [Source(f"/photos/{k}.png", f"{k}.png") for k in range(IMAGES)]
    plan = Manifest(stage=Stage.AUTOMATIC, num_images=IMAGES, images_per_shard=PER_SHARD)
    manifest = open_output(out, plan, sources)
    for index in range(manifest.num_shards):
        with ShardWriter(out, index, manifest=manifest) as writer:
            for image_id in manifest.image_ids(index):
                buffer = io.BytesIO()
                pixels = draw.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(buffer, "PNG")
                data = buffer.getvalue()
                record = ImageRecord(
                    image_id=image_id,
                    file_name=f"sa_{image_id}.png",
                    source=f"{image_id - 1}.png",
                    width=SIZE,
                    height=SIZE,
                    sha256=hashlib.sha256(data).hexdigest(),
                    annotations=tuple(make_mask(draw) for _ in range(MASKS)),
                )
                writer.add(record, data)
            writer.finish()
    clear_scratch(out, manifest)


def make_mask(draw: np.random.Generator) -> MaskRecord:
    """A random blot."""
    coded = rle.encode(draw.random((SIZE, SIZE)) > 0.7)
    return MaskRecord(
        segmentation=coded,
        bbox_xywh=rle.bbox_xywh(coded),
        area=rle.area(coded),
        stage=Stage.AUTOMATIC,
        predicted_iou=float(draw.random()),
        stability_score=float(draw.random()),
        crop_box_xywh=(0.0, 0.0, float(SIZE), float(SIZE)),
        point_coords_xy=((float(draw.random()), float(draw.random())),),
    )


def places(files: list[Path], count: int, draw: random.Random) -> list[tuple[Path, int]]:
    """(file, byte) at random: half over all bytes, half over all files alike."""
    sizes = [path.stat().st_size for path in files]
    by_size = draw.choices(files, weights=sizes, k=count // 2)
    alike = draw.choices(files, k=count - count // 2)
    return [(path, draw.randrange(path.stat().st_size)) for path in (*by_size, *alike)]


def main() -> None:
    """Damage, look, count, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    draw = random.Random(9)
    found = {"flips": 0, "cuts": 0}
    missed: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "dataset"
        make_dataset(out)
        assert not verify(out)
        files = sorted(path for path in out.iterdir() if path.is_file())
        tasks = [("flips", place) for place in places(files, options.flips, draw)]
        tasks += [("cuts", place) for place in places(files, options.cuts, draw)]
        for kind, (path, byte) in tasks:
            whole = path.read_bytes()
            damaged = bytearray(whole)
            damaged[byte] ^= 1 << draw.randrange(8)
            path.write_bytes(damaged if kind == "flips" else whole[:byte])
            if any(problem.file == path.name for problem in verify(out, deep=False)):
                found[kind] += 1
            else:
                missed.append(f"{kind}: {path.name} at {byte}")
            path.write_bytes(whole)
        assert not verify(out)
        num_bytes = sum(path.stat().st_size for path in files)
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=HERE, capture_output=True, text=True
    ).stdout.strip()
    report = {
        "what": "single bits flipped and files cut at random places; how many `verify` found",
        "commit": commit,
        "date": datetime.now(UTC).date().isoformat(),
        "dataset": {"files": len(files), "bytes": num_bytes},
        "flips": {"tried": options.flips, "found": found["flips"]},
        "cuts": {"tried": options.cuts, "found": found["cuts"]},
        "missed": missed,
    }
    print(json.dumps(report))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "every_byte.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
