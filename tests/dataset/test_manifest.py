import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sa_engine.dataset.folder.base import LocalFolder
from sa_engine.dataset.manifest import (
    Manifest,
    ModelRef,
    is_dataset,
    open_output,
    read_manifest,
)
from sa_engine.dataset.records import Stage
from sa_engine.dataset.sources.frozen import FrozenInputs
from sa_engine.dataset.sources.listing import list_sources
from sa_engine.dataset.sources.source_list import Source
from sa_engine.errors import DamagedError, DatasetError, UsageError

SOURCES = [Source(f"/photos/{k}.jpg", f"{k}.jpg") for k in range(10)]
MODEL = ModelRef(name="vit_t", sha256="a" * 64)
PLAN = Manifest(
    stage=Stage.AUTOMATIC,
    num_images=10,
    images_per_shard=4,
    model=MODEL,
    options={"points-per-side": 32, "pred-iou-thresh": 0.88, "crops": [1, 2], "limit": None},
)


def test_shards_and_ids() -> None:
    assert PLAN.num_shards == 3
    assert [list(PLAN.image_ids(k)) for k in range(3)] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
    assert [PLAN.shard_of(k) for k in (1, 4, 5, 10)] == [0, 0, 1, 2]
    with pytest.raises(UsageError, match="there is no shard 3"):
        PLAN.image_ids(3)
    assert replace(PLAN, num_images=0).num_shards == 0
    with pytest.raises(UsageError, match="1 or more, not 0"):
        replace(PLAN, images_per_shard=0)


def test_a_new_dataset_and_its_continuation(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "er"
    stored = open_output(out, PLAN, SOURCES)
    assert read_manifest(LocalFolder(out)) == stored
    assert replace(stored, sources_sha256="", inputs_sha256="") == PLAN
    assert is_dataset(out) and not is_dataset(tmp_path)
    before = (out / "manifest.json").read_bytes()
    assert open_output(out, PLAN, SOURCES) == stored
    assert open_output(out, PLAN, None) == stored
    assert (out / "manifest.json").read_bytes() == before
    content = json.loads(before)
    assert content["num_shards"] == 3 and content["options"]["points-per-side"] == 32


def test_files_that_vanish_do_not_end_a_run(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for k in range(10):
        (photos / f"{k}.jpg").write_bytes(b"x")
    everything = list_sources(photos)
    stored = open_output(tmp_path / "out", PLAN, everything)
    (photos / "3.jpg").unlink()
    (photos / "9.jpg").unlink()
    assert open_output(tmp_path / "out", PLAN, list_sources(photos)) == stored
    # A shorter list is not the same as fewer files.
    with pytest.raises(UsageError, match=r"5 of its 10 images are not among the 5 .* --limit"):
        open_output(tmp_path / "out", PLAN, list_sources(photos)[:5])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pred-iou-thresh": 0.9}, r"--pred-iou-thresh 0.88, this run has 0.9:"),
        ({"pred_iou_thresh": 0.9}, r"--pred-iou-thresh 0.88, this run has 0.9:"),
        ({"new": True}, r"made without --new, this run has True:"),
        ({"crops": [1, 3]}, r"--crops \[1, 2\], this run has \[1, 3\]:"),
    ],
)
def test_other_options_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    open_output(tmp_path, PLAN, SOURCES)
    options = {**PLAN.options, **change}
    with pytest.raises(UsageError, match=message + ".*another --out"):
        open_output(tmp_path, replace(PLAN, options=options), SOURCES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images_per_shard": 5}, r"--images-per-shard 4, this run has 5:"),
        ({"stage": Stage.MANUAL}, r"another stage \('automatic'\) than this \('manual'\):"),
        (
            {"model": ModelRef(name="vit_t", sha256="b" * 64)},
            r"the model vit_t \(aaaaaaaaaaaa\), this run has vit_t \(bbbbbbbbbbbb\):",
        ),
        ({"model": None}, r"this run has None:"),
        ({"engine_version": "0.0.0"}, r"made by sa-engine '.*', this is '0.0.0':"),
    ],
)
def test_other_makers_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    open_output(tmp_path, PLAN, SOURCES)
    with pytest.raises(UsageError, match=message + ".*another --out"):
        open_output(tmp_path, replace(PLAN, **change), SOURCES)


def test_equal_values_of_another_type_are_equal(tmp_path: Path) -> None:
    open_output(tmp_path, PLAN, SOURCES)
    same = {**PLAN.options, "points-per-side": 32.0, "crops": (1, 2)}
    open_output(tmp_path, replace(PLAN, options=same), SOURCES)  # type: ignore[arg-type]


def test_contents_are_named_and_no_option_that_there_is_not(tmp_path: Path) -> None:
    known = replace(PLAN, options={"annotations": "a" * 64, "split_draws": [0.0, 0.1]})
    open_output(tmp_path, known, SOURCES)
    for options, message in (
        ({**known.options, "annotations": "b" * 64}, "the annotations have changed since"),
        ({**known.options, "split_draws": [0.0, 0.2]}, "was split off with another --val"),
    ):
        with pytest.raises(UsageError, match=f"{message}.*sa-engine merge") as refused:
            open_output(tmp_path, replace(known, options=options), SOURCES)
        assert "aaaa" not in str(refused.value) and "--annotations" not in str(refused.value)


def test_a_dataset_grows(tmp_path: Path) -> None:
    few = replace(PLAN, num_images=6, options={**PLAN.options, "limit": 6})
    stored = open_output(tmp_path, few, SOURCES[:6])
    assert [stored.image_ids(i) for i in range(2)] == [range(1, 5), range(5, 7)]
    grown = open_output(tmp_path, PLAN, SOURCES)
    assert read_manifest(LocalFolder(tmp_path)) == grown
    assert (grown.num_images, grown.num_shards, grown.options["limit"]) == (10, 3, None)
    assert [grown.image_ids(i) for i in range(3)] == [range(1, 5), range(5, 7), range(7, 11)]
    assert [grown.shard_of(i) for i in (1, 4, 5, 6, 7, 10)] == [0, 0, 1, 1, 2, 2]
    assert [source.name for source in FrozenInputs(LocalFolder(tmp_path)).shard(2)] == [
        source.name for source in SOURCES[6:]
    ]
    # What was begun before it grew is still believed, and the history tells how it came about.
    assert [grown.as_of(i) == stored for i in range(3)] == [True, True, False]
    assert grown.as_of(2) == grown
    assert [(each.num_images, each.limit) for each in grown.history] == [(6, 6)]
    # Once more in the listed order: nothing is new.
    assert open_output(tmp_path, PLAN, [*SOURCES[6:], *SOURCES[:6]]) == grown
    more = [Source("/photos/00.jpg", "00.jpg"), *SOURCES]
    again = open_output(tmp_path, replace(PLAN, num_images=11), more)
    assert (again.num_shards, again.image_ids(3), len(again.history)) == (4, range(11, 12), 2)
    with pytest.raises(UsageError, match="there is no shard 4"):
        again.image_ids(4)


def test_a_dataset_that_never_grew_is_written_as_before(tmp_path: Path) -> None:
    open_output(tmp_path, PLAN, SOURCES)
    assert b"history" not in (tmp_path / "manifest.json").read_bytes()


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match=r"not empty and not a dataset \(it holds 'thesis.tex'\)"):
        open_output(tmp_path, PLAN, SOURCES)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(UsageError, match="cannot write to"):
        open_output(tmp_path / "thesis.tex", PLAN, SOURCES)
    with pytest.raises(UsageError, match="begins with s3://"):
        open_output("http://host/out", PLAN, SOURCES)


def test_a_start_that_died_before_its_manifest_is_begun_again(tmp_path: Path) -> None:
    open_output(tmp_path, PLAN, SOURCES)
    (tmp_path / "manifest.json").unlink()
    other = replace(PLAN, options={}, num_images=3)
    stored = open_output(tmp_path, other, SOURCES[:3])
    assert open_output(tmp_path, other, SOURCES[:3]) == stored
    with pytest.raises(UsageError, match="not a dataset yet"):
        open_output(tmp_path / "new", PLAN, None)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(UsageError, match="choose another folder"):
            open_output(tmp_path / "out", PLAN, SOURCES)
        with pytest.raises(UsageError, match="choose another folder"):
            open_output(tmp_path, PLAN, SOURCES)
    finally:
        tmp_path.chmod(0o755)


def test_no_dataset_and_damaged_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not a dataset: it has no manifest\.json"):
        read_manifest(LocalFolder(tmp_path))
    open_output(tmp_path, PLAN, SOURCES)
    path = tmp_path / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b"0.88", b"0.89"))
    with pytest.raises(DamagedError, match=r"manifest\.json is damaged"):
        read_manifest(LocalFolder(tmp_path))


def test_another_format_version(tmp_path: Path) -> None:
    open_output(tmp_path, replace(PLAN, format_version=2), SOURCES)
    with pytest.raises(DatasetError, match="has format version 2, this engine reads 1"):
        read_manifest(LocalFolder(tmp_path))


def test_an_option_that_is_gone_is_named(tmp_path: Path) -> None:
    open_output(tmp_path, PLAN, SOURCES)
    options = {name: value for name, value in PLAN.options.items() if name != "crops"}
    with pytest.raises(UsageError, match=r"with --crops \[1, 2\], this run does not give it:"):
        open_output(tmp_path, replace(PLAN, options=options), SOURCES)
