"""Every byte is under a checksum: damage files bit by bit; is it noticed, and is it repaired?

    python -m benchmarks.every_byte [--flips 1000] [--cuts 100]

A small dataset of random pictures and masks is made. Then, one at a time, one bit at a random place
of its files is flipped (places drawn over all bytes, and as often over all files alike, so that
small files are hit as well), or a file is cut at a random length. After each, `verify` runs, and
then what `verify --repair` does; every file must have the bytes that it had, but for the seconds in
a shard's stats, which may be lost with them. Nothing else is put back between. Written beside this
script: `results/every_byte.json`.
"""

import argparse
import hashlib
import io
import json
import random
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.provenance import commit, today
from sa_engine.dataset.folder.base import open_folder
from sa_engine.dataset.folder.card import CARD_NAME
from sa_engine.dataset.folder.sealed import unseal
from sa_engine.dataset.folder.spares import restore_from_spares
from sa_engine.dataset.manifest import Manifest, open_output
from sa_engine.dataset.records import ImageRecord, MaskRecord, Stage
from sa_engine.dataset.shards.writer import ShardWriter, clear_scratch
from sa_engine.dataset.sources.source_list import Source
from sa_engine.dataset.verify import Problem, damaged_shards, verify
from sa_engine.masks import rle
from sa_engine.pipelines.stages.repair import repair_dataset

HERE = Path(__file__).resolve().parent
IMAGES, PER_SHARD, MASKS, SIZE = 24, 8, 12, 64


def make_dataset(out: Path, photos: Path) -> None:
    """24 pictures of 64 x 64 with 12 masks each, in 3 shards."""
    draw = np.random.default_rng(1)
    sources = [Source(f"{photos}/{k}.png", f"{k}.png") for k in range(IMAGES)]
    plan = Manifest(stage=Stage.AUTOMATIC, num_images=IMAGES, images_per_shard=PER_SHARD)
    manifest = open_output(out, plan, sources)
    for index in range(manifest.num_shards):
        with ShardWriter(out, index, manifest=manifest) as writer:
            for image_id in manifest.image_ids(index):
                buffer = io.BytesIO()
                pixels = draw.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(buffer, "PNG")
                data = buffer.getvalue()
                (photos / f"{image_id - 1}.png").write_bytes(data)
                record = ImageRecord(
                    image_id=image_id,
                    file_name=f"sa_{image_id}.png",
                    source=f"{image_id - 1}.png",
                    width=SIZE,
                    height=SIZE,
                    sha256=hashlib.sha256(data).hexdigest(),
                    annotations=tuple(make_mask(draw) for _ in range(MASKS)),
                )
                writer.add(record, data, seconds=0.125)
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


def repair(out: Path, problems: list[Problem]) -> None:
    """As `sa-engine verify --repair` does."""
    if restore_from_spares(open_folder(out)):
        problems = verify(out, deep=False)
    repair_dataset(out, damaged_shards(problems), stop=lambda: False)


def content(path: Path) -> tuple[object, float | None]:
    """What must be as it was in a file, and the seconds that need not."""
    data = path.read_bytes()
    if not path.name.endswith("_stats.json"):
        return data, None
    stats = unseal(data, name=path.name)
    return {**stats, "seconds": 0}, stats["seconds"]


def sealed_files(out: Path) -> list[Path]:
    """Every file but the card, which users may change."""
    return sorted(path for path in out.iterdir() if path.is_file() and path.name != CARD_NAME)


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
    restored = {"flips": 0, "cuts": 0}
    seconds_lost = 0
    missed: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        out, photos = Path(folder) / "dataset", Path(folder) / "photos"
        photos.mkdir()
        make_dataset(out, photos)
        assert not verify(out)
        files = sealed_files(out)
        whole = {path: path.read_bytes() for path in files}
        meant = {path: content(path) for path in files}
        tasks = [("flips", place) for place in places(files, options.flips, draw)]
        tasks += [("cuts", place) for place in places(files, options.cuts, draw)]
        for kind, (path, byte) in tasks:
            damaged = bytearray(whole[path])
            damaged[byte] ^= 1 << draw.randrange(8)
            path.write_bytes(damaged if kind == "flips" else whole[path][:byte])
            problems = verify(out, deep=False)
            if any(problem.file == path.name for problem in problems):
                found[kind] += 1
            else:
                missed.append(f"{kind}: {path.name} at {byte} was not found")
            repair(out, problems)
            there = sealed_files(out)
            if there == files and all(content(each)[0] == meant[each][0] for each in files):
                restored[kind] += 1
                seconds_lost += content(path)[1] != meant[path][1]
            else:
                missed.append(f"{kind}: {path.name} at {byte} was not repaired")
                for each, data in whole.items():
                    each.write_bytes(data)
            path.write_bytes(whole[path])
        assert not verify(out)
        num_bytes = sum(path.stat().st_size for path in files)
    report = {
        "what": "single bits flipped and files cut at random places, one at a time; how many "
        "`verify` found, and of how many `verify --repair` restored every byte",
        "commit": commit(),
        "date": today(),
        "dataset": {"files": len(files), "bytes": num_bytes},
        **{
            kind: {"tried": tried, "found": found[kind], "restored": restored[kind]}
            for kind, tried in (("flips", options.flips), ("cuts", options.cuts))
        },
        "restored_but_for_seconds_in_stats": seconds_lost,
        "missed": missed,
    }
    print(json.dumps(report))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "every_byte.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
