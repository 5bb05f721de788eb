import hashlib
import io
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sa_engine.dataset.folder.base import LocalFolder
from sa_engine.dataset.folder.card import CARD_NAME
from sa_engine.dataset.folder.sealed import seal, unseal
from sa_engine.dataset.images.reading import StoredImage, read_image
from sa_engine.dataset.manifest import Manifest, open_output, read_manifest
from sa_engine.dataset.records import ImageRecord, ImageStatus, MaskRecord, Stage
from sa_engine.dataset.shards.writer import ShardWriter, discard_shard
from sa_engine.dataset.sources.listing import list_sources
from sa_engine.dataset.sources.source_list import Source
from sa_engine.dataset.verify import Problem, damaged_shards, verify
from sa_engine.errors import DatasetError, UsageError
from sa_engine.masks.rle import Rle

Maker = Callable[..., Path]
ImageOf = Callable[..., tuple[ImageRecord, bytes | None]]


@pytest.fixture
def out(tmp_path: Path, make_dataset: Maker) -> Path:
    return make_dataset(tmp_path / "d", range(10), images_per_shard=4)


def one(problems: list[Problem]) -> Problem:
    assert len(problems) == 1, [str(problem) for problem in problems]
    return problems[0]


def test_a_sound_dataset_has_no_problems(out: Path) -> None:
    seen: list[tuple[int, int]] = []
    assert verify(out, progress=lambda done, total: seen.append((done, total))) == []
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert verify(out, deep=False) == []


def test_without_images_and_empty(tmp_path: Path, make_dataset: Maker) -> None:
    assert verify(make_dataset(tmp_path / "a", range(5), with_images=False)) == []
    assert verify(make_dataset(tmp_path / "b", [])) == []


def sealed_files(out: Path) -> list[Path]:
    """Every file but the card, which users may change."""
    return sorted(path for path in out.iterdir() if path.is_file() and path.name != CARD_NAME)


def test_what_file_browsers_leave_and_a_changed_card_are_no_damage(out: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", "README.md"):
        (out / name).write_bytes(b"x")
    assert verify(out) == []
    (out / "notes.txt").write_text("x")
    assert [(each.file, each.kind) for each in verify(out)] == [("notes.txt", "stray")]


def test_every_flipped_bit_is_found(out: Path) -> None:
    draw = random.Random(2)
    files = sealed_files(out)
    # Small files get as many flips as large ones.
    for path in files:
        data = path.read_bytes()
        for _ in range(25):
            place, bit = draw.randrange(len(data)), draw.randrange(8)
            damaged = bytearray(data)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            problems = verify(out, deep=False)
            assert problems, f"bit {bit} of byte {place} of {path.name}"
            assert path.name in {problem.file for problem in problems}
            path.write_bytes(data)
    assert verify(out) == []


def test_every_truncation_is_found(out: Path) -> None:
    draw = random.Random(3)
    for path in sealed_files(out):
        data = path.read_bytes()
        for length in [0, len(data) - 1, *(draw.randrange(len(data)) for _ in range(6))]:
            path.write_bytes(data[:length])
            assert verify(out, deep=False), f"{path.name} cut at {length}"
        path.write_bytes(data + b"\0")
        assert verify(out, deep=False), f"{path.name} made longer"
        path.write_bytes(data)


def test_damage_names_the_shard_to_make_anew(out: Path) -> None:
    path = out / "sa_000001.tar"
    path.write_bytes(path.read_bytes()[:-512])
    (out / "sa_000002.parquet").unlink()
    problems = verify(out)
    assert [(problem.file, problem.kind) for problem in problems] == [
        ("sa_000001.tar", "checksum"),
        ("sa_000002.parquet", "missing"),
    ]
    assert damaged_shards(problems) == [1, 2]
    assert str(problems[0]).startswith("sa_000001.tar: checksum: ")


def test_missing_shards_and_stray_files(out: Path) -> None:
    discard_shard(out, 1)
    (out / "notes.txt").write_text("x")
    shutil.copy(out / "sa_000000.tar", out / "sa_000007.tar")
    assert [(p.file, p.kind, p.shard_index) for p in verify(out)] == [
        ("notes.txt", "stray", None),
        ("sa_000007.tar", "stray", None),
        ("sa_000001_stats.json", "missing", 1),
    ]


def test_a_list_of_another_run(out: Path, tmp_path: Path, make_dataset: Maker) -> None:
    other = make_dataset(tmp_path / "other", range(1, 11), images_per_shard=4)
    shutil.copy(other / "inputs.parquet", out / "inputs.parquet")
    assert one(verify(out)).kind == "checksum"
    (out / "inputs.parquet").unlink()
    assert one(verify(out)).kind == "missing"


def test_shards_that_changed_places(out: Path) -> None:
    for name in ("tar", "parquet"):
        first, second = out / f"sa_000000.{name}", out / f"sa_000001.{name}"
        first.rename(out / "x")
        second.rename(first)
        (out / "x").rename(second)
    assert {problem.kind for problem in verify(out)} == {"checksum"}


def test_a_shard_of_another_dataset_with_its_own_stats(
    out: Path, tmp_path: Path, make_dataset: Maker
) -> None:
    other = make_dataset(tmp_path / "other", range(1, 11), images_per_shard=4)
    for path in other.glob("sa_000001*"):
        shutil.copy(path, out / path.name)
    problems = verify(out)
    assert {problem.kind for problem in problems} == {"record"}
    assert "was listed" in problems[0].message and damaged_shards(problems) == [1]


def test_a_shard_in_the_place_of_a_shorter_one(out: Path) -> None:
    content = unseal((out / "sa_000000_stats.json").read_bytes(), name="x")
    sums = {name.replace("000000", "000002"): each for name, each in content["files"].items()}
    for name in sums:
        shutil.copy(out / name.replace("000002", "000000"), out / name)
    moved = {**content, "shard_index": 2, "first_image_id": 9, "files": sums}
    (out / "sa_000002_stats.json").write_bytes(seal(moved))
    for pixels in (False, True):
        found = [each for each in verify(out, pixels=pixels) if each.kind == "count"]
        assert [problem.message for problem in found] == [
            *(f"row {k} is of image {k + 1}" for k in range(4)),
            "images: 4, not 2",
            "rows: 4, not 2",
        ]
        assert [problem.image_id for problem in found] == [1, 2, 3, 4, None, None]


def test_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a dataset"):
        verify(tmp_path)


def test_a_damaged_manifest_is_the_one_problem(out: Path) -> None:
    path = out / "manifest.json"
    content = read_manifest(LocalFolder(out)).to_json()
    path.write_bytes(path.read_bytes().replace(b'"stage"', b'"Stage"'))
    assert one(verify(out)).file == "manifest.json"
    path.write_bytes(seal({**content, "format_version": 99}))
    with pytest.raises(DatasetError, match="format version 99"):
        verify(out)


def test_stats_that_do_not_count_right(out: Path) -> None:
    path = out / "sa_000001_stats.json"
    content = unseal(path.read_bytes(), name="x")
    path.write_bytes(seal({**content, "num_masks": 99, "num_failed": {"empty": 1}}))
    assert [problem.message for problem in verify(out)] == [
        "masks: 99, not 6",
        "failures: {'empty': 1}, not {'truncated': 1}",
    ]
    path.write_bytes(seal({**content, "num_ok": content["num_ok"] + 1}))
    assert "images went through, its other counts say" in one(verify(out)).message
    path.write_bytes(seal({"num_masks": 1}))
    assert one(verify(out)).kind == "checksum"


def written(out: Path, record: ImageRecord, data: bytes | None) -> list[str]:
    """The problems of a dataset of one image that the writer was made to write wrongly."""
    manifest = open_output(
        out,
        Manifest(stage=Stage.AUTOMATIC, num_images=1),
        [Source("/photos/photo 000.png", "photo 000.png")],
    )
    with ShardWriter(out, 0, manifest=manifest) as writer:
        writer.add(record, data)
        writer.finish()
    return [f"{problem.kind}: {problem.message}" for problem in verify(out)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"area": 7}, "record: mask 1000001: area 7, but it has"),
        (
            {"bbox_xywh": (0.0, 0.0, 1.0, 1.0)},
            "record: mask 1000001: box (0.0, 0.0, 1.0, 1.0), but",
        ),
        ({"segmentation": Rle((9, 9), "1")}, "record: mask 1000001: it is (9, 9)"),
        ({"segmentation": Rle((16, 24), "zzz!")}, "record: mask 1000001: counts is not"),
        ({"segmentation": Rle((16, 24), "01")}, "record: mask 1000001: runs do not add up"),
        ({"segmentation": Rle((16, 24), "P<")}, "record: mask 1000001: it is empty"),
        ({"predicted_iou": 7.5}, "record: mask 1000001: predicted_iou is 7.5, not from -1 to 2"),
        ({"predicted_iou": -3.0}, "record: mask 1000001: predicted_iou is -3.0, not"),
        ({"stability_score": 9.0}, "record: mask 1000001: stability_score is 9.0, not from 0 to 1"),
        ({"box_score": 1.5}, "record: mask 1000001: box_score is 1.5"),
        ({"time_spent_s": -1.0}, "record: mask 1000001: time_spent_s is -1.0"),
        (
            {"crop_box_xywh": (10.0, 0.0, 24.0, 16.0)},
            "record: mask 1000001: its crop box (10.0, 0.0, 24.0, 16.0) lies outside",
        ),
        (
            {"prompt_box_xywh": (-5.0, 0.0, 9.0, 9.0)},
            "record: mask 1000001: its prompt box (-5.0, 0.0, 9.0, 9.0) lies outside",
        ),
        (
            {"point_coords_xy": ((3.0, 40.0),)},
            "record: mask 1000001: its point (3.0, 40.0) lies outside the image of 24x16",
        ),
    ],
)
def test_masks_that_break_a_rule(
    tmp_path: Path,
    image_of: ImageOf,
    mask_of: Callable[..., MaskRecord],
    change: dict[str, Any],
    message: str,
) -> None:
    record, data = image_of(1, 0)
    found = written(tmp_path, replace(record, annotations=(replace(mask_of(0), **change),)), data)
    assert any(each.startswith(message) for each in found), found


BEYOND = ((-1.5, 3.0), (3.0, -1.5), (25.5, 3.0), (3.0, 17.5))
"""Points more than a pixel outside an image of 24x16, one on each side."""


@pytest.mark.parametrize(
    ("change", "is_allowed"),
    [
        ({"crop_box_xywh": (-1.0, -1.0, 26.0, 18.0)}, True),
        ({"prompt_box_xywh": (25.0, 17.0, 0.0, 0.0)}, True),
        ({"point_coords_xy": ((-1.0, -1.0), (25.0, 17.0))}, True),
        ({"predicted_iou": -1.0, "stability_score": 0.0, "box_score": 1.0}, True),
        ({"predicted_iou": 2.0, "stability_score": 1.0, "time_spent_s": 0.0}, True),
        *(({"point_coords_xy": ((3.0, 3.0), point)}, False) for point in BEYOND),
        *(({"prompt_box_xywh": (*point, 0.0, 0.0)}, False) for point in BEYOND),
        ({"crop_box_xywh": (3.0, 3.0, -1.0, 2.0)}, False),
        ({"crop_box_xywh": (3.0, 3.0, 2.0, -1.0)}, False),
    ],
)
def test_a_pixel_beyond_the_image_is_allowed_and_no_more(
    tmp_path: Path,
    image_of: ImageOf,
    mask_of: Callable[..., MaskRecord],
    change: dict[str, Any],
    is_allowed: bool,
) -> None:
    record, data = image_of(1, 0)
    found = written(tmp_path, replace(record, annotations=(replace(mask_of(0), **change),)), data)
    assert found == [] if is_allowed else len(found) == 1 and "lies outside" in found[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file_name": "sa_2.png"}, "record: its file name is 'sa_2.png'"),
        ({"file_name": "../evil.png"}, "record: its file name is '../evil.png'"),
        ({"sha256": "12"}, "record: its SHA-256 is '12'"),
        ({"source": "other.png"}, "record: source 'other.png', but 'photo 000.png' was listed"),
        ({"error": "odd"}, "record: it went through and yet has the error 'odd'"),
        ({"width": 25}, "structure: its stored file is 24x16, not as recorded"),
        ({"width": 0}, "record: its size is 0x16"),
        (
            {"status": ImageStatus.FAILED},
            "record: it failed without a reason",
        ),
        (
            {"status": ImageStatus.FAILED, "error": "empty: x"},
            "record: it failed and yet has a file, a size or masks",
        ),
    ],
)
def test_images_that_break_a_rule(
    tmp_path: Path, image_of: ImageOf, change: dict[str, Any], message: str
) -> None:
    record, data = image_of(1, 0)
    found = written(tmp_path, replace(record, **change), data)
    assert message in found


def test_a_stored_file_that_is_no_image(tmp_path: Path, image_of: ImageOf) -> None:
    record, _ = image_of(1, 0)
    found = written(tmp_path, record, b"no image")
    assert found and "its stored file cannot be read" in found[0]


def test_links_and_folders_in_place_of_files(out: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.tar"
    (out / "sa_000000.tar").rename(elsewhere)
    (out / "sa_000000.tar").symlink_to(elsewhere)
    (out / "notes").mkdir()
    (out / "inputs.spare.parquet").unlink()
    (out / "inputs.spare.parquet").mkdir()
    found = {(problem.file, problem.kind) for problem in verify(out)}
    assert {
        ("sa_000000.tar", "stray"),
        ("notes", "stray"),
        ("inputs.spare.parquet", "stray"),
        ("inputs.spare.parquet", "missing"),
    } <= found


def test_a_manifest_of_too_many_images_is_one_line(out: Path) -> None:
    path = out / "manifest.json"
    content = unseal(path.read_bytes(), name="x")
    forged = {**content, "num_images": 10**12, "num_shards": 25 * 10**10}
    path.write_bytes(seal(forged))
    with pytest.raises(UsageError, match="250000000000 shards, limit 2000000"):
        verify(out)
    forged = {**content, "num_images": 7 * 10**6, "num_shards": 175 * 10**4}
    path.write_bytes(seal(forged))
    (out / "manifest.spare.json").write_bytes(seal(forged))
    assert any("10 images, not 7000000" in problem.message for problem in verify(out))


def test_pixels_are_held_against_their_source(tmp_path: Path, make_dataset: Maker) -> None:
    """Stored images exchanged for others of their size, all checksums right."""
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for number in range(3):
        image = Image.fromarray(np.full((16, 24, 3), 80 * number, dtype=np.uint8))
        tags = Image.Exif()
        tags[0x0112] = 6 if number == 2 else 1
        image.save(photographs / f"{number}.png", exif=tags)
    sources = list_sources(photographs)
    sound, forged = tmp_path / "sound", tmp_path / "forged"
    for folder, order in ((sound, (0, 1, 2)), (forged, (1, 1, 0))):
        manifest = open_output(folder, Manifest(stage=None, num_images=3), sources)
        with ShardWriter(folder, 0, manifest=manifest) as writer:
            for number, other in enumerate(order):
                data = (photographs / f"{number}.png").read_bytes()
                shown = read_image((photographs / f"{other}.png").read_bytes())
                # Turned pictures are stored anew: their bytes are nobody's digest.
                stored = shown if number != 2 or other == 2 else read_image(turned(shown))
                record = ImageRecord(
                    image_id=number + 1,
                    file_name=f"sa_{number + 1}.png",
                    source=f"{number}.png",
                    width=stored.size_hw[1],
                    height=stored.size_hw[0],
                    sha256=hashlib.sha256(data).hexdigest(),
                )
                writer.add(record, stored.data)
            writer.finish()
        assert verify(folder) == []
    assert verify(sound, pixels=True) == []
    found = [problem for problem in verify(forged, pixels=True) if problem.kind == "pixels"]
    assert [problem.image_id for problem in found] == [1, 3]
    assert all("another picture" in problem.message for problem in found)
    # Without its source nothing tells; what does not decode is found all the same.
    shutil.rmtree(photographs)
    assert verify(forged, pixels=True) == []


def turned(image: StoredImage) -> bytes:
    """The picture on its side, as a file."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(np.rot90(image.rgb_HW3))).save(buffer, "PNG")
    return buffer.getvalue()
