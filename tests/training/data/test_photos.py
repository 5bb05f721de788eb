"""Datasets as sources of samples."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import Stage
from sa_engine.errors import UsageError
from sa_engine.training.data.mixture import Mixture, SampleSource
from sa_engine.training.data.photos import JitterConfig, PhotoSource, relight, usable_records
from sa_engine.training.data.samples import PromptConfig, Sample
from sa_engine.training.data.scene_source import SceneSource
from tests.support.scene_datasets import write_scenes

PROMPTS = PromptConfig(masks_per_image=4, box_noise=0.0)
PLAIN = JitterConfig(min_scale=1, max_scale=1, flip_probability=0)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Dataset(write_scenes(tmp_path_factory.mktemp("scenes") / "scenes", range(6)))


def source(dataset: Dataset, jitter: JitterConfig = PLAIN) -> PhotoSource:
    records = usable_records(dataset, "scenes")
    return PhotoSource(
        name="scenes", dataset=dataset, records=records, size=64, prompts=PROMPTS, jitter=jitter
    )


def draw(of: PhotoSource | SceneSource, seed: int) -> Sample:
    return of.draw(np.random.default_rng(seed), key=seed)


def test_points_lie_on_their_targets(dataset: Dataset):
    for jitter in (PLAIN, JitterConfig(min_scale=0.4, max_scale=2.0, aspect=0.2, colour=0.5)):
        hits = []
        for seed in range(40):
            sample = draw(source(dataset, jitter), seed)
            for target, (x, y) in zip(sample.targets_Phw, sample.points_P2, strict=True):
                hits.append(target[int((y + 0.5) // 4), int((x + 0.5) // 4)] > 0)
        assert np.mean(hits) == 1.0


def test_plain_pictures_are_the_dataset_s(dataset: Dataset):
    pictures = [dataset.read_rgb(r).transpose(2, 0, 1) for r in dataset]
    sample = draw(source(dataset), 0)
    assert any(np.array_equal(sample.image_3SS, p) for p in pictures)


def test_mirrored_pictures_have_mirrored_targets(dataset: Dataset):
    flipped = draw(source(dataset, replace(PLAIN, flip_probability=1)), 4)
    plain = draw(source(dataset), 4)
    assert np.array_equal(flipped.image_3SS, plain.image_3SS[:, :, ::-1])
    assert np.array_equal(flipped.targets_Phw, plain.targets_Phw[:, :, ::-1])


def test_light_by_hand():
    jitter = JitterConfig(colour=0.6, grey_probability=0.0)
    rgb = np.random.default_rng(1).integers(0, 256, (40, 30, 3)).astype(np.uint8)
    found = relight(rgb, jitter, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    rng.random()
    contrast = 1 + 0.6 * rng.uniform(-0.5, 0.5)
    gain = (1 + 0.6 * rng.uniform(-0.4, 0.4)) * (1 + 0.6 * rng.uniform(-0.15, 0.15, size=3))
    expected = np.clip(((rgb - rgb.mean()) * contrast + rgb.mean()) * gain, 0, 255)
    assert np.abs(found.astype(float) - expected).max() <= 1
    grey = relight(rgb, JitterConfig(grey_probability=1.0), np.random.default_rng(5))
    assert np.abs(grey.astype(float) - rgb.mean(axis=2, keepdims=True)).max() <= 1
    assert relight(rgb, JitterConfig(), np.random.default_rng(5)) is rgb


def test_masks_over_the_limit_are_dropped(dataset: Dataset):
    limited = replace(source(dataset), prompts=replace(PROMPTS, max_area_fraction=0.2))
    shares = [
        target.mean() / 255 for seed in range(20) for target in draw(limited, seed).targets_Phw
    ]
    assert max(shares) <= 0.2
    assert (
        max(t.mean() / 255 for s in range(20) for t in draw(source(dataset), s).targets_Phw) > 0.2
    )


def test_a_stage_with_weight_zero_is_not_chosen(tmp_path: Path):
    manual = write_scenes(tmp_path / "manual", range(2))
    of = source(Dataset(manual))
    assert replace(of, stage_weights={Stage.MANUAL: 10.0}).stage_share() == 10.0
    assert replace(of, stage_weights={Stage.AUTOMATIC: 10.0}).stage_share() == 1.0


def test_masks_of_no_usable_size_are_counted(dataset: Dataset):
    masks = sum(len(record.annotations) for record in dataset)
    start = source(dataset)
    large = replace(start, prompts=replace(PROMPTS, min_area=10**6))
    for ask in (large.check, lambda: draw(large, 3)):
        with pytest.raises(UsageError) as error:
            ask()
        assert f"{masks} masks on 6 images and none can be trained on: {masks} are under" in str(
            error.value
        )
    small = replace(start, prompts=replace(PROMPTS, max_area_fraction=0.0))
    with pytest.raises(UsageError, match=rf"\(--min-area\), {masks} cover over 0 of their image"):
        small.check()
    start.check()


def test_scenes_without_a_usable_object_end(dataset: Dataset):
    scenes = SceneSource(size=64, prompts=replace(PROMPTS, min_area=10**6))
    with pytest.raises(UsageError, match=r"no object of 100 synthetic scenes has from 1e\+06"):
        draw(scenes, 0)


def test_a_set_of_crowds_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    crowds = Dataset(write_scenes(tmp_path / "crowds", range(2)))
    records = [
        replace(r, annotations=tuple(replace(m, iscrowd=True) for m in r.annotations))
        for r in crowds
    ]
    monkeypatch.setattr(Dataset, "images", lambda *_, **__: iter(records))
    masks = sum(len(record.annotations) for record in records)
    with pytest.raises(UsageError, match=rf"2 images, {masks} masks, all of crowds"):
        usable_records(crowds, "my set")


def test_a_set_without_masks_is_named(tmp_path: Path):
    record_free = write_scenes(tmp_path / "none", range(2), min_area=10**9)
    with pytest.raises(UsageError, match=r"my set holds no image with masks"):
        usable_records(Dataset(record_free), "my set")


def test_mixture_is_a_function_of_the_position(dataset: Dataset):
    sources: list[SampleSource[Sample]] = [source(dataset), SceneSource(size=64, prompts=PROMPTS)]
    first, second = (Mixture(sources, [1, 1], seed=7) for _ in range(2))
    for position in (5, 0, 11):
        one, other = first[position], second[position]
        assert np.array_equal(one.image_3SS, other.image_3SS)
        assert np.array_equal(one.points_P2, other.points_P2)
        assert one.key == position
    assert not np.array_equal(first[0].image_3SS, first[1].image_3SS)


def test_mixture_follows_its_weights():
    sample = draw(SceneSource(size=32, prompts=replace(PROMPTS, masks_per_image=1)), 0)

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name
            self.drawn = 0

        def draw(self, rng: np.random.Generator, *, key: int) -> Sample:
            self.drawn += 1
            return sample

    rare, often = Named("rare"), Named("often")
    mixture = Mixture([rare, often], [1, 3], seed=0)
    for position in range(400):
        mixture[position]
    assert 70 <= rare.drawn <= 130
