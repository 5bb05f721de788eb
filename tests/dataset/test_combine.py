from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sa_engine.dataset.combine import MergeReport, merge, split, subset
from sa_engine.dataset.manifest import Manifest, ModelRef, open_output
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageRecord, ImageStatus, MaskRecord, Stage
from sa_engine.dataset.shards.writer import ShardWriter, clear_scratch
from sa_engine.dataset.sources.source_list import Source
from sa_engine.dataset.verify import verify
from sa_engine.errors import DatasetError, UsageError
from tests.support.written import Written, mask_record, write_dataset

Maker = Callable[..., Path]
ImageOf = Callable[..., tuple[ImageRecord, bytes | None]]
MaskOf = Callable[..., MaskRecord]


def write(
    out: Path, items: list[tuple[ImageRecord, bytes | None]], stage: Stage = Stage.AUTOMATIC
) -> Path:
    sources = [Source(f"/photos/{record.source}", record.source) for record, _ in items]
    manifest = open_output(out, Manifest(stage=stage, num_images=len(items)), sources)
    with ShardWriter(out, 0, manifest=manifest) as writer:
        for record, data in items:
            writer.add(record, data)
        writer.finish()
    clear_scratch(out, manifest)
    return out


def sources(dataset: Dataset) -> list[str]:
    return [record.source for record in dataset]


def test_images_of_all_with_new_ids(tmp_path: Path, make_dataset: Maker) -> None:
    a = make_dataset(tmp_path / "a", range(4), images_per_shard=2)
    b = make_dataset(tmp_path / "b", range(10, 14), images_per_shard=3)
    report = merge([a, b], tmp_path / "c")
    assert report == MergeReport(
        num_images=8, duplicate_images=0, kept_apart=0, num_masks=16, duplicate_masks=0
    )
    merged = Dataset(tmp_path / "c")
    assert verify(tmp_path / "c") == []
    assert [record.image_id for record in merged] == list(range(1, 9))
    assert [record.file_name for record in merged] == [f"sa_{k}.png" for k in range(1, 9)]
    for record, old in zip(merged, [*Dataset(a), *Dataset(b)], strict=True):
        assert replace(record, image_id=old.image_id, file_name=old.file_name) == old
    assert merged.read_image_bytes(merged[5]) == Dataset(b).read_image_bytes(Dataset(b)[1])
    assert merged.manifest.images_per_shard == 2
    assert merged.inputs().all()[4] == Source("/photos/photo 010.png", "photo 010.png")


def test_the_same_image_comes_once_with_the_masks_of_both(
    tmp_path: Path, image_of: ImageOf, mask_of: MaskOf
) -> None:
    first, data = image_of(1, 0)
    shared, mine, theirs = mask_of(1), mask_of(2), mask_of(3)
    a = write(
        tmp_path / "a",
        [
            (replace(first, annotations=(mine, shared), attributes={"k": 1, "a": 1}), data),
            image_of(2, 1),
        ],
    )
    again = replace(shared, stage=Stage.MANUAL, predicted_iou=None)
    other = replace(first, image_id=2, source="copy.png", file_name="sa_2.png")
    b = write(
        tmp_path / "b",
        [
            image_of(1, 2),
            (replace(other, annotations=(again, theirs), attributes={"k": 2, "b": 2}), data),
        ],
        Stage.MANUAL,
    )
    report = merge([a, b], tmp_path / "c")
    assert report == MergeReport(
        num_images=3, duplicate_images=1, kept_apart=0, num_masks=7, duplicate_masks=1
    )
    merged = Dataset(tmp_path / "c")
    assert merged[0].annotations == (mine, shared, theirs)
    assert merged[0].attributes == {"k": 1, "a": 1, "b": 2}
    assert sources(merged) == ["photo 000.png", "photo 001.png", "photo 002.png"]
    assert merged.manifest.stage is None
    assert verify(tmp_path / "c") == []


def test_equal_masks_of_different_people_or_classes_are_kept(
    tmp_path: Path, image_of: ImageOf, mask_of: MaskOf
) -> None:
    record, data = image_of(1, 0)
    versions = [
        replace(mask_of(1), annotator="ann"),
        replace(mask_of(1), annotator="bob"),
        replace(mask_of(1), category="cat"),
        replace(mask_of(1), annotator="ann", category="dog"),
    ]
    parts = [
        write(tmp_path / f"{k}", [(replace(record, annotations=(mask,)), data)])
        for k, mask in enumerate(versions)
    ]
    merge(parts, tmp_path / "c")
    # "cat" without a name may be ann's; "dog" contradicts it.
    kept = Dataset(tmp_path / "c")[0].annotations
    assert kept == (versions[0], versions[1])


def test_sizes_that_do_not_fit_together_are_kept_apart(tmp_path: Path, image_of: ImageOf) -> None:
    record, data = image_of(1, 0)
    small = replace(record, width=12, height=8, annotations=())
    a, b = write(tmp_path / "a", [(record, data)]), write(tmp_path / "b", [(small, None)])
    report = merge([a, b], tmp_path / "c")
    assert (report.num_images, report.duplicate_images, report.kept_apart) == (2, 0, 1)


def test_failures_give_way_and_stored_files_are_found(tmp_path: Path, image_of: ImageOf) -> None:
    good, data = image_of(1, 0)
    failed = replace(
        image_of(1, 4)[0], sha256=good.sha256, source=good.source, error="internal: oh"
    )
    unread = replace(failed, sha256="", error="missing: gone", source="gone.png")
    a = write(tmp_path / "a", [(failed, None), (replace(unread, image_id=2), None)])
    b = write(tmp_path / "b", [(good, None), (replace(unread, image_id=2), None)])
    c = write(tmp_path / "c", [(good, data)])
    report = merge([a, b, c], tmp_path / "out")
    merged = Dataset(tmp_path / "out")
    assert [record.status for record in merged] == [
        ImageStatus.FAILED,
        ImageStatus.OK,
        ImageStatus.FAILED,
    ]
    assert (report.num_images, report.duplicate_images) == (3, 2)
    assert merged.read_image_bytes(merged[1]) == data
    assert len(merged[1].annotations) == 2
    assert verify(tmp_path / "out") == []


def test_failures_of_equal_content_come_once(tmp_path: Path, image_of: ImageOf) -> None:
    a = write(tmp_path / "a", [image_of(1, 4)])
    b = write(tmp_path / "b", [image_of(1, 4)])
    assert merge([a, b], tmp_path / "c").num_images == 1


def test_the_model_is_kept_where_it_is_the_same(tmp_path: Path, make_dataset: Maker) -> None:
    a = make_dataset(tmp_path / "a", range(2))
    b = make_dataset(tmp_path / "b", range(2, 4))
    merge([a, b], tmp_path / "c")
    manifest = Dataset(tmp_path / "c").manifest
    assert manifest.stage is Stage.AUTOMATIC and manifest.model is None
    assert manifest.options == {"merge": [Dataset(a).digest(), Dataset(b).digest()]}
    assert ModelRef(name="m", sha256="0") not in {manifest.model}


def test_an_interrupted_merge_goes_on_to_the_same_bytes(
    tmp_path: Path, make_dataset: Maker
) -> None:
    a = make_dataset(tmp_path / "a", range(8), images_per_shard=4)
    b = make_dataset(tmp_path / "b", range(6, 12), images_per_shard=4)
    merge([a, b], tmp_path / "whole")

    class Stopped(BaseException):
        pass

    def stop(done: int, total: int) -> None:
        assert total == 12
        if done == 6:
            raise Stopped

    with pytest.raises(Stopped):
        merge([a, b], tmp_path / "c", progress=stop)
    with pytest.raises(DatasetError, match="incomplete"):
        Dataset(tmp_path / "c")
    merge([a, b], tmp_path / "c")
    for path in (tmp_path / "whole").iterdir():
        if not path.name.endswith("_stats.json"):
            assert (tmp_path / "c" / path.name).read_bytes() == path.read_bytes()
    with pytest.raises(UsageError, match="was merged from other datasets"):
        merge([b, a], tmp_path / "c")


def test_nothing_to_merge(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one"):
        merge([], tmp_path / "c")


def test_a_part_of_a_split_can_be_split_again(tmp_path: Path, make_dataset: Maker) -> None:
    """The draws of a part are not those of a whole: its least quarter may hold none of them."""
    whole = make_dataset(tmp_path / "whole", range(120), images_per_shard=64)
    split(whole, tmp_path / "rest", tmp_path / "test", fraction=0.25)
    report = split(tmp_path / "rest", tmp_path / "train", tmp_path / "val", fraction=0.25)
    assert 10 <= report.num_val <= 36
    assert len(Dataset(tmp_path / "rest")) == report.num_train + report.num_val
    again = split(tmp_path / "test", tmp_path / "most", tmp_path / "few", fraction=0.25)
    assert again.num_val < again.num_train


def test_a_split_is_whole_and_disjoint_and_stable(tmp_path: Path, make_dataset: Maker) -> None:
    whole = make_dataset(tmp_path / "whole", range(40), images_per_shard=16)
    report = split(whole, tmp_path / "train", tmp_path / "val", fraction=0.25)
    train, val = Dataset(tmp_path / "train"), Dataset(tmp_path / "val")
    assert report.num_train == len(train) and report.num_val == len(val)
    assert sorted([*sources(train), *sources(val)]) == sources(Dataset(whole))
    assert 4 <= len(val) <= 16
    assert verify(tmp_path / "train") == verify(tmp_path / "val") == []
    record = val[0]
    old = Dataset(whole)[int(record.source[6:9])]
    assert replace(record, image_id=old.image_id, file_name=old.file_name) == old
    if record.file_name:
        assert val.read_image_bytes(record) == Dataset(whole).read_image_bytes(old)
    # Other images in the dataset change nobody's side.
    some = make_dataset(tmp_path / "some", range(10, 60, 2), images_per_shard=16)
    split(some, tmp_path / "train2", tmp_path / "val2", fraction=0.25)
    shared = {f"photo {k:03d}.png" for k in range(10, 40, 2)}
    in_both = set(sources(val)) & shared
    assert in_both == set(sources(Dataset(tmp_path / "val2"))) & shared
    # A larger share contains the smaller.
    split(whole, tmp_path / "train3", tmp_path / "val3", fraction=0.5)
    assert set(sources(val)) <= set(sources(Dataset(tmp_path / "val3")))
    assert val.manifest.options == {
        "split": "val",
        "split_draws": [0.0, 0.25],
        "split_fraction": 0.25,
        "split_of": Dataset(whole).digest(),
    }


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, 7.0])
def test_shares_out_of_range(tmp_path: Path, make_dataset: Maker, fraction: float) -> None:
    whole = make_dataset(tmp_path / "whole", range(2))
    with pytest.raises(UsageError, match="between 0 and 1"):
        split(whole, tmp_path / "a", tmp_path / "b", fraction=fraction)


def test_a_side_may_be_empty(tmp_path: Path, make_dataset: Maker) -> None:
    whole = make_dataset(tmp_path / "whole", range(2))
    report = split(whole, tmp_path / "a", tmp_path / "b", fraction=1e-9)
    assert (report.num_train, report.num_val) == (2, 0)
    assert len(Dataset(tmp_path / "b")) == 0 and verify(tmp_path / "b") == []


def test_a_subset_holds_the_chosen_images_in_order(tmp_path: Path) -> None:
    pixels = np.zeros((4, 5), dtype=bool)
    pixels[1:3, 1:4] = True
    whole = write_dataset(
        tmp_path / "whole",
        [
            Written(np.full((4, 5, 3), n, dtype=np.uint8), [mask_record(pixels)] * n)
            for n in range(6)
        ],
        images_per_shard=4,
    )
    subset(whole, tmp_path / "part", [5, 0, 3], options={"why": "test"})
    part = Dataset(tmp_path / "part")
    assert [len(record.annotations) for record in part.images()] == [5, 0, 3]
    assert [int(part.read_rgb(record).max()) for record in part.images()] == [5, 0, 3]
    assert part.manifest.options["why"] == "test"
    assert part.manifest.options["subset_of"] == Dataset(whole).digest()
    assert not list(verify(tmp_path / "part"))
